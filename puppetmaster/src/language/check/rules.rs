//! The rules: each looks at one kind of command and says what is wrong about it.

use super::Known;
use crate::language::command::{Command, Name, NewNode, Role};
use crate::language::data;
use crate::language::files::{Files, find, find_directory, find_path};
use crate::language::setting::Setting;
use common::application::Application;
use common::diagnostic::{Diagnostic, Line, did_you_mean};
use common::fabric::Address;
use common::schedulers::Schedulers;
use common::types::Ring;
use std::collections::BTreeSet;

/// On the command line of a storage node its name would be taken for the subcommand.
const RESERVED_NAME: &str = "verify";

/// One line, and what exists when it is executed.
pub(super) struct Check<'a> {
    pub line: &'a Line,
    pub known: &'a Known,
    pub files: &'a dyn Files,
}

impl Check<'_> {
    fn at(&self, name: &Name, message: impl Into<String>) -> Diagnostic {
        self.line.at(&name.0, message)
    }

    /// An error about the command as a whole: its first word is marked.
    fn at_command(&self, message: &str) -> Vec<Diagnostic> {
        let words = self.line.words().unwrap_or_default();
        words
            .first()
            .map(|word| self.line.at(word, message))
            .into_iter()
            .collect()
    }

    pub fn create(&self, node: &NewNode) -> Vec<Diagnostic> {
        let mut errors = self.only_own_cluster(&node.name);
        if !errors.is_empty() {
            return errors;
        }
        if let Some((role, _)) = self.known.nodes.get(node.name.text()) {
            let message = format!("the name `{}` is taken by a {}", node.name, role.noun());
            return vec![
                self.at(&node.name, message)
                    .hint("every node has a name of its own"),
            ];
        }
        let claimed = self.known.claimed.get(node.name.text());
        if let Some(line) = claimed.filter(|line| **line < self.line.number) {
            let message = format!("the name `{}` is taken by line {line}", node.name);
            errors.push(
                self.at(&node.name, message)
                    .hint("every node has a name of its own"),
            );
        }
        if node.role == Role::Storage && node.name.text() == RESERVED_NAME {
            let message = format!("`{RESERVED_NAME}` is no name for a storage node");
            let error = self.at(&node.name, message);
            errors.push(error.hint("`marionette storage verify DIR` checks a data directory"));
        }
        if node.address.port() == 0 {
            errors.push(self.at(&node.url, "a node needs a port from 1 to 65535"));
        }
        let same = self
            .known
            .nodes
            .iter()
            .find(|(_, (_, known))| same_place(known, &node.address));
        if let Some((other, _)) = same {
            let message = format!("node `{other}` is at {} already", node.address);
            errors.push(
                self.at(&node.url, message)
                    .hint("every node has a URL of its own"),
            );
        }
        match node.role {
            Role::Scheduler
                if self.known.names(Some(Role::Scheduler)).count() >= Schedulers::KNOWN_MAX =>
            {
                let message = format!("a cluster has at most {} schedulers", Schedulers::KNOWN_MAX);
                errors.push(self.at(&node.name, message));
            }
            Role::Storage if self.known.sealed => errors.push(
                self.at(
                    &node.name,
                    "a storage node is created after the storage was used",
                )
                .hint(
                    "create all storage nodes before the first command that reads, writes or runs",
                ),
            ),
            Role::Storage if self.known.names(Some(Role::Storage)).count() >= Ring::NODES_MAX => {
                let message = format!("a cluster has at most {} storage nodes", Ring::NODES_MAX);
                errors.push(self.at(&node.name, message));
            }
            _ => {}
        }
        errors
    }

    /// A node that was created from here.
    pub fn own_node(&self, name: &Name) -> Vec<Diagnostic> {
        let errors = self.only_own_cluster(name);
        if errors.is_empty() {
            self.node(name, None)
        } else {
            errors
        }
    }

    fn only_own_cluster(&self, name: &Name) -> Vec<Diagnostic> {
        if !self.known.connected {
            return Vec::new();
        }
        let error = self.at(
            name,
            "a cluster that was started by hand is not changed from here",
        );
        vec![error.hint("without --connect, a script makes a cluster of its own")]
    }

    pub fn node(&self, name: &Name, role: Option<Role>) -> Vec<Diagnostic> {
        let what = role.map_or("node", Role::noun);
        match self.known.nodes.get(name.text()) {
            None if self.known.doubtful.contains(name.text()) => Vec::new(),
            // Which nodes a cluster has that was started by hand is known once it was asked.
            None if self.known.connected && self.known.nodes.is_empty() => Vec::new(),
            None => {
                let known: Vec<&str> = self.known.names(role).collect();
                let list = if known.is_empty() {
                    format!("no {what} was created yet")
                } else {
                    format!("known: {}", known.join(", "))
                };
                let error = self.at(name, format!("there is no {what} `{name}`"));
                vec![
                    error
                        .hint(list)
                        .maybe_hint(did_you_mean(name.text(), known)),
                ]
            }
            Some((known, _)) if role.is_some_and(|role| role != *known) => {
                vec![self.at(
                    name,
                    format!("`{name}` is a {}, not a {what}", known.noun()),
                )]
            }
            Some(_) => Vec::new(),
        }
    }

    /// Every node is in one group.
    pub fn groups(&self, groups: &[Vec<Name>]) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for name in groups.iter().flatten() {
            errors.extend(self.node(name, None));
            if !seen.insert(name.text()) {
                errors.push(self.at(name, format!("`{name}` is named twice")));
            }
        }
        errors
    }

    pub fn link(&self, from: &Name, to: &Name) -> Vec<Diagnostic> {
        let mut errors = [self.node(from, None), self.node(to, None)].concat();
        if from.text() == to.text() {
            errors.push(self.at(to, "a node has no link to itself"));
        }
        errors
    }

    fn may_have(&self, role: Role) -> bool {
        self.known.connected || self.known.has(role) || !self.known.doubtful.is_empty()
    }

    pub fn scheduler(&self) -> Vec<Diagnostic> {
        if self.may_have(Role::Scheduler) {
            return Vec::new();
        }
        let errors = self.at_command("this needs a scheduler, and none was created yet");
        errors
            .into_iter()
            .map(|error| error.hint("add a line `scheduler ID URL` before"))
            .collect()
    }

    pub fn storage(&self, command: &Command) -> Vec<Diagnostic> {
        if let Some(target) = command.target() {
            return self.node(target, Some(Role::Storage));
        }
        if self.may_have(Role::Storage) {
            return Vec::new();
        }
        let errors = self.at_command("this needs a storage node, and none was created yet");
        errors
            .into_iter()
            .map(|error| error.hint("add a line `storage ID URL GOSSIP_DELAY` before"))
            .collect()
    }

    /// The first command that uses the storage seals the set of its nodes; they must be enough by then.
    pub fn replication(&self, command: &Command) -> Vec<Diagnostic> {
        let seals = command.needs_storage() && !self.known.sealed && !self.known.connected;
        let nodes = self.known.names(Some(Role::Storage)).count();
        let certain = nodes > 0 && self.known.doubtful.is_empty();
        let expected = matches!(command, Command::ExpectFail { .. });
        let Some(replication) = self.known.replication.filter(|wanted| {
            seals && certain && !expected && usize::try_from(*wanted).unwrap_or(usize::MAX) > nodes
        }) else {
            return Vec::new();
        };
        let message =
            format!("replication is {replication}, but the cluster has {nodes} storage node(s)");
        let errors = self.at_command(&message);
        errors
            .into_iter()
            .map(|error| {
                error.hint("create them all before the first command that reads, writes or runs")
            })
            .collect()
    }

    pub fn submission(&self, command: &Command, application: &Name) -> Vec<Diagnostic> {
        debug_assert!(command.needs_scheduler());
        let mut errors = self.scheduler();
        match find(self.files, &self.line.file, application.text()) {
            Err(message) => errors.push(self.at(application, message)),
            Ok(found) => errors.extend(
                Application::parse(&found.path, &found.text)
                    .err()
                    .unwrap_or_default(),
            ),
        }
        errors
    }

    pub fn data(&self, file: &Name) -> Vec<Diagnostic> {
        match find(self.files, &self.line.file, file.text()) {
            Err(message) => vec![self.at(file, message)],
            Ok(found) => data::parse(&found.path, &found.text)
                .err()
                .unwrap_or_default(),
        }
    }

    /// A file that is there, or will be.
    pub fn backup(&self, file: &Name) -> Vec<Diagnostic> {
        if self.known.backups.contains(file.text()) {
            return Vec::new();
        }
        self.there(file)
    }

    pub fn deployment(&self, command: &Command) -> Vec<Diagnostic> {
        let mut errors = [self.storage(command), self.scheduler()].concat();
        if let Command::Deploy { file } = command {
            errors.extend(self.there(file));
        }
        errors
    }

    /// A file that is there.
    pub fn there(&self, file: &Name) -> Vec<Diagnostic> {
        let found = find_path(self.files, &self.line.file, file.text());
        found
            .err()
            .map(|why| self.at(file, why))
            .into_iter()
            .collect()
    }

    pub fn setting(&self, setting: &Setting) -> Vec<Diagnostic> {
        if setting.concerns_nodes() && self.known.connected {
            let message =
                "the settings of a cluster that was started by hand are not changed from here";
            return self.at_command(message);
        }
        if setting.concerns_nodes() && !self.known.nodes.is_empty() {
            let message = format!("`set {}` comes after the first node", setting.name());
            let errors = self.at_command(&message);
            return errors
                .into_iter()
                .map(|error| error.hint("nodes are created with it: move it up"))
                .collect();
        }
        match setting {
            Setting::Faults(_) if self.known.connected => {
                self.at_command("nodes that were started by hand are not disturbed from here")
            }
            Setting::Operators(name) => {
                match find_directory(self.files, &self.line.file, name.text()) {
                    Ok(_) => Vec::new(),
                    Err(message) => vec![self.at(name, message)],
                }
            }
            _ => Vec::new(),
        }
    }

    pub fn run(&self, run: u64, word: &Name) -> Vec<Diagnostic> {
        match self.known.runs {
            Some(runs) if run > runs => {
                let error = self.at(
                    word,
                    format!("run {run} was not submitted by then: there are {runs} runs"),
                );
                vec![error.hint("runs are counted from 1, in the order of `client` and `run`")]
            }
            _ => Vec::new(),
        }
    }
}

/// `localhost` and `127.0.0.1` are one place.
fn same_place(a: &Address, b: &Address) -> bool {
    let host = |address: &Address| match address.host() {
        "localhost" => "127.0.0.1".to_owned(),
        other => other.to_lowercase(),
    };
    a.port() == b.port() && host(a) == host(b)
}
