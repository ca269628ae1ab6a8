//! What a checker found, told so that a person sees what happened.

use std::fmt;

use bytes::Bytes;
use common::types::{RecordId, RecordVersion, UpdateId};

use crate::operation::{Action, Answer, Operation, ReadKind, Test};
use common::types::Level;
use common::types::Outcome;

/// Characters of a value that a message shows.
const VALUE_CHARS_MAX: usize = 32;

/// A promise of the storage (STORAGE.md §8) that a history breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub record: RecordId,
    /// A sentence.
    pub message: String,
    /// The operations and states that show it, a line each.
    pub evidence: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The history contradicts itself; nothing else was checked.
    Malformed,
    /// The search for a linearization took too long: neither right nor wrong.
    Undecided,
    NotLinearizable,
    /// An update's version is not the successor of its base, or a plain write has an update's version (I3).
    WrongVersion,
    /// Two updates have succeeded on one version (I2).
    TwoSuccessors,
    /// An update's test was answered wrongly.
    WrongTest,
    /// An update does not see what an earlier update or linearizable read has seen (I4, I6).
    MissedUpdate,
    /// An update does not see what a majority held before (I9).
    MissedWrite,
    /// A linearizable read does not see what was there before it.
    StaleRead,
    /// What one replica showed or numbered went back (I7, I12).
    ReplicaWentBack,
    /// A version that nothing in the history can have made by then.
    Phantom,
    /// One version for two values or two writes (I8).
    ReusedVersion,
    /// The calls of one update id were answered differently (I5).
    DifferentAnswers,
    /// One update id has made two versions (I5).
    ExecutedTwice,
    /// A session does not see its own write or update.
    OwnWriteUnseen,
    /// A session reads an older version than before.
    ReadWentBack,
    /// A run reads another version than the one that it has pinned.
    NotRepeatable,
    /// A plain write's number is not above all that its session has seen (I12).
    WriteBelowSeen,
    /// A version that was acknowledged or shown is missing at a replica in the end (I4, I7).
    Missing,
    /// Replicas differ in the end (I7).
    Diverged,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed history",
            Self::Undecided => "undecided",
            Self::NotLinearizable => "not linearizable",
            Self::WrongVersion => "wrong version",
            Self::TwoSuccessors => "two updates of one version",
            Self::WrongTest => "wrong test",
            Self::MissedUpdate => "missed update",
            Self::MissedWrite => "missed write",
            Self::StaleRead => "stale read",
            Self::ReplicaWentBack => "replica went back",
            Self::Phantom => "phantom version",
            Self::ReusedVersion => "reused version",
            Self::DifferentAnswers => "repeat answered differently",
            Self::ExecutedTwice => "update executed twice",
            Self::OwnWriteUnseen => "own write not seen",
            Self::ReadWentBack => "session went back",
            Self::NotRepeatable => "read not repeatable",
            Self::WriteBelowSeen => "write below what was seen",
            Self::Missing => "missing version",
            Self::Diverged => "replicas differ",
        })
    }
}

/// A headline, then a line for each piece of evidence.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            record,
            message,
            evidence,
        } = self;
        write!(f, "{kind}: record `{record}`: {message}")?;
        evidence.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Such as `client-1 at 4..9, replica 2: write "a", level majority → 3.2`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.process)?;
        if let Some(session) = &self.session {
            write!(f, " in session {session}")?;
        }
        match self.answered_at() {
            Some(answered_at) => write!(f, " at {}..{answered_at}", self.invoked_at)?,
            None => write!(f, " at {}..", self.invoked_at)?,
        }
        if let Some(replica) = self.replica {
            write!(f, ", replica {replica}")?;
        }
        write!(f, ": {}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { kind, answer } => {
                let kind = match kind {
                    ReadKind::Local | ReadKind::Pinned => "read",
                    ReadKind::Linearizable => "linearizable read",
                    ReadKind::Exactly => "read of a version",
                };
                write!(f, "{kind} → {}", told(answer.as_ref(), shown))
            }
            Self::Write {
                value,
                level,
                answer,
            } => {
                let level = match level {
                    Level::One => "one",
                    Level::Majority => "majority",
                    Level::All => "all",
                };
                let answer = told(answer.as_ref(), ToString::to_string);
                write!(
                    f,
                    "write {}, level {level} → {answer}",
                    text(value.as_ref())
                )
            }
            Self::Update {
                id,
                test,
                new,
                answer,
            } => {
                let (id, new) = (name(id), text(new.as_ref()));
                let answer = told(answer.as_ref(), outcome);
                match test {
                    Test::Value(old) => {
                        let old = text(old.as_ref());
                        write!(f, "update {id} of {old} to {new} → {answer}")
                    }
                    Test::Version(version) => {
                        write!(f, "update {id} of version {version} to {new} → {answer}")
                    }
                }
            }
        }
    }
}

fn told<T>(answer: Option<&Answer<T>>, tell: impl FnOnce(&T) -> String) -> String {
    answer.map_or_else(|| "unknown".to_owned(), |answer| tell(&answer.result))
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Updated { base, made } => format!("{} on {base}", made.version),
        Outcome::Mismatch { found } => format!("mismatch, found {}", shown(found)),
    }
}

/// `7.2 = "a"`
pub(crate) fn shown(made: &RecordVersion) -> String {
    format!("{} = {}", made.version, text(made.value.as_ref()))
}

/// `client/7`
pub(crate) fn name(id: &UpdateId) -> String {
    format!("{}/{}", id.origin, id.sequence)
}

/// A name that somebody else has given, on one line and without commands to a terminal.
pub(crate) fn printable(name: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    name.chars().map(shown).collect()
}

pub(crate) fn text(value: Option<&Bytes>) -> String {
    let Some(value) = value else {
        return "absent".to_owned();
    };
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
