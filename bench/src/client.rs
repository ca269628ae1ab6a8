//! A client whose every request and answer is written down for the checkers.
//!
//! It asks one replica at a time, without the client library: a plain write that the library repeats elsewhere may make
//! a second version, of which nobody would know. A repeated update has the same id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::proto::{self, storage::Client as Node, update_if_response};
use common::status::{Kind, Status};
use common::types::{RecordId, RecordVersion, ReplicaId, UpdateId, Version, required};
use history::{Action, Answer, Operation, ReadKind, Test};
use storage::core::Level;
use storage::core::message::Outcome;

use crate::cluster::{Cluster, ClusterError};

/// One clock for all operations of a history, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How requests of one kind ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: u64,
    /// A definite refusal: nothing has happened.
    pub refused: u64,
    pub unknown: u64,
}

pub type Tallies = BTreeMap<&'static str, Tally>;

/// What an update compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Value,
    Version,
}

/// Passes on what it has seen, so that it sees its own writes and nothing older than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    Kept,
    None,
}

pub struct Client {
    name: String,
    session: Session,
    nodes: Arc<BTreeMap<ReplicaId, Node>>,
    clock: Clock,
    /// Of the next update, write or linearizable read.
    sequence: u64,
    /// The last that it has found or made of a record.
    seen: BTreeMap<RecordId, RecordVersion>,
    /// Answered and unknown ones, in order.
    pub operations: Vec<Operation>,
    pub tallies: Tallies,
    /// The latest refusal of each kind of request.
    pub refusals: BTreeMap<&'static str, Status>,
}

impl Client {
    /// A node has so long to answer; then the outcome is unknown.
    pub fn new(
        cluster: &Cluster,
        name: &str,
        session: Session,
        clock: Clock,
        patience: Duration,
    ) -> Result<Self, ClusterError> {
        let node = |replica| Ok((replica, cluster.raw(replica, patience)?));
        let nodes: Result<_, ClusterError> = cluster.replicas().into_iter().map(node).collect();
        Ok(Self {
            name: name.to_owned(),
            session,
            nodes: Arc::new(nodes?),
            clock,
            sequence: 0,
            seen: BTreeMap::new(),
            operations: Vec::new(),
            tallies: Tallies::new(),
            refusals: BTreeMap::new(),
        })
    }

    pub fn session(&self) -> Session {
        self.session
    }

    pub async fn write(
        &mut self,
        replica: ReplicaId,
        record: &str,
        level: proto::Level,
    ) -> Result<Version, Status> {
        let id = self.next_id();
        let value = Some(value_of(&id));
        let request = proto::WriteRequest {
            id: Some(id.into()),
            record: record.to_owned(),
            value: value.clone(),
            level: level.into(),
            above: Some(self.floor(record).into()),
            ..proto::WriteRequest::default()
        };
        let level = match level {
            proto::Level::Majority => Level::Majority,
            proto::Level::All => Level::All,
            proto::Level::One | proto::Level::Unspecified => Level::One,
        };
        let written = async |node: &Node| {
            let written = node.write(&request).await?;
            Ok(required(written.version, "version")?.into())
        };
        let told = value.clone();
        let action = |answer| Action::Write {
            value: told,
            level,
            answer,
        };
        let asked = Asked::new("write", replica, record);
        let version = self.ask(asked, written, action).await?;
        self.see(record, RecordVersion { version, value });
        Ok(version)
    }

    /// The newest at this replica; with a session not older than what it has seen.
    pub async fn read(
        &mut self,
        replica: ReplicaId,
        record: &str,
    ) -> Result<RecordVersion, Status> {
        let request = proto::ReadRequest {
            record: record.to_owned(),
            not_older: Some(self.floor(record).into()),
            ..proto::ReadRequest::default()
        };
        self.read_as("local read", ReadKind::Local, replica, request)
            .await
    }

    pub async fn read_linearizable(
        &mut self,
        replica: ReplicaId,
        record: &str,
    ) -> Result<RecordVersion, Status> {
        let request = proto::ReadRequest {
            record: record.to_owned(),
            linearizable: Some(self.next_id().into()),
            ..proto::ReadRequest::default()
        };
        let kind = ReadKind::Linearizable;
        self.read_as("linearizable read", kind, replica, request)
            .await
    }

    async fn read_as(
        &mut self,
        name: &'static str,
        kind: ReadKind,
        replica: ReplicaId,
        request: proto::ReadRequest,
    ) -> Result<RecordVersion, Status> {
        let read = async |node: &Node| {
            let response = node.read(&request).await?;
            Ok(required(response.found, "found")?.into())
        };
        let action = |answer| Action::Read { kind, answer };
        let asked = Asked::new(name, replica, &request.record);
        let found = self.ask(asked, read, action).await?;
        self.see(&request.record, found.clone());
        Ok(found)
    }

    /// An update of what was last seen of the record, tried at one replica after the other, always with one id, until
    /// one of them answers. The error is that of the last try.
    pub async fn update(
        &mut self,
        replicas: impl IntoIterator<Item = ReplicaId>,
        record: &str,
        by: By,
    ) -> Result<Outcome, Status> {
        let seen = self.seen.get(record).cloned();
        let seen = seen.unwrap_or(RecordVersion {
            version: Version::NULL,
            value: None,
        });
        let id = self.next_id();
        let new = Some(value_of(&id));
        let (name, test, old, old_version) = match by {
            By::Value => {
                let test = Test::Value(seen.value.clone());
                ("updateIfValueIs", test, seen.value, None)
            }
            By::Version => {
                let test = Test::Version(seen.version);
                ("updateIfVersionIs", test, None, Some(seen.version.into()))
            }
        };
        let request = proto::UpdateIfRequest {
            id: Some(id.clone().into()),
            record: record.to_owned(),
            old,
            new: new.clone(),
            old_version,
            ..proto::UpdateIfRequest::default()
        };
        let updated = async |node: &Node| outcome(node.update_if(&request).await?, new.as_ref());
        let mut last = Err(Status::unavailable("no replica was asked"));
        for replica in replicas {
            let action = |answer| Action::Update {
                id: id.clone(),
                test: test.clone(),
                new: new.clone(),
                answer,
            };
            let asked = Asked::new(name, replica, record);
            last = self.ask(asked, updated, action).await;
            if let Ok(outcome) = &last {
                let (Outcome::Updated { made: seen, .. } | Outcome::Mismatch { found: seen }) =
                    outcome;
                self.see(record, seen.clone());
                break;
            }
        }
        last
    }

    /// Asks, and writes down how it ended.
    async fn ask<T: Clone>(
        &mut self,
        asked: Asked<'_>,
        ask: impl AsyncFnOnce(&Node) -> Result<T, Status>,
        action: impl FnOnce(Option<Answer<T>>) -> Action,
    ) -> Result<T, Status> {
        let nodes = self.nodes.clone();
        let Some(node) = nodes.get(&asked.replica) else {
            return Err(Status::not_found("no such replica"));
        };
        let invoked_at = self.clock.now();
        let result = ask(node).await;
        let at = self.clock.now();
        let tally = self.tallies.entry(asked.name).or_default();
        let answer = match &result {
            Ok(result) => {
                tally.answered += 1;
                let result = result.clone();
                Some(Answer { at, result })
            }
            Err(status) if is_unknown(status) => {
                tally.unknown += 1;
                None
            }
            Err(status) => {
                tally.refused += 1;
                self.refusals.insert(asked.name, status.clone());
                return result;
            }
        };
        self.operations.push(Operation {
            process: self.name.clone(),
            session: (self.session == Session::Kept).then(|| self.name.clone()),
            record: asked.record.to_owned(),
            replica: Some(asked.replica),
            invoked_at,
            action: action(answer),
        });
        result
    }

    fn next_id(&mut self) -> UpdateId {
        self.sequence += 1;
        UpdateId {
            origin: self.name.clone(),
            sequence: self.sequence,
        }
    }

    fn floor(&self, record: &str) -> Version {
        let seen = self.seen.get(record);
        let seen = seen.filter(|_| self.session == Session::Kept);
        seen.map_or(Version::NULL, |seen| seen.version)
    }

    fn see(&mut self, record: &str, seen: RecordVersion) {
        self.seen.insert(record.to_owned(), seen);
    }
}

/// What is asked of whom, for the tally and the history.
struct Asked<'a> {
    name: &'static str,
    replica: ReplicaId,
    record: &'a str,
}

impl<'a> Asked<'a> {
    fn new(name: &'static str, replica: ReplicaId, record: &'a str) -> Self {
        Self {
            name,
            replica,
            record,
        }
    }
}

/// No two writes or updates write the same.
fn value_of(id: &UpdateId) -> Bytes {
    format!("{}/{}", id.origin, id.sequence).into()
}

/// Every other error says that nothing has happened (`common::fabric`).
pub fn is_unknown(status: &Status) -> bool {
    matches!(
        status.kind,
        Kind::Timeout | Kind::Internal | Kind::Cancelled
    )
}

/// The answer names only the version made; its base is the one before it (STORAGE.md §2). A version without a step is
/// no update's, and the checkers will say so.
fn outcome(response: proto::UpdateIfResponse, new: Option<&Bytes>) -> Result<Outcome, Status> {
    Ok(match required(response.outcome, "outcome")? {
        update_if_response::Outcome::Updated(version) => {
            let version = Version::from(version);
            let base = Version {
                step: version.step.saturating_sub(1),
                ..version
            };
            let value = new.cloned();
            let made = RecordVersion { version, value };
            Outcome::Updated { base, made }
        }
        update_if_response::Outcome::Mismatch(found) => Outcome::Mismatch {
            found: found.into(),
        },
    })
}
