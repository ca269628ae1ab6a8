//! What must hold of durable state, wherever it comes from: a disk, a backup. Pure; the errors are for people.
//!
//! Of STORAGE.md §8 these are what one replica can see: I1, I3 and I5 within a record's log, I8 within its versions, I10
//! from change to change, and the bounds of I12 and I13.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use common::types::{UpdateId, Version};

use super::durable::{Durable, Parts};
use super::effect::Change;
use super::message::{Accepted, Decision, Entry, JoinRecord, LogRecord, Outcome, RecordState};
use super::record::{Lookup, Record, RecordChange, WRITES_MAX};
use super::retained::{Did, Retained};
use super::spread::Spread;
use super::updates::LOG_RECORDS_MAX;

/// The error says what is wrong.
pub type Sound = Result<(), String>;

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Sound {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// All of a record's state, as [`Record::to_join`] describes it.
pub fn check_state(state: &RecordState) -> Sound {
    check_log(state)?;
    check_versions(state)?;
    let mut ids = BTreeSet::new();
    ensure(state.writes.len() <= WRITES_MAX, || {
        format!("it remembers {} plain writes", state.writes.len())
    })?;
    for (id, version) in &state.writes {
        ensure(ids.insert(id), || {
            format!("{} made two versions", shown(id))
        })?;
        check_number(state, *version)?;
    }
    check_retained(state)
}

fn check_retained(state: &RecordState) -> Sound {
    let mut ids = BTreeSet::new();
    for Retained { id, did, .. } in &state.retained {
        ensure(ids.insert(id), || {
            format!("{} is retained twice", shown(id))
        })?;
        let made = match did {
            Did::Write(version) => Some(*version),
            Did::Update { outcome, .. } => outcome.made(),
        };
        made.map_or(Ok(()), |version| check_number(state, version))?;
    }
    Ok(())
}

fn check_log(state: &RecordState) -> Sound {
    let slots: Vec<u64> = state.log.iter().map(|record| record.slot).collect();
    let is_consecutive = slots
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if *b == a.saturating_add(1)));
    let ends = slots.last().is_none_or(|last| *last == state.decided);
    let begins = slots.first().is_none_or(|first| *first > 0);
    ensure(is_consecutive && ends && begins, || {
        format!("its decided slots are {slots:?} of {}", state.decided)
    })?;
    ensure(
        state.log.len() <= LOG_RECORDS_MAX && state.remembered.len() <= LOG_RECORDS_MAX,
        || format!("its log has {} slots", state.log.len()),
    )?;
    let mut ids = BTreeSet::new();
    for record in &state.log {
        check_outcomes(record)?;
        for Decision { id, outcome, .. } in &record.decisions {
            ensure(ids.insert(id), || format!("{} is decided twice", shown(id)))?;
            if let Some(made) = outcome.made() {
                check_number(state, made)?;
            }
        }
    }
    let first = slots.first().map_or(state.decided + 1, |first| *first);
    for record in &state.remembered {
        check_outcomes(record)?;
        let mut outcomes = record.decisions.iter().map(|of| &of.outcome);
        let is_old = record.slot < first && outcomes.all(|outcome| outcome.made().is_some());
        ensure(is_old, || {
            format!("it remembers slot {} wrongly", record.slot)
        })?;
    }
    Ok(())
}

/// Each update made the successor of what it tested, and tested what the one before it left.
fn check_outcomes(record: &LogRecord) -> Sound {
    let slot = record.slot;
    let mut left: Option<Version> = None;
    for Decision { outcome, .. } in &record.decisions {
        let newest = outcome.newest().version;
        let tested = match outcome {
            Outcome::Updated { base, .. } => *base,
            Outcome::Mismatch { .. } => newest,
        };
        ensure(
            outcome.made().is_none_or(|made| made == tested.successor()),
            || format!("slot {slot} made version {newest}, which does not follow {tested}"),
        )?;
        ensure(left.is_none_or(|left| left == tested), || {
            format!("slot {slot} tested version {tested} after another one was left")
        })?;
        left = Some(newest);
    }
    Ok(())
}

fn check_number(state: &RecordState, version: Version) -> Sound {
    ensure(version.number <= state.highest_number, || {
        format!(
            "its version {version} is above its highest number {}",
            state.highest_number
        )
    })
}

/// Newest first, above the floor, and each with one value.
fn check_versions(state: &RecordState) -> Sound {
    let mut values: BTreeMap<Version, &Option<Bytes>> = BTreeMap::new();
    for record in &state.log {
        values.extend(record.made().map(|made| (made.version, &made.value)));
    }
    let mut above: Option<Version> = None;
    for made in &state.versions {
        let version = made.version;
        check_number(state, version)?;
        ensure(above.is_none_or(|above| version < above), || {
            format!("its version {version} is out of order")
        })?;
        ensure(version > state.floor, || {
            format!("its version {version} was discarded with {}", state.floor)
        })?;
        let other = values.insert(version, &made.value);
        ensure(other.is_none_or(|value| *value == made.value), || {
            format!("its version {version} has two values")
        })?;
        above = Some(version);
    }
    Ok(())
}

/// A record as a checkpoint holds it.
pub fn check_record(join: &JoinRecord) -> Sound {
    let checked = check_state(&join.state).and_then(|()| match &join.accepted {
        None => Ok(()),
        Some(accepted) => {
            ensure(accepted.ballot <= join.promised, || {
                "it has accepted what it promised to refuse".to_owned()
            })?;
            check_accepted(join.state.decided, accepted)
        }
    });
    checked.map_err(|why| of_record(&join.record, &why))
}

fn check_accepted(decided: u64, accepted: &Accepted) -> Sound {
    let slot = accepted.proposal.slot;
    ensure(slot == decided + 1, || {
        format!("it has accepted slot {slot} when {decided} were decided")
    })?;
    check_outcomes(&accepted.proposal)
}

/// A change that is about to be applied to what was made so far.
pub fn check_change(durable: &Durable, change: &Change, parts: Parts) -> Sound {
    match change {
        Change::Record { record, change } if parts.record => {
            let absent = Record::default();
            let known = durable.record(record).unwrap_or(&absent);
            check_record_change(known, change).map_err(|why| of_record(record, &why))
        }
        Change::Entry { partition, entry } => {
            let home = durable.placement.partition(&entry.record);
            ensure(home == *partition, || {
                format!(
                    "record `{}` is not of partition {partition}, but of {home}",
                    entry.record
                )
            })?;
            match durable.spread(*partition).filter(|_| parts.spread) {
                Some(spread) => check_entry(spread, entry),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn check_record_change(known: &Record, change: &RecordChange) -> Sound {
    let updates = known.updates();
    match change {
        RecordChange::Promise(ballot) => ensure(*ballot >= updates.promised, || {
            "a promise goes back".to_owned()
        }),
        RecordChange::Accept(accepted) => check_accepted(updates.decided, accepted),
        RecordChange::Decide(record) => {
            ensure(record.slot == updates.decided + 1, || {
                format!(
                    "slot {} is decided after slot {}",
                    record.slot, updates.decided
                )
            })?;
            check_outcomes(record)
        }
        RecordChange::SkipTo(slot) => ensure(*slot >= updates.decided, || {
            format!("slot {slot} comes after slot {}", updates.decided)
        }),
        RecordChange::Merge(made) => match known.look_up(made.version) {
            Lookup::Found(known) if known.value != made.value => {
                Err(format!("its version {} has two values", made.version))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_entry(spread: &Spread, entry: &Entry) -> Sound {
    ensure(spread.is_next(entry), || {
        format!(
            "entry {} of replica {} is not the next one",
            entry.sequence, entry.origin
        )
    })
}

/// All of what was recovered.
pub fn check_durable(durable: &Durable) -> Sound {
    let max_versions = durable.founding.ring.max_versions as usize;
    let me = durable.founding.replica;
    for (id, record) in durable.records() {
        check_record(&record.to_join(id))?;
        let versions = record.versions().count();
        ensure(versions <= max_versions, || {
            of_record(id, &format!("it has {versions} versions"))
        })?;
        ensure(durable.placement.replicas_of(id).contains(&me), || {
            of_record(id, "this node is none of its replicas")
        })?;
    }
    for (partition, spread) in durable.spreads() {
        check_spread(spread).map_err(|why| format!("partition {partition}: {why}"))?;
    }
    Ok(())
}

fn check_spread(spread: &Spread) -> Sound {
    ensure(spread.timestamp.covers(&spread.dropped), || {
        "it has dropped what it never had".to_owned()
    })?;
    let mut last = BTreeMap::new();
    for entry in spread.log() {
        let before = last.insert(entry.origin, entry.sequence);
        let is_known = entry.sequence <= spread.timestamp.get(entry.origin);
        ensure(is_known && before < Some(entry.sequence), || {
            format!(
                "entry {} of replica {} is out of place",
                entry.sequence, entry.origin
            )
        })?;
    }
    Ok(())
}

fn of_record(id: &str, why: &str) -> String {
    format!("record `{id}`: {why}")
}

fn shown(id: &UpdateId) -> String {
    format!("update {} of {}", id.sequence, id.origin)
}
