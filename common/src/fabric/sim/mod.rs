//! A network, its nodes and their machines in one thread and in virtual time: what happens follows from the seed.
//!
//! A [`Simulation`] runs a future, in which nodes live at the ends of a [`LocalFabric`] whose nature is simulated. The
//! clock stands still while anything has something to do, and then goes on to the next timer. A role that keeps to the
//! [`Fabric`](super::Fabric) is deterministic: the same seed gives the same events, byte for byte.
//!
//! - [`weather`]: what happens on the links. - [`log`]: what has happened, one event a line.

mod log;
mod weather;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Builder;
use tokio::time::Instant;

use super::local::{Leg, Nature, Passage};
use super::{Address, LocalFabric};
use crate::chance::Chance;
pub use log::EventLog;
pub use weather::Profile;
use weather::Weather;

/// When every simulation begins: 2026-01-01T00:00:00Z, in milliseconds since 1970.
const BEGINNING_UNIX_MS: u64 = 1_767_225_600_000;

/// Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    started: OnceLock<Instant>,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    profile: Profile,
    last_incarnation: u64,
    log: EventLog,
}

/// One run of a simulated world.
pub struct Simulation {
    world: World,
    seed: u64,
    fabric: LocalFabric,
}

impl Simulation {
    pub fn new(seed: u64, log: EventLog) -> Self {
        let world = World(Arc::new(Inner {
            started: OnceLock::new(),
            state: Mutex::new(State {
                chance: Chance::new(seed),
                profile: Profile::None,
                last_incarnation: 0,
                log,
            }),
        }));
        Self {
            fabric: LocalFabric::simulated("puppetmaster", Nature::Simulated(world.clone())),
            world,
            seed,
        }
    }

    /// The end of whoever watches; nodes get theirs by [`LocalFabric::another_end`].
    pub fn fabric(&self) -> &LocalFabric {
        &self.fabric
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Runs `future` and whatever it starts until it has ended; what still runs then is dropped.
    pub fn run<F: Future>(&self, future: F) -> std::io::Result<F::Output> {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(
            &self.seed.to_le_bytes(),
        ));
        #[cfg(not(tokio_unstable))]
        tracing::warn!(
            seed = self.seed,
            "built without `--cfg tokio_unstable`: the seed need not give the same run again"
        );
        let runtime = builder.build()?;
        Ok(runtime.block_on(async {
            self.world.0.started.get_or_init(Instant::now);
            future.await
        }))
    }
}

impl World {
    pub fn random(&self) -> u64 {
        self.lock().chance.draw()
    }

    /// Since the simulation began.
    pub fn now_ms(&self) -> u64 {
        let started = self.0.started.get_or_init(Instant::now);
        u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn unix_ms(&self) -> u64 {
        BEGINNING_UNIX_MS + self.now_ms()
    }

    /// Microseconds since 1970, or one more than the last time.
    pub fn incarnation(&self) -> u64 {
        let now = self.unix_ms() * 1_000;
        let mut state = self.lock();
        state.last_incarnation = now.max(state.last_incarnation + 1);
        state.last_incarnation
    }

    /// How much goes wrong unasked, now.
    pub fn weather(&self) -> Profile {
        self.lock().profile
    }

    pub(super) fn set_weather(&self, profile: Profile) {
        self.note(|| format!("weather {profile}"));
        self.lock().profile = profile;
    }

    /// Notes what has happened, in the log if there is one.
    pub fn note(&self, event: impl FnOnce() -> String) {
        let now_ms = self.now_ms();
        self.lock().log.note(now_ms, event);
    }

    /// Ends the log: its error, if something could not be written, and the hash of all of it.
    pub fn end_log(&self) -> std::io::Result<u64> {
        self.lock().log.end()
    }

    pub(super) fn passage(&self, from: &str, to: &Address, leg: Leg<'_>) -> Passage {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let passage = Weather::of(state.profile).passage(&mut state.chance, leg);
        state
            .log
            .note(now_ms, || log::crossing(from, to, leg, &passage));
        passage
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
