//! One attempt at one task in the worker's own operator host, on records and blobs in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::diagnostic::did_you_mean;
use common::types::Item;
use worker::host::{
    Fault, HostConfig, Level, MemoryStorage, OperatorFailure, OperatorHost, OperatorRequest, Ran,
    Rehearsal, Source, default_code_cache,
};

use crate::unusable::Unusable;

/// What an attempt begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub class: String,
    pub run: u64,
    pub stage: u32,
    pub task: u32,
    /// From 1.
    pub attempt: u32,
    pub submitted_unix_ms: u64,
    pub input: String,
    pub options: BTreeMap<String, String>,
    pub items: Vec<Item>,
    pub records: BTreeMap<String, Bytes>,
    /// By URL in normal form; these are granted, and no others.
    pub blobs: BTreeMap<String, Bytes>,
    pub faults: Vec<Fault>,
    pub timeout: Duration,
}

impl Default for Setup {
    /// The first attempt at stage 0 of run 1, on nothing, with the time that a stage has by default.
    fn default() -> Self {
        Self {
            class: String::new(),
            run: 1,
            stage: 0,
            task: 0,
            attempt: 1,
            submitted_unix_ms: 0,
            input: String::new(),
            options: BTreeMap::new(),
            items: Vec::new(),
            records: BTreeMap::new(),
            blobs: BTreeMap::new(),
            faults: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Vec<Item>, OperatorFailure>,
    /// All records afterwards.
    pub records: BTreeMap<String, Bytes>,
    pub lines: Vec<(Level, String)>,
    /// The faults that did not happen.
    pub faults_left: Vec<Fault>,
}

/// A host with the operators of one file.
pub struct Stand {
    host: OperatorHost,
    /// In order.
    classes: Vec<String>,
}

impl Stand {
    /// Loads a component, or with `allow_native` a library; without a file the operators that ship. Errors: why a
    /// worker would not take the file.
    pub async fn load(file: Option<&Path>, allow_native: bool) -> Result<Self, Unusable> {
        let config = HostConfig {
            directory: file.map(Path::to_owned),
            allow_native,
            slots: 1,
            code_cache: default_code_cache(),
            ..HostConfig::default()
        };
        let host = OperatorHost::start(config).await;
        let host = host.map_err(|error| Unusable::new(error.to_string()))?;
        if let Some(problem) = host.problems().first() {
            return Err(Unusable::new(problem.to_string()));
        }
        let is_meant = |source: &Source| matches!(source, Source::File(_)) == file.is_some();
        let classes = host.classes().into_iter();
        let classes = classes.filter(|class| is_meant(&class.source));
        let classes = classes.map(|class| class.class).collect();
        Ok(Self { host, classes })
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Errors: the file has no such class.
    pub fn require(&self, class: &str) -> Result<(), Unusable> {
        if self.classes.iter().any(|known| known == class) {
            return Ok(());
        }
        let known = self.classes.iter().map(String::as_str);
        let hint = did_you_mean(class, known)
            .unwrap_or_else(|| format!("there are: {}", self.classes.join(", ")));
        Err(Unusable::new(format!("unknown class `{class}`")).hint(hint))
    }

    /// Runs one attempt.
    pub async fn rehearse(&self, setup: &Setup) -> Outcome {
        let rehearsal = Arc::new(Rehearsal::new(setup.blobs.clone()));
        let request = OperatorRequest {
            class: setup.class.clone(),
            component: None,
            run: setup.run,
            scheduler_incarnation: 0,
            submitted_unix_ms: setup.submitted_unix_ms,
            stage: setup.stage,
            task: setup.task,
            attempt: setup.attempt,
            input: setup.input.clone(),
            options: setup.options.clone(),
            grants: setup.blobs.keys().cloned().collect(),
            items: setup.items.clone(),
            rehearsal: Some(Arc::clone(&rehearsal)),
        };
        let storage = MemoryStorage::new(&setup.records, setup.faults.clone());
        let Ran {
            result, storage, ..
        } = self
            .host
            .run(request, Box::new(storage), setup.timeout)
            .await;
        let storage = MemoryStorage::back(storage).unwrap_or_default();
        let records = storage.records.into_iter();
        Outcome {
            result: result.map_err(|error| error.failure),
            records: records.map(|(id, record)| (id, record.value)).collect(),
            lines: rehearsal.take_lines(),
            faults_left: storage.faults,
        }
    }
}

/// The word for a kind of failure in tables of cases and in output.
pub fn kind(failure: &OperatorFailure) -> &'static str {
    match failure {
        OperatorFailure::UnknownClass { .. } => "unknown-class",
        OperatorFailure::InvalidRequest(_) => "invalid-request",
        OperatorFailure::Failed(_) => "failed",
        OperatorFailure::Storage { .. } => "storage",
        OperatorFailure::Blob { .. } => "blob",
        OperatorFailure::Trap { .. } => "trap",
        OperatorFailure::Panic { .. } => "panic",
        OperatorFailure::DeadlineExceeded { .. } => "deadline",
        OperatorFailure::MemoryLimit { .. } => "memory",
        OperatorFailure::OutputTooLarge { .. } => "output",
        OperatorFailure::Crash { .. } => "crash",
        OperatorFailure::Conflict { .. }
        | OperatorFailure::Component { .. }
        | OperatorFailure::Host(_) => "host",
    }
}

/// Those that an operator can bring about: what a case may expect.
pub const KINDS: [&str; 10] = [
    "unknown-class",
    "invalid-request",
    "failed",
    "storage",
    "blob",
    "trap",
    "panic",
    "deadline",
    "memory",
    "output",
];

/// `info` and so on.
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
