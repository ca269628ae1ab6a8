//! Sessions and their processes as a machine without I/O: [`Core::step`] takes an input and a time, and fills a list
//! of outputs.
//!
//! Invariants:
//! - a name is running at most once in a session; a process is known from the order to launch it until it was reaped;
//! - every call gets exactly one answer, except at shutdown, when the server answers what is left;
//! - a process that exists and whose session was silent for its lease is killed (where leases count);
//! - a session that is closed, or a PCS that shuts down, ends only after the last of its processes was reaped.

mod event_log;
mod last_words;
mod messages;
mod process;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use event_log::EVENTS_MAX;
pub use last_words::{LAST_WORDS_BYTES_MAX, LastWords};
pub use messages::{
    Answer, CallId, Event, Input, Output, PcsError, ProcessId, ProcessView, Request, Role, Signal,
    Spec, What,
};
pub use process::STOP_GRACE_MS;
pub use session::LEASE_MS_DEFAULT;

use process::{Process, Reason};
use session::Session;

/// Most sessions of one PCS.
pub const SESSIONS_MAX: usize = 64;
/// Most processes of one PCS.
pub const PROCESSES_MAX: usize = 512;

#[derive(Debug)]
pub struct Core {
    sessions: BTreeMap<String, Session>,
    processes: BTreeMap<ProcessId, Process>,
    last_process: ProcessId,
    /// False when the sessions' owner is this very process: it cannot die alone.
    leases_count: bool,
    shutting_down: bool,
}

impl Core {
    pub fn new(leases_count: bool) -> Self {
        Self {
            sessions: BTreeMap::new(),
            processes: BTreeMap::new(),
            last_process: 0,
            leases_count,
            shutting_down: false,
        }
    }

    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Request { call, request } => {
                if let Err(error) = self.request(now_ms, call, request, out) {
                    out.push(Output::Answer {
                        call,
                        answer: Err(error),
                    });
                }
            }
            Input::Launched { process, pid } => self.launched(process, pid, out),
            Input::LaunchFailed { process, why } => self.launch_failed(process, why, out),
            Input::Ready { process } => self.ready(process, out),
            Input::Signalled { process } => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.signalled(out);
                }
            }
            Input::Exited {
                process,
                how,
                last_words,
            } => self.exited(process, &how, last_words, out),
            Input::Tick => self.tick(now_ms, out),
            Input::Shutdown => self.shut_down(now_ms, out),
        }
    }

    /// When to give a [`Input::Tick`], if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(Session::deadline_ms);
        let processes = self.processes.values().filter_map(Process::deadline_ms);
        sessions.chain(processes).min()
    }

    /// True when it was told to shut down and no process is left.
    pub fn is_shut_down(&self) -> bool {
        self.shutting_down && self.processes.is_empty()
    }

    /// Numbers of sessions and of processes.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.processes.len())
    }

    fn request(
        &mut self,
        now_ms: u64,
        call: CallId,
        request: Request,
        out: &mut Vec<Output>,
    ) -> Result<(), PcsError> {
        match request {
            Request::Start(spec) => self.start(now_ms, call, spec, out)?,
            Request::Kill { session, name } => {
                let process = self.process(now_ms, &session, &name)?;
                process.waiters.push(call);
                process.kill(Reason::Asked, out);
            }
            Request::Stop { session, name } => {
                let process = self.process(now_ms, &session, &name)?;
                process.waiters.push(call);
                process.terminate(now_ms, out);
            }
            Request::Freeze { session, name } => {
                let process = self.process(now_ms, &session, &name)?;
                process.pause(call, Signal::Freeze, out)?;
            }
            Request::Unfreeze { session, name } => {
                let process = self.process(now_ms, &session, &name)?;
                process.pause(call, Signal::Unfreeze, out)?;
            }
            Request::Watch {
                session: name,
                after,
                wait_ms,
                lease_ms,
            } => {
                if after > 0 && !self.sessions.contains_key(&name) {
                    return Err(PcsError::NoSuchSession(name));
                }
                self.session(now_ms, &name)?
                    .watch(now_ms, (call, after), wait_ms, lease_ms, out)
                    .map_err(|oldest| Session::discarded(&name, after, oldest))?;
            }
            Request::List => {
                let views = self.processes.values().map(Process::view).collect();
                let answer = Ok(Answer::Processes(views));
                out.push(Output::Answer { call, answer });
            }
            Request::Close { session } => self.close(now_ms, call, &session, out),
        }
        Ok(())
    }

    fn start(
        &mut self,
        now_ms: u64,
        call: CallId,
        spec: Spec,
        out: &mut Vec<Output>,
    ) -> Result<(), PcsError> {
        if self.processes.len() >= PROCESSES_MAX {
            return Err(PcsError::Full {
                what: "processes of this PCS",
                max: PROCESSES_MAX,
            });
        }
        let id = self.last_process + 1;
        let session = self.session(now_ms, &spec.session)?;
        if session.processes.contains_key(&spec.name) {
            let (session, name) = (spec.session, spec.name);
            return Err(PcsError::NameTaken { session, name });
        }
        session.processes.insert(spec.name.clone(), id);
        self.last_process = id;
        self.processes
            .insert(id, Process::new(id, spec.clone(), call));
        out.push(Output::Launch { process: id, spec });
        Ok(())
    }

    /// The session, which shows by asking that it is alive; new when it is unknown.
    fn session(&mut self, now_ms: u64, name: &str) -> Result<&mut Session, PcsError> {
        if self.shutting_down {
            return Err(PcsError::ShuttingDown);
        }
        if !self.sessions.contains_key(name) && self.sessions.len() >= SESSIONS_MAX {
            return Err(PcsError::Full {
                what: "sessions of this PCS",
                max: SESSIONS_MAX,
            });
        }
        let session = self
            .sessions
            .entry(name.to_owned())
            .or_insert_with(|| Session::new(now_ms));
        if session.is_closing() {
            return Err(PcsError::SessionClosing(name.to_owned()));
        }
        session.heard(now_ms);
        Ok(session)
    }

    fn process(
        &mut self,
        now_ms: u64,
        session: &str,
        name: &str,
    ) -> Result<&mut Process, PcsError> {
        let id = self.sessions.get_mut(session).and_then(|session| {
            session.heard(now_ms);
            session.processes.get(name)
        });
        id.and_then(|id| self.processes.get_mut(id))
            .ok_or_else(|| PcsError::NoSuchProcess {
                session: session.to_owned(),
                name: name.to_owned(),
            })
    }

    fn launched(&mut self, id: ProcessId, pid: u32, out: &mut Vec<Output>) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.launched(pid, out);
        out.push(Output::Answer {
            call: process.starter,
            answer: Ok(Answer::Started { pid }),
        });
    }

    fn launch_failed(&mut self, id: ProcessId, why: String, out: &mut Vec<Output>) {
        let Some(process) = self.reaped(id, out) else {
            return;
        };
        let (role, name) = (process.spec.role, process.spec.name);
        out.push(Output::Answer {
            call: process.starter,
            answer: Err(PcsError::NotStarted { role, name, why }),
        });
        self.end_if_closed(&process.spec.session, out);
    }

    fn ready(&mut self, id: ProcessId, out: &mut Vec<Output>) {
        if let Some(process) = self.processes.get_mut(&id)
            && process.became_ready()
            && let Some(session) = self.sessions.get_mut(&process.spec.session)
        {
            session.push(process.spec.name.clone(), process.pid(), What::Ready, out);
        }
    }

    fn exited(&mut self, id: ProcessId, how: &str, last_words: String, out: &mut Vec<Output>) {
        let Some(process) = self.reaped(id, out) else {
            return;
        };
        let what = process.exited(how, last_words);
        let pid = process.pid();
        if let Some(session) = self.sessions.get_mut(&process.spec.session) {
            session.push(process.spec.name, pid, what, out);
        }
        self.end_if_closed(&process.spec.session, out);
    }

    /// Forgets a process and answers those who waited for its end.
    fn reaped(&mut self, id: ProcessId, out: &mut Vec<Output>) -> Option<Process> {
        let process = self.processes.remove(&id)?;
        process.answer_all(out);
        if let Some(session) = self.sessions.get_mut(&process.spec.session) {
            session.processes.remove(&process.spec.name);
        }
        Some(process)
    }

    fn close(&mut self, now_ms: u64, call: CallId, name: &str, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(name) else {
            // Closed already: an answer that was lost is asked for again.
            let answer = Ok(Answer::Done);
            return out.push(Output::Answer { call, answer });
        };
        session.close(Some(call));
        for id in session.processes.values() {
            if let Some(process) = self.processes.get_mut(id) {
                process.terminate(now_ms, out);
            }
        }
        self.end_if_closed(name, out);
    }

    fn end_if_closed(&mut self, name: &str, out: &mut Vec<Output>) {
        let ended = |session: &Session| session.is_closing() && session.processes.is_empty();
        if self.sessions.get(name).is_some_and(ended)
            && let Some(session) = self.sessions.remove(name)
        {
            session.end(out);
        }
    }

    fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        for process in self.processes.values_mut() {
            process.tick(now_ms, out);
        }
        for session in self.sessions.values_mut() {
            session.tick(now_ms, out);
            let Some(lease_ms) = session.lapses(now_ms).filter(|_| self.leases_count) else {
                continue;
            };
            for id in session.processes.values() {
                if let Some(process) = self.processes.get_mut(id) {
                    process.kill(Reason::Silent { lease_ms }, out);
                }
            }
        }
        self.sessions
            .retain(|_, session| !session.is_forgotten(now_ms));
    }

    fn shut_down(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.shutting_down = true;
        for process in self.processes.values_mut() {
            process.terminate(now_ms, out);
        }
        let names: Vec<String> = self.sessions.keys().cloned().collect();
        for name in names {
            if let Some(session) = self.sessions.get_mut(&name) {
                session.close(None);
            }
            self.end_if_closed(&name, out);
        }
    }
}
