//! One process, from the order to start it until it was reaped.

use std::collections::VecDeque;

use super::messages::{
    Answer, CallId, Output, PcsError, ProcessId, ProcessView, Signal, Spec, What,
};

/// How long a process may take to end after SIGTERM, before SIGKILL.
pub const STOP_GRACE_MS: u64 = 5_000;

/// Most calls to freeze or unfreeze a process that wait at once.
pub const SIGNALLERS_MAX: usize = 8;

/// Why a process is made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Kill, Stop, Close or the end of the PCS.
    Asked,
    /// Its session gave no sign of life.
    Silent { lease_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Terminated { kill_at_ms: u64 },
    Killed,
}

#[derive(Debug)]
pub struct Process {
    pub id: ProcessId,
    pub spec: Spec,
    /// Known from when it exists.
    pid: Option<u32>,
    ready: bool,
    ending: Option<(Ending, Reason)>,
    /// Waits until it exists.
    pub starter: CallId,
    /// Wait until it was reaped.
    pub waiters: Vec<CallId>,
    /// Wait until they have frozen or unfrozen it, the oldest first.
    signallers: VecDeque<CallId>,
}

impl Process {
    pub fn new(id: ProcessId, spec: Spec, starter: CallId) -> Self {
        Self {
            id,
            spec,
            pid: None,
            ready: false,
            ending: None,
            starter,
            waiters: Vec::new(),
            signallers: VecDeque::new(),
        }
    }

    /// It exists; an end that was ordered in the meantime takes its course.
    pub fn launched(&mut self, pid: u32, out: &mut Vec<Output>) {
        self.pid = Some(pid);
        match self.ending {
            Some((Ending::Terminated { .. }, _)) => self.signal(Signal::Terminate, out),
            Some((Ending::Killed, _)) => self.signal(Signal::Kill, out),
            None => {}
        }
    }

    /// Marks it ready; true the first time.
    pub fn became_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.ready, true)
    }

    pub fn terminate(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if self.ending.is_none() {
            let kill_at_ms = now_ms + STOP_GRACE_MS;
            self.ending = Some((Ending::Terminated { kill_at_ms }, Reason::Asked));
            self.signal(Signal::Terminate, out);
        }
    }

    pub fn kill(&mut self, reason: Reason, out: &mut Vec<Output>) {
        let reason = self.ending.map_or(reason, |(_, first)| first);
        self.ending = Some((Ending::Killed, reason));
        self.signal(Signal::Kill, out);
    }

    /// Freezes or unfreezes it; answered when that was done.
    pub fn pause(
        &mut self,
        call: CallId,
        signal: Signal,
        out: &mut Vec<Output>,
    ) -> Result<(), PcsError> {
        if self.pid.is_none() {
            return Err(self.is_gone());
        }
        if self.signallers.len() == SIGNALLERS_MAX {
            return Err(PcsError::Full {
                what: "signals that wait for a process",
                max: SIGNALLERS_MAX,
            });
        }
        self.signallers.push_back(call);
        self.signal(signal, out);
        Ok(())
    }

    /// The oldest order to freeze or unfreeze it was carried out.
    pub fn signalled(&mut self, out: &mut Vec<Output>) {
        let answer = Ok(Answer::Done);
        let call = self.signallers.pop_front();
        out.extend(call.map(|call| Output::Answer { call, answer }));
    }

    /// It was reaped: who waited for its end has it, who wanted to freeze it has not.
    pub fn answer_all(&self, out: &mut Vec<Output>) {
        let ended = self.waiters.iter().map(|call| (call, Ok(Answer::Done)));
        let gone = self
            .signallers
            .iter()
            .map(|call| (call, Err(self.is_gone())));
        out.extend(
            ended
                .chain(gone)
                .map(|(&call, answer)| Output::Answer { call, answer }),
        );
    }

    fn is_gone(&self) -> PcsError {
        PcsError::NoSuchProcess {
            session: self.spec.session.clone(),
            name: self.spec.name.clone(),
        }
    }

    /// Kills it when it has had its time to end by itself.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if self
            .deadline_ms()
            .is_some_and(|deadline_ms| deadline_ms <= now_ms)
        {
            self.kill(Reason::Asked, out);
        }
    }

    pub fn deadline_ms(&self) -> Option<u64> {
        match self.ending {
            Some((Ending::Terminated { kill_at_ms }, _)) => Some(kill_at_ms),
            _ => None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid.unwrap_or_default()
    }

    /// Its last event.
    pub fn exited(&self, how: &str, last_words: String) -> What {
        let reason = self.ending.map(|(_, reason)| reason);
        let how = match reason {
            Some(Reason::Silent { lease_ms }) => {
                format!("{how}: its session was silent for {lease_ms} ms")
            }
            None if !self.ready => format!("{how} before it was ready"),
            Some(Reason::Asked) | None => how.to_owned(),
        };
        What::Exited {
            asked: reason == Some(Reason::Asked),
            how,
            last_words,
        }
    }

    pub fn view(&self) -> ProcessView {
        ProcessView {
            session: self.spec.session.clone(),
            name: self.spec.name.clone(),
            role: self.spec.role,
            pid: self.pid(),
            ready: self.ready,
        }
    }

    fn signal(&self, signal: Signal, out: &mut Vec<Output>) {
        if self.pid.is_some() {
            out.push(Output::Signal {
                process: self.id,
                signal,
            });
        }
    }
}
