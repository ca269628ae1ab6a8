//! Executes commands on a cluster, whether they come from a file, from standard input or from a person.
//!
//! - `storage`: the commands that speak to records; `many`: to all that begin alike.
//! - `backup`, `restore`: all records into a file, and back.
//! - `check`: histories. - `deploy`: operators in the storage. - `tables`: `status`, `listServer`, `listGlobal`, `runs`.
//! - `conditions`: `await`.
//! - `seen`: what the script has seen of the records, behind which its reads and runs never go.
//! - [`runs`]: submits runs and follows them to their outcomes; `load`: at a rate.
//!
//! Promise: commands are executed in order; a command that fails leaves the cluster as it is and the next one is
//! executed; what cannot be done is said with its place in the script.
//! Relies on the check of the script, and repeats it for each command, since the cluster may differ from it by then.

mod backup;
mod check;
mod conditions;
mod deploy;
mod load;
mod many;
mod restore;
pub mod runs;
mod seen;
mod storage;
mod tables;

use crate::cluster::{Cluster, Nemesis};
use crate::debug;
use crate::language::check::check_command;
use crate::language::files::{Disk, find, find_directory};
use crate::language::help::help;
use crate::language::{Command, Faults, OfRun, Setting, Statement, Submission};
use crate::outcome::{Failure, Outcome};
use crate::output::{Event, Told, run_output};
use common::diagnostic::Line;
use common::fabric::Profile;
use common::proto::{RunReport, RunState};
use common::types::UpdateId;
use load::Loading;
use many::Watching;
use runs::{Counted, Runs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What comes after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Next,
    /// `exit`.
    End,
}

/// Executes commands on one cluster.
pub struct Interpreter {
    cluster: Arc<Cluster>,
    runs: Arc<Runs>,
    /// By prefix.
    watches: BTreeMap<String, Watching>,
    /// What `load` has begun and not told yet.
    load: Option<Loading>,
    /// What goes wrong now.
    nemesis: Option<Nemesis>,
    /// What goes wrong whenever anything shall, whatever the script says.
    faults: Option<Faults>,
    /// It shall from the first run on, since the script does not say when.
    faults_from_first_run: bool,
    /// Counts the updates of this puppetmaster, for their ids.
    updates: u64,
    /// The worst failure of a command so far.
    outcome: Outcome,
}

impl Interpreter {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let runs = Runs::new(Arc::clone(&cluster));
        Self {
            cluster,
            runs,
            watches: BTreeMap::new(),
            load: None,
            nemesis: None,
            faults: None,
            faults_from_first_run: false,
            updates: 0,
            outcome: Outcome::Well,
        }
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Everything that went wrong until now: commands, runs and nodes.
    pub fn outcome(&self) -> Outcome {
        self.outcome
            .and(self.runs.outcome())
            .and(self.cluster.outcome())
    }

    /// Whenever something goes wrong by chance, so much shall: where `statements` say so, or from their first run on.
    pub fn disturb(&mut self, faults: Faults, statements: &[Statement]) {
        let says_when =
            |statement: &Statement| matches!(statement.command, Command::Set(Setting::Faults(_)));
        if faults.profile == Profile::None {
            return;
        }
        self.faults = Some(faults);
        self.faults_from_first_run = !statements.iter().any(says_when);
    }

    /// Before the first run of a script that does not say when.
    async fn begin_faults(&mut self, next: &Command) -> Result<(), Failure> {
        let runs = matches!(
            next,
            Command::Client(_) | Command::Run(_) | Command::Load(_) | Command::Repeat { .. }
        );
        if self.faults_from_first_run && runs {
            self.faults_from_first_run = false;
            self.set_faults(self.faults.unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn set_faults(&mut self, faults: Faults) -> Result<(), Failure> {
        if let Some(nemesis) = self.nemesis.take() {
            nemesis.end().await?;
        }
        if faults.profile != Profile::None {
            let faults = self.faults.unwrap_or(faults);
            self.nemesis = Nemesis::begin(&self.cluster, faults);
        }
        Ok(())
    }

    /// Waits until no run is outstanding and no node is starting, so that the outcome counts them all, and until watches
    /// have told what there is to tell.
    pub async fn settle(&mut self) {
        if let Err(failure) = self.set_faults(Faults::default()).await {
            self.outcome = self.outcome.and(failure.outcome());
            self.cluster.output.message(failure.message());
        }
        self.runs.all_ended().await;
        for (name, _) in self.cluster.nodes() {
            if let Err(failure) = self.cluster.settled(&name).await {
                self.cluster.output.message(failure.message());
            }
        }
        self.end_watches().await;
    }

    /// Executes one statement and says what went wrong.
    pub async fn execute(&mut self, statement: &Statement) -> Flow {
        match self.command(&statement.line, &statement.command).await {
            Ok(flow) => flow,
            Err(failure) => {
                self.outcome = self.outcome.and(failure.outcome());
                self.report(&statement.line, failure);
                Flow::Next
            }
        }
    }

    fn report(&self, line: &Line, failure: Failure) {
        let diagnostics = match failure {
            Failure::Wrong(diagnostics) => diagnostics,
            Failure::Failed { message, hint } => {
                let words = line.words().unwrap_or_default();
                let marked = words.first().map(|word| line.at(word, message.as_str()));
                vec![
                    marked
                        .unwrap_or_else(|| line.at_end(message))
                        .maybe_hint(hint),
                ]
            }
            Failure::Told { .. } => Vec::new(),
        };
        for diagnostic in diagnostics {
            self.cluster.output.say(&Event::Diagnostic(diagnostic));
        }
    }

    async fn command(&mut self, line: &Line, command: &Command) -> Result<Flow, Failure> {
        let wrong = check_command(line, command, &mut self.cluster.known(), &Disk);
        if !wrong.is_empty() {
            return Err(Failure::Wrong(wrong));
        }
        self.begin_faults(command).await?;
        match command {
            Command::Exit => return Ok(Flow::End),
            Command::Repeat { count, command } => return self.repeat(line, *count, command).await,
            Command::ExpectFail { command } => self.expect_fail(line, command).await?,
            Command::Echo { text } => self.cluster.output.say(&Event::Echo(text.clone())),
            Command::Help { command } => {
                let text = help(command.as_deref()).map_err(Failure::new)?;
                self.cluster.output.say(&Event::Help(text));
            }
            Command::Set(Setting::Faults(faults)) => self.set_faults(*faults).await?,
            Command::Set(setting) => self.set(line, setting)?,
            Command::Wait { duration } => self.cluster.fabric.sleep(*duration).await,
            Command::Debug => debug::start(&self.cluster).await?,
            Command::Create(node) => self.cluster.create(node),
            Command::Crash { node } => self.cluster.crash(node.text()).await?,
            Command::Stop { node } => self.cluster.stop(node.text()).await?,
            Command::Start { node } => self.cluster.start(node.text()).await?,
            Command::Freeze { node } => self.cluster.freeze(node.text()).await?,
            Command::Unfreeze { node } => self.cluster.unfreeze(node.text()).await?,
            Command::Partition { groups } => self.cluster.partition(groups).await?,
            Command::Fault { from, to, fault } => {
                let (from, to) = (from.text(), to.text());
                self.cluster.set_fault(from, to, *fault).await?;
            }
            Command::Heal => self.cluster.heal().await?,
            Command::Status => self.status().await?,
            Command::ListServer { node } => self.list_server(node.text()).await?,
            Command::ListGlobal => self.list_global().await?,
            Command::Runs => self.list_runs().await?,
            Command::Await { condition, limit } => self.wait_for(*condition, *limit).await?,
            Command::Client(run) => drop(self.submit(line, run, Counted::WhenItEnds).await?),
            Command::Run(run) => self.run(line, run).await?,
            Command::Load(load) => self.load(line, load).await?,
            Command::ExpectRun { run, output, .. } => self.expect_run(*run, output).await?,
            Command::OfRun { run, what, .. } => self.of_run(*run, *what).await?,
            Command::Populate { file } => self.populate(line, file).await?,
            Command::Backup { file } => self.backup(line, file).await?,
            Command::Restore { file } => self.restore(line, file).await?,
            Command::Check { file } => self.check(line, file).await?,
            Command::Deploy { file } => self.deploy(line, file).await?,
            Command::Rollback { class } => self.roll_back(class).await?,
            Command::Operators => self.list_operators().await?,
            Command::Read { key, version, at } => self.read(key, *version, at.as_ref()).await?,
            Command::Write { key, value, at } => self.write(key, value, at.as_ref()).await?,
            Command::UpdateIf { key, old, new, at } => {
                self.update_if(key, old.as_deref(), new, at.as_ref())
                    .await?;
            }
            Command::Scan { prefix, limit } => self.scan(prefix, *limit).await?,
            Command::Watch { prefix } => self.watch(prefix).await?,
            Command::History { key, at } => self.history(key, at.as_ref()).await?,
            Command::Expect { key, value, at } => {
                self.expect(key, value.as_deref(), at.as_ref()).await?;
            }
            // Included scripts were put in its place when the script was checked.
            Command::Include { file } => {
                return Err(Failure::new(format!("`{file}` was not included")));
            }
        }
        Ok(Flow::Next)
    }

    /// The first failure ends the repetition.
    async fn repeat(
        &mut self,
        line: &Line,
        count: u32,
        command: &Command,
    ) -> Result<Flow, Failure> {
        for _ in 0..count {
            if Box::pin(self.command(line, command)).await? == Flow::End {
                return Ok(Flow::End);
            }
        }
        Ok(Flow::Next)
    }

    async fn expect_fail(&mut self, line: &Line, command: &Command) -> Result<(), Failure> {
        match Box::pin(self.command(line, command)).await {
            Ok(_) => Err(Failure::new(
                "this command was expected to fail, and it did not",
            )),
            Err(failure) => {
                let message = failure.message();
                let cause = message.lines().next().unwrap_or_default();
                let text = format!("failed as expected: {cause}");
                self.cluster.output.message(text);
                Ok(())
            }
        }
    }

    fn set(&self, line: &Line, setting: &Setting) -> Result<(), Failure> {
        let operators = match setting {
            Setting::Operators(name) => {
                let found = find_directory(&Disk, &line.file, name.text()).map_err(Failure::new)?;
                let absolute = std::path::absolute(&found);
                Some(
                    absolute
                        .map_err(|error| Failure::new(format!("{}: {error}", found.display())))?,
                )
            }
            _ => None,
        };
        self.cluster.change_settings(|settings| match setting {
            Setting::Replication(nodes) => settings.replication = Some(*nodes),
            Setting::MaxVersions(versions) => settings.max_versions = *versions,
            Setting::Durability(durability) => settings.durability = *durability,
            Setting::Commit(mode) => settings.commit = *mode,
            Setting::Sync(mode) => settings.sync = *mode,
            Setting::Seed(seed) => settings.seed = *seed,
            Setting::Timeout(timeout) => settings.timeout = Some(*timeout),
            Setting::Operators(_) => settings.operators = operators,
            Setting::Native(native) => settings.native = Some(*native),
            Setting::Slots(slots) => settings.slots = Some(*slots),
            Setting::Http(addresses) => settings.http.clone_from(addresses),
            Setting::Limit(name, limit) => drop(settings.limits.insert(name, *limit)),
            // Not of the cluster, but of what is done to it.
            Setting::Faults(_) => {}
        });
        if matches!(setting, Setting::Seed(_)) {
            self.cluster.forget_client();
        }
        Ok(())
    }

    async fn submit(
        &self,
        line: &Line,
        run: &Submission,
        counted: Counted,
    ) -> Result<u64, Failure> {
        let found = find(&Disk, &line.file, run.application.text()).map_err(Failure::new)?;
        self.runs.submit(run, found.text, counted).await
    }

    async fn run(&self, line: &Line, run: &Submission) -> Result<(), Failure> {
        let run = self.submit(line, run, Counted::ByTheCommand).await?;
        completed(&self.runs.outcome_of(run).await)
    }

    async fn of_run(&self, run: u64, what: OfRun) -> Result<(), Failure> {
        let told = match what {
            OfRun::Cancel => return self.runs.cancel(run).await,
            OfRun::Trace => Told::Tasks(self.runs.trace(run).await?.tasks),
            OfRun::Why => Told::WaitsFor(self.runs.trace(run).await?.waits_for),
        };
        self.cluster.output.say(&Event::OfRun(run, told));
        Ok(())
    }

    async fn expect_run(&self, run: u64, output: &str) -> Result<(), Failure> {
        let report = self.runs.outcome_of_any(run).await?;
        if report.state() != RunState::Completed {
            return Err(Failure::new(incomplete(&report)));
        }
        let found = run_output(&report);
        if found != output {
            return Err(Failure::new(format!(
                "the output of run {run} is `{found}`, not `{output}`"
            )));
        }
        Ok(())
    }

    /// The same in every retry of one update, and of no other update.
    fn update_id(&mut self) -> UpdateId {
        self.updates += 1;
        UpdateId {
            origin: format!("puppetmaster/{}", self.cluster.session),
            sequence: self.updates,
        }
    }
}

/// The person has seen the outcome already.
fn completed(report: &RunReport) -> Result<(), Failure> {
    match report.state() {
        RunState::Completed => Ok(()),
        _ => Err(Failure::Told {
            message: incomplete(report),
        }),
    }
}

fn incomplete(report: &RunReport) -> String {
    let why = match report.state() {
        RunState::Cancelled => "it was cancelled",
        _ => report.error.as_str(),
    };
    format!("run {} did not complete: {why}", report.run)
}
