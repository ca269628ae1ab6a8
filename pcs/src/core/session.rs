//! One puppetmaster's processes: their names, their events, and the lease that they live on.

use std::collections::{BTreeMap, VecDeque};

use super::event_log::EventLog;
use super::messages::{Answer, CallId, Output, PcsError, ProcessId, What};

/// Most watchers that wait at once in a session; the oldest is answered when there are more.
pub const WATCHERS_MAX: usize = 8;
/// The lease of a session whose watcher has not chosen one. With the puppetmaster's death noticed after this,
/// none of its processes is left 2 s later.
pub const LEASE_MS_DEFAULT: u64 = 1_500;
pub const LEASE_MS_MIN: u64 = 200;
pub const LEASE_MS_MAX: u64 = 600_000;
/// A tick that comes later than this after its deadline says that this machine is busy, not that the watcher is dead.
const TICK_LATE_MS: u64 = 100;
/// What the watcher gets in addition then, once.
const REPRIEVE_MS: u64 = 300;
/// A session without processes is forgotten after this silence.
pub const FORGET_MS: u64 = 60_000;

#[derive(Debug)]
struct Watcher {
    call: CallId,
    after: u64,
    until_ms: u64,
}

#[derive(Debug)]
enum Lease {
    /// Runs out at this time, reprieved once or not.
    Until { ms: u64, reprieved: bool },
    /// Ran out; its processes were told to go.
    Lapsed,
}

#[derive(Debug)]
pub struct Session {
    /// Running ones.
    pub processes: BTreeMap<String, ProcessId>,
    log: EventLog,
    watchers: VecDeque<Watcher>,
    heard_ms: u64,
    lease_ms: u64,
    lease: Lease,
    /// Wait for its end; some when it is being closed.
    closers: Option<Vec<CallId>>,
}

impl Session {
    pub fn new(now_ms: u64) -> Self {
        let mut session = Self {
            processes: BTreeMap::new(),
            log: EventLog::default(),
            watchers: VecDeque::new(),
            heard_ms: now_ms,
            lease_ms: LEASE_MS_DEFAULT,
            lease: Lease::Lapsed,
            closers: None,
        };
        session.heard(now_ms);
        session
    }

    /// A request is a sign of life: the lease starts anew.
    pub fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.lease = Lease::Until {
            ms: now_ms + self.lease_ms,
            reprieved: false,
        };
    }

    /// Answers when there are events after the cursor, at the latest after `wait_ms`. The wait is at most half of the
    /// lease: a watcher that comes back at once keeps the session alive with a margin.
    pub fn watch(
        &mut self,
        now_ms: u64,
        watch: (CallId, u64),
        wait_ms: u64,
        lease_ms: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), u64> {
        if lease_ms > 0 {
            self.lease_ms = lease_ms.clamp(LEASE_MS_MIN, LEASE_MS_MAX);
        }
        self.heard(now_ms);
        let (call, after) = watch;
        if wait_ms == 0 || !self.log.after(after)?.is_empty() {
            return self.answer(call, after, out);
        }
        if self.watchers.len() == WATCHERS_MAX
            && let Some(oldest) = self.watchers.pop_front()
        {
            self.answer(oldest.call, oldest.after, out)?;
        }
        self.watchers.push_back(Watcher {
            call,
            after,
            until_ms: now_ms + wait_ms.min(self.lease_ms / 2),
        });
        Ok(())
    }

    fn answer(&self, call: CallId, after: u64, out: &mut Vec<Output>) -> Result<(), u64> {
        let events = self.log.after(after)?;
        out.push(Output::Answer {
            call,
            answer: Ok(Answer::Events(events)),
        });
        Ok(())
    }

    /// Records an event and tells all who wait for one.
    pub fn push(&mut self, name: String, pid: u32, what: What, out: &mut Vec<Output>) {
        self.log.push(name, pid, what);
        self.answer_watchers(|_| true, out);
    }

    fn answer_watchers(&mut self, due: impl Fn(&Watcher) -> bool, out: &mut Vec<Output>) {
        let (now, later) = self.watchers.drain(..).partition(due);
        self.watchers = later;
        let now: VecDeque<Watcher> = now;
        for watcher in now {
            // A waiting cursor is at the log's end, so what it wants is kept.
            let events = self.log.after(watcher.after).unwrap_or_default();
            out.push(Output::Answer {
                call: watcher.call,
                answer: Ok(Answer::Events(events)),
            });
        }
    }

    /// Answers the watchers whose time is over.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.answer_watchers(|watcher| watcher.until_ms <= now_ms, out);
    }

    /// The lease, when it runs out now: the caller kills the processes.
    pub fn lapses(&mut self, now_ms: u64) -> Option<u64> {
        let Lease::Until { ms, reprieved } = self.lease else {
            return None;
        };
        if self.processes.is_empty() || now_ms < ms {
            return None;
        }
        if !reprieved && now_ms - ms > TICK_LATE_MS {
            self.lease = Lease::Until {
                ms: now_ms + REPRIEVE_MS,
                reprieved: true,
            };
            return None;
        }
        self.lease = Lease::Lapsed;
        Some(self.lease_ms)
    }

    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        self.processes.is_empty() && now_ms >= self.heard_ms + FORGET_MS
    }

    /// When something is due, if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        let watchers = self.watchers.iter().map(|watcher| watcher.until_ms);
        let lease = match self.lease {
            Lease::Until { ms, .. } if !self.processes.is_empty() => Some(ms),
            _ => None,
        };
        let forgotten = self
            .processes
            .is_empty()
            .then_some(self.heard_ms + FORGET_MS);
        watchers.chain(lease).chain(forgotten).min()
    }

    pub fn is_closing(&self) -> bool {
        self.closers.is_some()
    }

    pub fn close(&mut self, call: Option<CallId>) {
        self.closers.get_or_insert_default().extend(call);
    }

    /// The last answers of a closed session.
    pub fn end(mut self, out: &mut Vec<Output>) {
        self.answer_watchers(|_| true, out);
        for call in self.closers.unwrap_or_default() {
            out.push(Output::Answer {
                call,
                answer: Ok(Answer::Done),
            });
        }
    }

    /// What a cursor that is too old is told.
    pub fn discarded(session: &str, after: u64, oldest: u64) -> PcsError {
        PcsError::EventsDiscarded {
            session: session.to_owned(),
            after,
            oldest,
        }
    }
}
