//! Clients of a simulation: each asks one thing after the other, repeats what was not answered, and knows nothing of
//! what would be right.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::types::{CommitMode, RecordId, RecordVersion, ReplicaId, UpdateId, Version, Wanted};

use super::settings::Settings;
use crate::core::message::{Ask, Outcome, Update};
use crate::core::{Input, Level, Reply, Token};
use common::chance::Chance;
use history::{Action, Operation, ReadKind, Test};

/// A client waits so long for an answer.
pub const PATIENCE_MS: u64 = 4_000;
/// Tries of one update.
const TRIES_MAX: u32 = 5;
const READ_WAIT_MS: u64 = 500;

#[derive(Debug)]
pub struct Client {
    name: String,
    sequence: u64,
    /// The newest that it has seen of each record; also its session.
    seen: BTreeMap<RecordId, RecordVersion>,
    pub call: Option<Call>,
}

/// What it waits for.
#[derive(Debug, Clone)]
pub struct Call {
    pub request: Request,
    pub tries: u32,
    /// Of this try in the history.
    pub place: usize,
    pub token: Token,
    pub until_ms: u64,
}

#[derive(Debug, Clone)]
pub struct Request {
    record: RecordId,
    id: UpdateId,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Read {
        not_older: Version,
    },
    Write {
        value: Option<Bytes>,
        level: Level,
        above: Version,
    },
    Ask(Ask),
}

impl Client {
    pub fn new(number: u64) -> Self {
        Self {
            name: format!("c{number}"),
            sequence: 0,
            seen: BTreeMap::new(),
            call: None,
        }
    }

    /// What it wants next. Records called `u…` get updates and linearizable reads only; and all do when nodes forget,
    /// because they give the numbers of plain writes that are lost again.
    pub fn next(&mut self, chance: &mut Chance, settings: &Settings) -> Request {
        self.sequence += 1;
        let number = chance.below(settings.records);
        let only_updates = number.is_multiple_of(2) || !settings.durable;
        let record = format!("{}{number}", if only_updates { "u" } else { "m" });
        let seen = self.seen.get(&record).cloned();
        let version = seen.as_ref().map_or(Version::NULL, |seen| seen.version);
        let value = Bytes::from(format!("{}-{}", self.name, self.sequence));
        let new = (!chance.percent(5)).then_some(value);
        let what = match chance.below(if only_updates { 60 } else { 100 }) {
            0..25 => {
                let old = if chance.percent(10) {
                    None
                } else {
                    seen.and_then(|seen| seen.value)
                };
                What::Ask(Ask::IfValueIs { old, new })
            }
            25..40 => What::Ask(Ask::IfVersionIs { old: version, new }),
            // Elsewhere a session's own plain writes may be newer than what a quorum knows.
            40..60 if only_updates => What::Ask(Ask::Read),
            40..80 => What::Read { not_older: version },
            _ => What::Write {
                value: new,
                level: *chance
                    .one_of(&[Level::One, Level::Majority, Level::Majority, Level::All])
                    .unwrap_or(&Level::One),
                above: version,
            },
        };
        let id = UpdateId {
            origin: self.name.clone(),
            sequence: self.sequence,
        };
        Request { record, id, what }
    }

    /// True when the same may be asked again elsewhere: a second plain write would be a second version.
    pub fn may_repeat(call: &Call) -> bool {
        call.tries < TRIES_MAX && !matches!(call.request.what, What::Write { .. })
    }

    /// Notes what it has seen.
    pub fn answered(&mut self, request: &Request, reply: &Reply) {
        let seen = match (reply, &request.what) {
            (Reply::Read(found) | Reply::Update(Outcome::Mismatch { found }), _) => found.clone(),
            (Reply::Update(Outcome::Updated { made, .. }), What::Ask(ask)) => RecordVersion {
                version: made.version,
                // A late answer to a repeat has no value.
                value: match ask {
                    Ask::IfValueIs { new, .. } | Ask::IfVersionIs { new, .. } => new.clone(),
                    Ask::Read => None,
                },
            },
            (Reply::Written(version), What::Write { value, .. }) => RecordVersion {
                version: *version,
                value: value.clone(),
            },
            _ => return,
        };
        self.seen.insert(request.record.clone(), seen);
    }
}

impl Request {
    /// The same again. A read is a new one, or the answer to the last try could be older than this one.
    pub fn again(mut self, tries: u32) -> Self {
        if matches!(self.what, What::Ask(Ask::Read)) {
            self.id.origin = format!("{}#{tries}", self.id.origin);
        }
        self
    }

    pub fn input(&self, token: Token) -> Input {
        let record = self.record.clone();
        let id = self.id.clone();
        match self.what.clone() {
            What::Read { not_older } => Input::Read {
                token,
                record,
                wanted: Wanted::Newest { not_older },
                wait_ms: READ_WAIT_MS,
            },
            What::Write {
                value,
                level,
                above,
            } => Input::Write {
                token,
                id,
                record,
                value,
                level,
                above,
                task: None,
            },
            What::Ask(ask) => Input::UpdateIf {
                token,
                update: Update {
                    id,
                    record,
                    ask,
                    task: None,
                },
            },
        }
    }

    /// As the history has it.
    pub fn operation(
        &self,
        client: &Client,
        commit: CommitMode,
        replica: ReplicaId,
        invoked_at: u64,
    ) -> Operation {
        let (id, answer) = (self.id.clone(), None);
        let update = |test, new| Action::Update {
            id,
            test,
            new,
            answer,
        };
        let action = match self.what.clone() {
            What::Read { .. } => Action::Read {
                kind: ReadKind::Local,
                answer: None,
            },
            What::Write { value, level, .. } => Action::Write {
                value,
                level: match (level, commit) {
                    // Updates go on without a majority that has died: only all replicas bind them.
                    (Level::Majority, CommitMode::FailStop) => Level::One,
                    (level, _) => level,
                },
                answer: None,
            },
            What::Ask(Ask::Read) => Action::Read {
                kind: ReadKind::Linearizable,
                answer: None,
            },
            What::Ask(Ask::IfValueIs { old, new }) => update(Test::Value(old), new),
            What::Ask(Ask::IfVersionIs { old, new }) => update(Test::Version(old), new),
        };
        // A linearizable read is answered by whoever coordinates.
        let is_local = matches!(self.what, What::Read { .. } | What::Write { .. });
        Operation {
            process: client.name.clone(),
            session: Some(client.name.clone()),
            record: self.record.clone(),
            replica: is_local.then_some(replica),
            invoked_at,
            action,
        }
    }
}
