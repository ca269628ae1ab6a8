//! What is wrong about statements although their syntax is right: names, URLs, files and the order of commands.
//!
//! [`check_script`] goes through a script before anything starts, keeping in [`Known`] what the commands so far would
//! have created. The interpreter asks [`check_statement`] once more with what the cluster really is; this is where
//! the mistakes of the prompt, and those which `expect-fail` expects, are found.

mod rules;

use super::command::{Command, Condition, Name, NewNode, Role, Submission};
use super::files::{Files, Found, find};
use super::load::Load;
use super::parse::{Parsed, Statement, parse_script};
use super::setting::Setting;
use common::diagnostic::{Diagnostic, Line};
use common::fabric::Address;
use indexmap::IndexMap;
use rules::Check;
use std::collections::{BTreeMap, BTreeSet};

/// What exists when a command is executed.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// In order of creation.
    pub nodes: IndexMap<String, (Role, Address)>,
    /// A command has used the storage: no storage node may be added any more.
    pub sealed: bool,
    /// What the script has set; the cluster itself refuses a wrong one when it is sealed.
    replication: Option<u32>,
    /// Runs submitted so far; absent when that cannot be told.
    pub runs: Option<u64>,
    /// The cluster was started by hand: nothing can be created.
    pub connected: bool,
    /// Files that `backup` has written by then.
    backups: BTreeSet<String>,
    /// A worker was created before any scheduler; it waits for one.
    waiting_worker: Option<Diagnostic>,
    /// Words of lines that could not be read. A name among them may well have been created there, so that it is not
    /// reported as unknown: one mistake gives one diagnostic.
    doubtful: BTreeSet<String>,
    /// Names that a line gives to a node although it could not be read, with the number of that line.
    claimed: BTreeMap<String, usize>,
}

impl Known {
    /// Nothing yet: the start of a script that makes its own cluster.
    pub fn nothing() -> Self {
        Self {
            runs: Some(0),
            ..Self::default()
        }
    }

    /// What a cluster has now.
    pub fn now(
        nodes: IndexMap<String, (Role, Address)>,
        sealed: bool,
        runs: Option<u64>,
        connected: bool,
    ) -> Self {
        Self {
            nodes,
            sealed,
            runs,
            connected,
            ..Self::default()
        }
    }

    pub fn has(&self, role: Role) -> bool {
        self.nodes.values().any(|(known, _)| *known == role)
    }

    fn names(&self, role: Option<Role>) -> impl Iterator<Item = &str> {
        let wanted = move |known: Role| role.is_none_or(|role| role == known);
        self.nodes
            .iter()
            .filter(move |(_, (known, _))| wanted(*known))
            .map(|(name, _)| name.as_str())
    }

    /// What has changed once the command was executed.
    fn apply(&mut self, command: &Command) {
        self.sealed |= command.needs_storage();
        match command {
            Command::Create(node) => {
                let node_state = (node.role, node.address.clone());
                self.nodes
                    .entry(node.name.text().to_owned())
                    .or_insert(node_state);
            }
            // At most: a run whose key is known is none.
            Command::Client(_) | Command::Run(_) => {
                self.runs = self.runs.map(|runs| runs + 1);
            }
            // At most: those that find too many outstanding are not sent.
            Command::Load(load) => {
                self.runs = self.runs.map(|runs| runs + load.pace.requests());
            }
            Command::Repeat { count, command } => {
                let before = self.runs;
                self.apply(command);
                let each = self
                    .runs
                    .zip(before)
                    .map(|(after, before)| after.saturating_sub(before));
                self.runs = before
                    .zip(each)
                    .map(|(before, each)| before + each * u64::from(*count));
            }
            Command::Backup { file } => {
                self.backups.insert(file.text().to_owned());
            }
            Command::Set(Setting::Replication(nodes)) => self.replication = Some(*nodes),
            // Whether a submission that is expected to fail counts is only known when it was tried.
            Command::ExpectFail { .. } => self.runs = None,
            _ => {}
        }
    }
}

/// Reads and checks a whole script. The statements of the scripts that it includes stand where it includes them.
/// The errors are those of syntax and those of meaning, in the order of lines.
pub fn check_script(file: &str, text: &str, known: &Known, files: &dyn Files) -> Parsed {
    let mut known = known.clone();
    let mut parsed = check_part(file, text, &mut known, files, &mut Vec::new());
    let starved = known
        .waiting_worker
        .take()
        .filter(|_| !known.has(Role::Scheduler));
    // A wrong line may have been the one that creates the scheduler.
    parsed
        .errors
        .extend(starved.filter(|_| known.doubtful.is_empty()));
    let mut seen = Vec::new();
    parsed.errors.retain(|error| {
        let first = !seen.contains(error);
        seen.push(error.clone());
        first
    });
    parsed
}

/// `path` holds the scripts that are being included, the outermost first.
fn check_part(
    file: &str,
    text: &str,
    known: &mut Known,
    files: &dyn Files,
    path: &mut Vec<String>,
) -> Parsed {
    path.push(file.to_owned());
    let Parsed {
        statements,
        errors,
        notices,
    } = parse_script(file, text);
    let words = errors
        .iter()
        .flat_map(|error| error.source.split_whitespace());
    known.doubtful.extend(words.map(str::to_owned));
    // Lines are numbered per file, so what another file claims waits until this one is checked.
    let claimed = errors.iter().filter_map(claim).collect();
    let outer = std::mem::replace(&mut known.claimed, claimed);
    if !errors.is_empty() {
        known.runs = None;
    }
    let mut checked = Parsed {
        notices,
        ..Parsed::default()
    };
    let mut errors: Vec<(usize, Diagnostic)> = errors
        .into_iter()
        .map(|error| (error.line, error))
        .collect();
    for statement in statements {
        let Statement { line, command } = &statement;
        let found = if let Command::Include { file } = command {
            let included = check_include(line, file, known, files, path);
            checked.statements.extend(included.statements);
            checked.notices.extend(included.notices);
            included.errors
        } else {
            let mut found = check_command(line, command, known, files);
            if found.is_empty() {
                found = Check { line, known, files }.replication(command);
            }
            known.apply(command);
            found
        };
        errors.extend(found.into_iter().map(|error| (line.number, error)));
        if !matches!(command, Command::Include { .. }) {
            checked.statements.push(statement);
        }
    }
    errors.sort_by_key(|(line, _)| *line);
    checked.errors = errors.into_iter().map(|(_, error)| error).collect();
    known.claimed = outer;
    path.pop();
    checked
}

/// The name that a wrong line would have given to a node.
fn claim(error: &Diagnostic) -> Option<(String, usize)> {
    let mut words = error.source.split_whitespace();
    let command = words.next()?.to_lowercase();
    let creates = matches!(command.as_str(), "scheduler" | "storage" | "worker");
    let name = words.next().filter(|_| creates)?;
    Some((name.to_owned(), error.line))
}

fn check_include(
    line: &Line,
    name: &Name,
    known: &mut Known,
    files: &dyn Files,
    path: &mut Vec<String>,
) -> Parsed {
    let failed = |message: String| Parsed {
        errors: vec![line.at(&name.0, message)],
        ..Parsed::default()
    };
    match find(files, &line.file, name.text()) {
        Err(message) => failed(message),
        Ok(found) if path.contains(&found.path) => {
            failed(format!("`{}` includes itself", found.path))
        }
        Ok(Found { path: file, text }) => check_part(&file, &text, known, files, path),
    }
}

const INCLUDE_ALONE: &str = "`include` stands alone on its line, not within another command";

/// What is wrong about one command of a line, given what exists.
pub fn check_command(
    line: &Line,
    command: &Command,
    known: &mut Known,
    files: &dyn Files,
) -> Vec<Diagnostic> {
    let check = Check { line, known, files };
    match command {
        Command::Create(node) => {
            let errors = check.create(node);
            note_waiting_worker(line, node, known);
            errors
        }
        Command::Client(Submission { application, .. })
        | Command::Run(Submission { application, .. })
        | Command::Load(Load { application, .. }) => check.submission(command, application),
        Command::Populate { file } => [check.storage(command), check.data(file)].concat(),
        Command::Check { file } => check.there(file),
        Command::Restore { file } => [check.storage(command), check.backup(file)].concat(),
        Command::Deploy { .. } | Command::Rollback { .. } | Command::Operators => {
            check.deployment(command)
        }
        Command::ListServer { node } => check.node(node, Some(Role::Storage)),
        Command::Crash { node } | Command::Stop { node } | Command::Start { node } => {
            check.own_node(node)
        }
        Command::Freeze { node } | Command::Unfreeze { node } => check.own_node(node),
        Command::Partition { groups } => check.groups(groups),
        Command::Fault { from, to, .. } => check.link(from, to),
        Command::Set(setting) => check.setting(setting),
        Command::ExpectRun { run, run_word, .. } | Command::OfRun { run, run_word, .. } => {
            [check.scheduler(), check.run(*run, run_word)].concat()
        }
        // What is wrong about the inner command is what the script expects; an include cannot be undone by halves.
        Command::ExpectFail { command } => match &**command {
            Command::Include { .. } => check_command(line, command, known, files),
            _ => Vec::new(),
        },
        Command::Repeat { count, command } => check_repeated(line, *count, command, known, files),
        Command::Include { file } => vec![line.at(&file.0, INCLUDE_ALONE)],
        Command::Runs
        | Command::Await {
            condition: Condition::Runs,
            ..
        } => check.scheduler(),
        Command::ListGlobal
        | Command::Backup { .. }
        | Command::Read { .. }
        | Command::Write { .. }
        | Command::UpdateIf { .. }
        | Command::History { .. }
        | Command::Scan { .. }
        | Command::Watch { .. }
        | Command::Expect { .. }
        | Command::Await {
            condition: Condition::Converged,
            ..
        } => check.storage(command),
        // Until all are ready.
        Command::Await { .. }
        | Command::Debug
        | Command::Status
        | Command::Heal
        | Command::Wait { .. }
        | Command::Echo { .. }
        | Command::Help { .. }
        | Command::Exit => Vec::new(),
    }
}

/// A worker may be created before the scheduler, but not without one.
fn note_waiting_worker(line: &Line, node: &NewNode, known: &mut Known) {
    if node.role == Role::Worker && !known.has(Role::Scheduler) && known.waiting_worker.is_none() {
        let message = format!(
            "worker `{}` needs a scheduler, and none is created",
            node.name
        );
        let error = line.at(&node.name.0, message);
        known.waiting_worker = Some(error.hint("add a line `scheduler ID URL`"));
    }
}

/// The second time shows what the first one does not, such as a name that is taken then.
fn check_repeated(
    line: &Line,
    count: u32,
    command: &Command,
    known: &Known,
    files: &dyn Files,
) -> Vec<Diagnostic> {
    let mut known = known.clone();
    for _ in 0..count.min(2) {
        let errors = check_command(line, command, &mut known, files);
        if !errors.is_empty() {
            return errors;
        }
        known.apply(command);
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
