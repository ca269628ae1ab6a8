//! Promises that can be broken in one state, or between it and the one before. `history` knows of the others.

use common::types::{ReplicaId, UpdateId, Version, Wanted};
use storage::core::message::{Decision, LogRecord};
use storage::core::{Input, Output, Reply, Token};

use crate::cluster::{Node, RECORD};
use crate::config::Config;
use crate::history::{Answer, Broken, History};
use crate::state::State;

/// Nobody waits for this answer.
const LOOK: Token = 1_000;

/// What a step of a node has broken.
pub fn broken(config: &Config, state: &State, before: &Node, node: &Node) -> Option<Broken> {
    let history = &state.history;
    let mut visible = before.record().versions();
    if visible.any(|made| !node.record().has(made.version)) {
        return Some(Broken::Vanished);
    }
    let spread = node.durable.spread(0)?;
    let is_missing = |((origin, sequence), version): (&(ReplicaId, u64), &Version)| {
        spread.timestamp.get(*origin) >= *sequence && !node.record().has(*version)
    };
    if history.written.iter().any(is_missing) {
        return Some(Broken::Causality);
    }
    // What a lagging node would show is held back.
    if node.lag.is_none() && shows_undecided(history, node) {
        return Some(Broken::Undecided);
    }
    let look_inside = || broken_inside(config, state, before, node);
    config.inside.then(look_inside)?
}

fn shows_undecided(history: &History, node: &Node) -> bool {
    let look = Input::Read {
        token: LOOK,
        record: RECORD.to_owned(),
        wanted: Wanted::NEWEST,
        wait_ms: 0,
    };
    let mut outputs = Vec::new();
    node.core.clone().step(0, look, &mut outputs);
    outputs.iter().any(|output| {
        matches!(output, Output::Reply { reply: Ok(Reply::Read(found)), .. }
            if history.made.get(&found.version) != Some(&found.value))
    })
}

fn broken_inside(config: &Config, state: &State, before: &Node, node: &Node) -> Option<Broken> {
    if node.promised() < before.promised() {
        return Some(Broken::Promise);
    }
    let is_at_rest = node.lag.is_none();
    if is_at_rest && node.core.durable().record(RECORD) != node.durable.record(RECORD) {
        return Some(Broken::Recovery);
    }
    let is_held = |(id, answer): (&UpdateId, &Answer)| {
        let Answer::Update(outcome) = answer else {
            return true;
        };
        state.is_quorum(config.commit, |node| {
            let updates = node.updates();
            let accepted = updates.accepted.as_ref().map(|accepted| &accepted.proposal);
            let is_it = |of: &Decision| of.id == *id && of.outcome == *outcome;
            let accepts = |proposal: &LogRecord| proposal.decisions.iter().any(is_it);
            updates.executed(id) == Some(outcome) || accepted.is_some_and(accepts)
        })
    };
    let mut answers = state.history.answers.iter();
    (!answers.all(is_held)).then_some(Broken::Durability)
}
