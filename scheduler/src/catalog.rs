//! The catalog of deployed operators: what deploying and rolling back make of it.

use std::collections::{BTreeMap, BTreeSet};

use common::client::components::{CLASSES_MAX, DEPLOYMENTS_MAX};
use common::proto::{Catalog, DeployedClass, Deployment};
use common::status::Status;
use common::types::ComponentHash;

/// Makes a component the current one of its classes, in the order of their names.
pub fn deploy(
    catalog: &mut Catalog,
    classes: &[String],
    deployment: &Deployment,
) -> Result<(), Status> {
    for class in classes {
        let place = entry(catalog, class);
        let Some(deployed) = catalog.classes.get_mut(place) else {
            continue;
        };
        let current = deployed.deployments.get(deployed.current as usize);
        if current.is_some_and(|current| current.component == deployment.component) {
            continue;
        }
        deployed.deployments.push(deployment.clone());
        if deployed.deployments.len() > DEPLOYMENTS_MAX {
            deployed.deployments.remove(0);
        }
        deployed.current = u32::try_from(deployed.deployments.len() - 1).unwrap_or(u32::MAX);
    }
    if catalog.classes.len() > CLASSES_MAX {
        return Err(Status::refused(format!(
            "at most {CLASSES_MAX} classes are deployed"
        )));
    }
    Ok(())
}

/// The place of a class, which is made if it is not there.
fn entry(catalog: &mut Catalog, class: &str) -> usize {
    let classes = &mut catalog.classes;
    let place = classes.binary_search_by(|known| known.class.as_str().cmp(class));
    place.unwrap_or_else(|place| {
        let new = DeployedClass {
            class: class.to_owned(),
            ..DeployedClass::default()
        };
        classes.insert(place, new);
        place
    })
}

/// Goes back to the component that the class had before.
pub fn roll_back(catalog: &mut Catalog, class: &str) -> Result<(), Status> {
    let deployed = catalog
        .classes
        .iter_mut()
        .find(|deployed| deployed.class == class);
    let deployed =
        deployed.ok_or_else(|| Status::not_found(format!("class {class} is not deployed")))?;
    match deployed.current.checked_sub(1) {
        Some(before) => deployed.current = before,
        None => {
            return Err(Status::refused(format!(
                "class {class} has no earlier component to go back to"
            )));
        }
    }
    Ok(())
}

/// The component that runs use for each class.
pub fn current(catalog: &Catalog) -> Result<BTreeMap<String, ComponentHash>, Status> {
    let pinned = |deployed: &DeployedClass| {
        let current = deployed.deployments.get(deployed.current as usize)?;
        let hash = ComponentHash::try_from(&current.component[..]);
        Some(hash.map(|hash| (deployed.class.clone(), hash)))
    };
    catalog.classes.iter().filter_map(pinned).collect()
}

/// Every component that somebody may still go back to.
pub fn components(catalog: &Catalog) -> BTreeSet<ComponentHash> {
    let deployments = catalog.classes.iter().flat_map(|class| &class.deployments);
    deployments
        .filter_map(|deployment| ComponentHash::try_from(&deployment.component[..]).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(component: &str) -> Deployment {
        let hash = ComponentHash::of(component.as_bytes());
        Deployment {
            component: hash.bytes().to_vec().into(),
            ..Deployment::default()
        }
    }

    fn shown(catalog: &Catalog, components: &[&str]) -> String {
        let current = current(catalog).unwrap();
        let name = |hash: &ComponentHash| {
            let mut known = components.iter();
            *known
                .find(|name| ComponentHash::of(name.as_bytes()) == *hash)
                .unwrap()
        };
        let shown: Vec<String> = current
            .iter()
            .map(|(class, hash)| format!("{class}={}", name(hash)))
            .collect();
        shown.join(" ")
    }

    #[test]
    fn the_newest_deployment_is_used_until_it_is_rolled_back() {
        let names = ["one", "two"];
        let mut catalog = Catalog::default();
        let both = ["B".to_owned(), "A".to_owned()];
        deploy(&mut catalog, &both, &deployment("one")).unwrap();
        deploy(&mut catalog, &both[..1], &deployment("two")).unwrap();
        assert_eq!(shown(&catalog, &names), "A=one B=two");
        // Again: nothing happens.
        deploy(&mut catalog, &both[..1], &deployment("two")).unwrap();
        roll_back(&mut catalog, "B").unwrap();
        assert_eq!(shown(&catalog, &names), "A=one B=one");
        assert!(roll_back(&mut catalog, "B").is_err());
        assert!(roll_back(&mut catalog, "C").is_err());
        deploy(&mut catalog, &both, &deployment("two")).unwrap();
        assert_eq!(shown(&catalog, &names), "A=two B=two");
    }

    #[test]
    fn the_oldest_deployments_are_forgotten() {
        let mut catalog = Catalog::default();
        let class = ["A".to_owned()];
        for number in 0..=DEPLOYMENTS_MAX {
            deploy(&mut catalog, &class, &deployment(&number.to_string())).unwrap();
        }
        let kept = components(&catalog);
        assert_eq!(kept.len(), DEPLOYMENTS_MAX);
        assert!(!kept.contains(&ComponentHash::of(b"0")));
        assert_eq!(shown(&catalog, &["10"]), "A=10");
    }
}
