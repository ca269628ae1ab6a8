//! Lets stateright see the states of a configuration.

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model};

use crate::config::Config;
use crate::history::Broken;
use crate::model::{Cluster, SAFE};
use crate::show;

/// A schedule that ends in a broken promise.
pub struct Violation {
    pub broken: Option<Broken>,
    /// One line per step.
    pub schedule: Vec<String>,
    /// What was decided, one line per slot.
    pub decided: Vec<String>,
}

fn builder(config: &Config) -> CheckerBuilder<Cluster> {
    let builder = Cluster::new(config.clone()).checker();
    builder.finish_when(HasDiscoveries::AnyFailures)
}

fn violation(checker: &impl Checker<Cluster>) -> Option<Violation> {
    let path = checker.discovery(SAFE)?;
    let history = path.last_state().history.clone();
    Some(Violation {
        broken: history.broken,
        schedule: show::schedule(&checker.model().config, path),
        decided: history.log.values().map(show::record).collect(),
    })
}

/// Sees all states, prints how many, and makes sure that what is to be possible is. Depth first, for it takes the least
/// memory.
pub fn explore(config: &Config) -> Option<Violation> {
    let name = config.name;
    let checker = builder(config).threads(2).spawn_dfs().join();
    println!(
        "{name}: {} distinct states, {} steps, at most {} in a row",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    let violation = violation(&checker);
    for property in &config.possible {
        let is_possible = violation.is_some() || checker.discovery(property).is_some();
        assert!(is_possible, "{name}: it never happens that {property}");
    }
    violation
}

/// The shortest way to a broken promise, if there is one. stateright keeps the last that it comes across, so the search
/// is repeated below its depth until it finds nothing.
#[cfg(feature = "planted-bugs")]
pub fn shortest(config: &Config) -> Option<Violation> {
    let mut found: Option<Violation> = None;
    loop {
        let mut builder = builder(config);
        if let Some(found) = &found {
            // Counted in states.
            builder = builder.target_max_depth(found.schedule.len() + 1);
        }
        let shorter = violation(&builder.spawn_bfs().join());
        if shorter.is_none() {
            return found;
        }
        found = shorter;
    }
}
