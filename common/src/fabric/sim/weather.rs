//! What happens on the links of a simulated network, unasked for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::chance::Chance;
use crate::fabric::local::{Leg, Passage};

/// How much goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    None,
    Mild,
    Harsh,
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "mild" => Ok(Self::Mild),
            "harsh" => Ok(Self::Harsh),
            _ => Err(format!(
                "`{text}` is no profile of faults: expected none, mild or harsh"
            )),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mild => "mild",
            Self::Harsh => "harsh",
        })
    }
}

/// Whoever sets up a cluster and disturbs it must not fail at that: what only a puppetmaster asks has fair weather.
const SPARED: [&str; 9] = [
    "/marionette.v1.Pcs/",
    "/marionette.v1.Faults/",
    "/marionette.v1.Node/",
    "/marionette.v1.Scheduler/SetRing",
    "/marionette.v1.Scheduler/Cluster",
    "/marionette.v1.Scheduler/CertifyDeath",
    "/marionette.v1.Storage/SetRing",
    "/marionette.v1.Storage/Applied",
    "/marionette.v1.Storage/CertifyDeath",
];

/// How long messages take, and how many in a thousand meet with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// At least and at most.
    pub latency_ms: (u64, u64),
    /// These take up to [`slow_ms`](Self::slow_ms).
    pub slow_permille: u64,
    pub slow_ms: u64,
    /// One-way messages that are lost, and calls whose connection breaks on the way there or back.
    pub lost_permille: u64,
    /// One-way messages that arrive twice, and those that later ones overtake.
    pub stray_permille: u64,
}

impl Weather {
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::None => Self {
                latency_ms: (0, 1),
                slow_permille: 0,
                slow_ms: 0,
                lost_permille: 0,
                stray_permille: 0,
            },
            Profile::Mild => Self {
                latency_ms: (0, 4),
                slow_permille: 10,
                slow_ms: 50,
                lost_permille: 1,
                stray_permille: 2,
            },
            Profile::Harsh => Self {
                latency_ms: (0, 12),
                slow_permille: 30,
                slow_ms: 400,
                lost_permille: 10,
                stray_permille: 20,
            },
        }
    }

    pub(in crate::fabric) fn passage(&self, chance: &mut Chance, leg: Leg<'_>) -> Passage {
        let (Leg::Request(method, _) | Leg::Answer(method, _) | Leg::Message(method, _)) = leg;
        if SPARED.iter().any(|spared| method.starts_with(spared)) {
            return Passage::default();
        }
        let mut in_thousand = |permille| chance.below(1_000) < permille;
        let is_slow = in_thousand(self.slow_permille);
        let is_lost = in_thousand(self.lost_permille);
        let is_stray = matches!(leg, Leg::Message(..)) && in_thousand(self.stray_permille);
        let (least, most) = self.latency_ms;
        let most = if is_slow { self.slow_ms } else { most };
        let latency = Duration::from_millis(chance.between(least, most));
        let mut strays = Vec::new();
        if is_stray {
            strays.push(Duration::from_millis(chance.between(0, self.slow_ms)));
        }
        Passage {
            latency,
            is_lost,
            is_overtaken: is_stray && chance.percent(50),
            strays,
        }
    }
}
