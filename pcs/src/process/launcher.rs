//! Starts children from one thread of its own.
//!
//! A child dies when the thread that forked it ends (see `parent`). Threads of the runtime come and go; this one ends
//! only when the PCS does.

use std::path::PathBuf;
use std::process::Stdio;

use common::node::PARENT_VARIABLE;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::core::Spec;

/// Which cluster a node belongs to, where its data is and what its limits are says whoever asks for it, not the shell that
/// the PCS was started from.
pub const NOT_INHERITED: [&str; 8] = [
    "MARIONETTE_RING",
    "MARIONETTE_HTTP",
    "MARIONETTE_DATA",
    "MARIONETTE_SYNC",
    "MARIONETTE_VALUE_BYTES_MAX",
    "MARIONETTE_RECORD_ID_BYTES_MAX",
    "MARIONETTE_RECORD_UPDATES_MAX",
    "MARIONETTE_NODE_UPDATES_MAX",
];
/// Most launches that wait for the thread.
const LAUNCHES_MAX: usize = 64;

type Launch = (Spec, oneshot::Sender<std::io::Result<Child>>);

#[derive(Clone)]
pub struct Processes {
    binary: PathBuf,
    launches: mpsc::Sender<Launch>,
}

impl Processes {
    /// Starts the thread, which ends when the last clone of this is dropped.
    pub fn new(binary: PathBuf) -> std::io::Result<Self> {
        let (launches, mut waiting) = mpsc::channel::<Launch>(LAUNCHES_MAX);
        let (runtime, program) = (Handle::current(), binary.clone());
        std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                // Children are watched by the runtime.
                let _runtime = runtime.enter();
                while let Some((spec, answer)) = waiting.blocking_recv() {
                    // A caller that is gone drops the child, which kills it.
                    let _ = answer.send(command(&program, &spec).spawn());
                }
            })?;
        Ok(Self { binary, launches })
    }

    /// The error names the binary.
    pub async fn launch(&self, spec: Spec) -> Result<Child, String> {
        let (answer, launched) = oneshot::channel();
        let gone = || "the launcher has ended".to_owned();
        self.launches
            .send((spec, answer))
            .await
            .map_err(|_| gone())?;
        let launched = launched.await.map_err(|_| gone())?;
        launched.map_err(|error| format!("{}: {error}", self.binary.display()))
    }
}

fn command(program: &PathBuf, spec: &Spec) -> Command {
    let mut command = Command::new(program);
    command
        .arg(spec.role.as_str())
        .args(&spec.arguments)
        .env(PARENT_VARIABLE, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on the terminal is for the puppetmaster, which then stops its nodes.
        .process_group(0)
        .kill_on_drop(true);
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Role;

    #[test]
    fn a_node_has_its_limits_from_whoever_asks_for_it() {
        let spec = Spec {
            session: "session".to_owned(),
            name: "s1".to_owned(),
            role: Role::Storage,
            arguments: Vec::new(),
        };
        let command = command(&PathBuf::from("marionette"), &spec);
        let removed: Vec<_> = command
            .as_std()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .filter_map(|(name, _)| name.to_str())
            .filter(|name| name.ends_with("_MAX"))
            .collect();
        assert_eq!(
            removed,
            [
                "MARIONETTE_NODE_UPDATES_MAX",
                "MARIONETTE_RECORD_ID_BYTES_MAX",
                "MARIONETTE_RECORD_UPDATES_MAX",
                "MARIONETTE_VALUE_BYTES_MAX"
            ]
        );
    }
}
