//! A schedule in words.

use common::types::{RecordVersion, ReplicaId};
use stateright::Path;
use storage::core::message::{
    Accepted, Ballot, Decision, EntryKind, LogRecord, Message, Outcome, Term,
};

use crate::config::{Asking, Config};
use crate::state::{Action, Event, State};

/// One line per step.
pub fn schedule(config: &Config, path: Path<State, Action>) -> Vec<String> {
    let mut lines = Vec::new();
    for (state, action) in path.into_vec() {
        let Some(action) = action else { continue };
        let torn = action.torn_at.map_or(String::new(), |change| {
            format!(", and crashes before change {change}")
        });
        let slow = if action.lags {
            "; its disk takes its time"
        } else {
            ""
        };
        let event = event(config, &state, &action.event);
        lines.push(format!("{event}{torn}{slow}"));
    }
    lines
}

fn event(config: &Config, state: &State, event: &Event) -> String {
    match event {
        Event::Ask(index, at) => {
            let Asking { id, swap, .. } = config.askings[*index];
            let asked = swap.map_or("a read".to_owned(), |(old, new)| format!("{old} -> {new}"));
            format!("s{at} is asked for u{id}: {asked}")
        }
        Event::Write(index, at) => format!("s{at} writes {}", config.writings[*index].value),
        Event::TimeOut(at) => format!("s{at} loses patience"),
        Event::Crash(at) => format!("s{at} crashes"),
        Event::Certify { dead, life, at } => {
            format!("s{at} hears that life {life} of s{dead} is over")
        }
        Event::Return(at) => format!("s{at} returns"),
        Event::Sync(at) => format!("s{at}'s disk is done"),
        Event::Deliver(to, fingerprint) => {
            let letter = state.letter(*fingerprint);
            let said = letter.map_or_else(String::new, |letter| {
                let from = letter.envelope.from;
                format!("s{from}: {}", message(&letter.envelope.message))
            });
            format!("s{to} hears {said}")
        }
    }
}

fn message(message: &Message) -> String {
    match message {
        Message::Submit { update, .. } => format!("SUBMIT u{}", update.id.sequence),
        Message::Prepare { term: of, .. } => format!("PREPARE {}", term(of)),
        Message::Vote {
            term: of,
            accepted,
            digest,
            ..
        } => {
            let accepted = accepted.as_ref().map_or("nothing".to_owned(), accepting);
            format!(
                "VOTE {}, {} decided, accepted {accepted}",
                term(of),
                digest.decided
            )
        }
        Message::Commit {
            ballot: of,
            proposal,
            ..
        } => format!("COMMIT {} {}", ballot(of), record(proposal)),
        Message::Committed {
            ballot: of, slot, ..
        } => format!("COMMITTED {} slot {slot}", ballot(of)),
        Message::Decided { state, .. } => format!("DECIDED {} slots", state.decided),
        Message::Gossip(partitions) => {
            let entries = partitions.iter().flat_map(|partition| &partition.entries);
            let entries: Vec<_> = entries
                .map(|entry| kind(entry.origin, &entry.what))
                .collect();
            format!("GOSSIP {}", entries.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn kind(origin: ReplicaId, what: &EntryKind) -> String {
    match what {
        EntryKind::Write { made, .. } => format!("s{origin} wrote {}", version(made)),
        EntryKind::Decided(decided) => format!("s{origin} decided {}", record(decided)),
    }
}

fn accepting(accepted: &Accepted) -> String {
    format!(
        "{} {}",
        ballot(&accepted.ballot),
        record(&accepted.proposal)
    )
}

fn ballot(of: &Ballot) -> String {
    format!("{}.{}", of.term, of.replica)
}

fn term(of: &Term) -> String {
    format!("{} round {}", ballot(&of.ballot), of.round)
}

pub fn record(record: &LogRecord) -> String {
    let decisions = record.decisions.iter().map(|Decision { id, outcome, .. }| {
        let outcome = match outcome {
            Outcome::Updated { base, made } => format!("{base} -> {}", version(made)),
            Outcome::Mismatch { found } => format!("found {}", version(found)),
        };
        format!("u{} {outcome}", id.sequence)
    });
    let decisions: Vec<_> = decisions.collect();
    format!("slot {} {}", record.slot, decisions.join(", "))
}

fn version(of: &RecordVersion) -> String {
    let value = of.value.as_deref().map(String::from_utf8_lossy);
    format!("{}={}", of.version, value.unwrap_or_default())
}
