//! What goes wrong next, and for how long: decided without touching anything.

use crate::language::{Fault, Role};
use common::chance::Chance;
use common::fabric::Profile;
use common::types::CommitMode;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Something that is done to nodes, and undone later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    Crash(String),
    Freeze(String),
    /// Links, each from one node to another.
    Links(Vec<(String, String, Fault)>),
}

/// What can be disturbed now.
#[derive(Debug, Clone)]
pub struct View {
    /// The nodes that run and are left alone so far.
    pub awake: Vec<(String, Role)>,
    /// Those that are disturbed already or down.
    pub disturbed: Vec<(String, Role)>,
    pub commit: CommitMode,
    /// Storage nodes find their records again when they are started.
    pub keeps_records: bool,
}

/// How often, how long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pause_ms: (u64, u64),
    lasts_ms: (u64, u64),
    /// Disturbances at a time.
    pub at_once: usize,
}

impl Pace {
    /// None: nothing goes wrong.
    pub fn of(profile: Profile) -> Option<Self> {
        match profile {
            Profile::None => None,
            Profile::Mild => Some(Self {
                pause_ms: (1_000, 6_000),
                lasts_ms: (100, 1_500),
                at_once: 1,
            }),
            Profile::Harsh => Some(Self {
                pause_ms: (50, 3_000),
                lasts_ms: (20, 4_000),
                at_once: 2,
            }),
        }
    }

    pub fn pause(&self, chance: &mut Chance) -> Duration {
        Duration::from_millis(chance.between(self.pause_ms.0, self.pause_ms.1))
    }

    pub fn lasts(&self, chance: &mut Chance) -> Duration {
        Duration::from_millis(chance.between(self.lasts_ms.0, self.lasts_ms.1))
    }
}

/// None: all that is left is needed.
pub fn choose(view: &View, chance: &mut Chance) -> Option<Disturbance> {
    let spared: Vec<&(String, Role)> = view
        .awake
        .iter()
        .filter(|(_, role)| view.can_spare(*role))
        .collect();
    let (victim, role) = chance.one_of(&spared)?;
    let kind = chance.below(100);
    // Storage nodes that trust one another to be dead when they are said to be must not be cut off, nor sleep.
    let only_crashes = *role == Role::Storage && view.commit == CommitMode::FailStop;
    if kind < 45 || only_crashes {
        return Some(Disturbance::Crash(victim.clone()));
    }
    if kind < 60 {
        return Some(Disturbance::Freeze(victim.clone()));
    }
    let all = view.awake.iter().chain(&view.disturbed);
    let others: Vec<&String> = all
        .map(|(name, _)| name)
        .filter(|name| *name != victim)
        .collect();
    let links = match kind {
        60..80 => both_ways(victim, &others, Fault::Cut),
        80..90 => {
            let other = chance.one_of(&others)?;
            vec![(victim.clone(), (*other).clone(), Fault::Cut)]
        }
        90..95 => {
            let delay_ms = u32::try_from(chance.between(5, 500)).unwrap_or(u32::MAX);
            both_ways(victim, &others, Fault::Delay { delay_ms })
        }
        _ => {
            let percent = u32::try_from(chance.between(1, 60)).unwrap_or(u32::MAX);
            both_ways(victim, &others, Fault::Loss { percent })
        }
    };
    Some(Disturbance::Links(links))
}

fn both_ways(victim: &str, others: &[&String], fault: Fault) -> Vec<(String, String, Fault)> {
    let links = others.iter().flat_map(|other| {
        let (one, two) = (victim.to_owned(), (*other).clone());
        [(one.clone(), two.clone(), fault), (two, one, fault)]
    });
    links.collect()
}

impl View {
    /// Whether the cluster can go on, or comes back, without one more of these.
    fn can_spare(&self, role: Role) -> bool {
        let count = |nodes: &[(String, Role)]| nodes.iter().filter(|(_, of)| *of == role).count();
        let (awake, disturbed) = (count(&self.awake), count(&self.disturbed));
        match role {
            Role::Worker => awake > 1,
            Role::Scheduler => true,
            Role::Storage if !self.keeps_records => disturbed == 0 && awake > 1,
            Role::Storage => match self.commit {
                // The last one to die must come back first: the others can wait for it, but for nobody else.
                CommitMode::FailStop => disturbed == 0 && awake > 1,
                CommitMode::Majority => disturbed < (awake + disturbed).div_ceil(2),
            },
        }
    }
}

impl Disturbance {
    /// Whom it takes out, or cuts off.
    pub fn victims(&self) -> BTreeSet<&str> {
        match self {
            Self::Crash(node) | Self::Freeze(node) => BTreeSet::from([node.as_str()]),
            Self::Links(links) => links
                .first()
                .into_iter()
                .map(|(from, ..)| from.as_str())
                .collect(),
        }
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = match self {
            Self::Crash(node) => return write!(f, "crash {node}"),
            Self::Freeze(node) => return write!(f, "freeze {node}"),
            Self::Links(links) => links,
        };
        let Some((from, to, fault)) = links.first() else {
            return f.write_str("nothing");
        };
        let (from, to) = match links.len() {
            1 => (from.as_str(), to.as_str()),
            _ => (from.as_str(), "*"),
        };
        match fault {
            Fault::Cut => write!(f, "cut {from} {to}"),
            Fault::Delay { delay_ms } => write!(f, "delay {from} {to} {delay_ms}"),
            Fault::Loss { percent } => write!(f, "loss {from} {to} {percent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(commit: CommitMode, keeps_records: bool) -> View {
        let nodes = [
            ("sc1", Role::Scheduler),
            ("s1", Role::Storage),
            ("s2", Role::Storage),
            ("s3", Role::Storage),
            ("w1", Role::Worker),
            ("w2", Role::Worker),
        ];
        View {
            awake: nodes.map(|(name, role)| (name.to_owned(), role)).to_vec(),
            disturbed: Vec::new(),
            commit,
            keeps_records,
        }
    }

    /// Takes out whom chance has it until nobody is left to be spared.
    fn disturbed(mut view: View, seed: u64) -> View {
        let chance = &mut Chance::new(seed);
        while let Some(chosen) = choose(&view, chance) {
            let victims: Vec<String> = chosen.victims().into_iter().map(str::to_owned).collect();
            let (out, left) = view
                .awake
                .into_iter()
                .partition(|(name, _)| victims.contains(name));
            view.awake = left;
            let out: Vec<_> = out;
            assert!(!out.is_empty(), "{chosen:?} takes out nobody");
            let storage = out.iter().any(|(_, role)| *role == Role::Storage);
            if storage && view.commit == CommitMode::FailStop {
                assert!(matches!(chosen, Disturbance::Crash(_)), "{chosen:?}");
            }
            view.disturbed.extend(out);
        }
        view
    }

    #[test]
    fn what_is_needed_is_left_alone() {
        for seed in 0..200 {
            for (commit, keeps_records, storages) in [
                (CommitMode::Majority, true, 1),
                (CommitMode::Majority, false, 2),
                (CommitMode::FailStop, true, 2),
            ] {
                let left = disturbed(view(commit, keeps_records), seed);
                let count = |role| left.awake.iter().filter(|(_, of)| *of == role).count();
                assert_eq!(count(Role::Worker), 1, "{left:?}");
                assert_eq!(count(Role::Storage), storages, "{left:?}");
            }
        }
    }

    #[test]
    fn every_kind_is_drawn() {
        let drawn: BTreeSet<&str> = (0..500)
            .filter_map(|seed| choose(&view(CommitMode::Majority, true), &mut Chance::new(seed)))
            .map(|chosen| match chosen {
                Disturbance::Crash(_) => "crash",
                Disturbance::Freeze(_) => "freeze",
                Disturbance::Links(links) => match links[..] {
                    [(_, _, Fault::Cut)] => "one way",
                    [(_, _, Fault::Cut), ..] => "cut",
                    [(_, _, Fault::Delay { .. }), ..] => "delay",
                    _ => "loss",
                },
            })
            .collect();
        assert_eq!(drawn.len(), 6, "{drawn:?}");
    }
}
