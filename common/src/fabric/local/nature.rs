//! Time, chance and the weather on the links of a network within this process: the machine's, or a simulation's.

use std::time::Duration;

use crate::fabric::sim::{Profile, World};
use crate::fabric::{Address, BoxFuture, Bytes, machine};

pub enum Nature {
    /// Real time; nothing happens to a message that was not asked for.
    Machine,
    Simulated(World),
}

/// What is under way on a link.
#[derive(Debug, Clone, Copy)]
pub enum Leg<'a> {
    Request(&'a str, &'a Bytes),
    /// Absent: a refusal.
    Answer(&'a str, Option<&'a Bytes>),
    Message(&'a str, &'a Bytes),
}

/// What becomes of it. By default it arrives at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passage {
    pub latency: Duration,
    /// A message is lost without a word; a call ends, its outcome unknown.
    pub is_lost: bool,
    /// Further copies of a message, so much later.
    pub strays: Vec<Duration>,
    /// Only the strays arrive.
    pub is_overtaken: bool,
}

impl Nature {
    pub fn random(&self) -> u64 {
        match self {
            Self::Machine => machine::random(),
            Self::Simulated(world) => world.random(),
        }
    }

    pub fn now_ms(&self) -> u64 {
        match self {
            Self::Machine => machine::now_ms(),
            Self::Simulated(world) => world.now_ms(),
        }
    }

    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::Machine => machine::unix_ms(),
            Self::Simulated(world) => world.unix_ms(),
        }
    }

    pub fn incarnation(&self) -> u64 {
        match self {
            Self::Machine => machine::incarnation(),
            Self::Simulated(world) => world.incarnation(),
        }
    }

    /// Work that holds up its thread: in a simulation it takes no time.
    pub fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        match self {
            Self::Machine => machine::block(work),
            Self::Simulated(_) => Box::pin(async move { work() }),
        }
    }

    pub fn set_weather(&self, profile: Profile) {
        if let Self::Simulated(world) = self {
            world.set_weather(profile);
        }
    }

    pub fn passage(&self, from: &str, to: &Address, leg: Leg<'_>) -> Passage {
        match self {
            Self::Machine => Passage::default(),
            Self::Simulated(world) => world.passage(from, to, leg),
        }
    }
}
