//! Scripts for tests, with the files that they name, and the processes that they start.

use std::path::Path;

use super::{Marionette, children_of, free_ports, wait_until};

/// A directory for the files of one test; gone with it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// With `count.app` (`CounterOperator`) and `twice.app` (that twice in a chain).
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("count.app", "operator CounterOperator 0\n");
        let twice = "operator CounterOperator 0\noperator CounterOperator 1\n";
        folder.write("twice.app", twice);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Runs the lines as a script in this directory.
    pub fn run(&self, script: &str) -> Marionette {
        self.run_with(script, &[])
    }

    pub fn run_with(&self, script: &str, options: &[&str]) -> Marionette {
        let path = self.write("script.pm", script);
        Marionette::start(&[&["run", path.as_str()], options].concat())
    }
}

/// The lines that create `sc1`, `s1` …, `w1` … on `127.0.0.1`.
pub fn nodes(storages: usize, workers: usize) -> String {
    nodes_at("127.0.0.1", storages, workers, 0)
}

/// The same on another host, with workers that wait before they forward a request.
pub fn nodes_at(host: &str, storages: usize, workers: usize, delay_ms: u64) -> String {
    let url = || {
        let [port] = free_ports();
        format!("http://{host}:{port}")
    };
    let scheduler = std::iter::once(format!("scheduler sc1 {}\n", url()));
    let storages = (1..=storages).map(|number| format!("storage s{number} {} 0\n", url()));
    let workers = (1..=workers).map(|number| format!("worker w{number} {} {delay_ms}\n", url()));
    scheduler.chain(storages).chain(workers).collect()
}

/// The processes that `parent` has started, waited for until there are as many.
#[track_caller]
pub fn node_pids(parent: u32, count: usize) -> Vec<u32> {
    wait_until(("nodes", count), || {
        Some(children_of(parent)).filter(|children| children.len() == count)
    })
}

/// The process of the node with this name.
#[track_caller]
pub fn pid_of(parent: u32, name: &str) -> u32 {
    let children = children_of(parent);
    let found = children.iter().find(|child| {
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        command.split('\0').nth(2) == Some(name)
    });
    *found.unwrap_or_else(|| panic!("{name} is not among {children:?}"))
}
