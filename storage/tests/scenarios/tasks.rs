//! Attempts at tasks: what a fence refuses and waits for, what is collected, and what is forgotten.

use std::collections::BTreeSet;

use bytes::Bytes;
use common::types::CommitMode::{FailStop, Majority};
use common::types::{ReplicaId, TaskMark, UpdateId, Version};
use storage::core::fence::{Collected, Fence};
use storage::core::fences::{FENCES_BYTES_MAX, Forgotten, OVER};
use storage::core::message::{Ask, Message, Outcome, Update};
use storage::core::retained::{Did, RECORD_UPDATES_MAX, VALUE_BYTES_MAX};
use storage::core::updates::LOG_RECORDS_MAX;
use storage::core::{Change, Input, Level, Output, Refusal, Reply, Start, Storage, Token};

use crate::world::{World, bytes};

const TASK: &str = "run/1/0";

fn mark(attempt: u32) -> Option<TaskMark> {
    let note = Bytes::from(format!("note {attempt}"));
    (attempt > 0).then_some(TaskMark { attempt, note })
}

fn id(origin: &str, sequence: u64) -> UpdateId {
    UpdateId {
        origin: origin.to_owned(),
        sequence,
    }
}

/// The task's update of this number: makes `new` if the record is absent.
fn start(world: &mut World, at: ReplicaId, attempt: u32, sequence: u64, record: &str) -> Token {
    let update = Update {
        id: id(TASK, sequence),
        record: record.to_owned(),
        ask: Ask::IfValueIs {
            old: None,
            new: Some(bytes("new")),
        },
        task: mark(attempt),
    };
    world.ask(at, |token| Input::UpdateIf { token, update })
}

fn start_write(world: &mut World, at: ReplicaId, attempt: u32, sequence: u64) -> Token {
    world.ask(at, |token| Input::Write {
        token,
        id: id(TASK, sequence),
        record: "w".to_owned(),
        value: Some(bytes("written")),
        level: Level::One,
        above: Version::NULL,
        task: mark(attempt),
    })
}

#[track_caller]
fn update(world: &mut World, at: ReplicaId, attempt: u32, sequence: u64, record: &str) -> Outcome {
    let token = start(world, at, attempt, sequence, record);
    match world.reply(token) {
        Ok(Reply::Update(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

fn start_fence(world: &mut World, at: ReplicaId, path: &str, attempt: u32) -> Token {
    let fence = Fence {
        path: path.to_owned(),
        attempt,
        after: None,
    };
    world.ask(at, |token| Input::Fence { token, fence })
}

#[track_caller]
fn collected(world: &mut World, token: Token) -> Collected {
    match world.reply(token) {
        Ok(Reply::Collected(collected)) => collected,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fence(world: &mut World, at: ReplicaId, path: &str, attempt: u32) -> Collected {
    let token = start_fence(world, at, path, attempt);
    collected(world, token)
}

/// Sequence and record of each.
fn names(collected: &Collected) -> Vec<(u64, &str)> {
    let retained = collected.retained.iter();
    let name = retained.map(|(record, of)| (of.id.sequence, record.as_str()));
    name.collect()
}

fn fenced(attempt: u32) -> Result<Reply, Refusal> {
    let origin = TASK.to_owned();
    Err(Refusal::Fenced { origin, attempt })
}

#[track_caller]
fn forget(world: &mut World, at: ReplicaId, from: &str, until: &str, except: &[&str]) {
    let range = Forgotten {
        from: from.to_owned(),
        until: until.to_owned(),
        except: except.iter().map(|path| (*path).to_owned()).collect(),
    };
    let token = world.ask(at, |token| Input::Forget { token, range });
    assert_eq!(world.reply(token), Ok(Reply::Forgotten));
}

/// The node dies and comes back with what was durable.
fn restart(world: &mut World, replica: ReplicaId) {
    let now_ms = world.now_ms;
    let node = world.nodes.get_mut(&replica).unwrap();
    let durable = node.core.durable().clone();
    node.core = Storage::new(now_ms, 0, durable, Start::Restarted);
}

#[test]
fn a_fence_refuses_older_attempts_at_the_coordinator_and_elsewhere() {
    let mut world = World::new(3, Majority, 1);
    update(&mut world, 1, 1, 0, "k");
    for replica in 1..=3 {
        fence(&mut world, replica, "run/1", 3);
        for attempt in [1, 2] {
            let token = start(&mut world, replica, attempt, 1, "k");
            assert_eq!(world.reply(token), fenced(3));
            let token = start_write(&mut world, replica, attempt, 1);
            assert_eq!(world.reply(token), fenced(3));
        }
        // Also what was executed: that attempt is over.
        let token = start(&mut world, replica, 1, 0, "k");
        assert_eq!(world.reply(token), fenced(3));
    }
    update(&mut world, 2, 3, 1, "other");
    // Whoever is no task is not meant.
    update(&mut world, 2, 0, 2, "another");
    world.converge();
}

#[test]
fn a_fence_never_goes_back() {
    let mut world = World::new(1, Majority, 1);
    fence(&mut world, 1, TASK, 3);
    let lower = start_fence(&mut world, 1, TASK, 2);
    assert_eq!(world.reply(lower), fenced(3));
    fence(&mut world, 1, TASK, 3);
    fence(&mut world, 1, TASK, 4);
}

#[test]
fn a_fence_above_stands_for_those_of_all_tasks_below() {
    let mut world = World::new(3, Majority, 15);
    update(&mut world, 1, 1, 0, "k");
    world.converge();
    for replica in 1..=3 {
        // Before their run was taken up again two tasks had fences of their own.
        fence(&mut world, replica, TASK, 2);
        fence(&mut world, replica, "run/1/1", 7);
        fence(&mut world, replica, "run/1", 5);
        let collected = fence(&mut world, replica, TASK, 5);
        assert_eq!(names(&collected), [(0, "k")]);
        let token = start_fence(&mut world, replica, TASK, 4);
        assert_eq!(world.reply(token), fenced(5));
        let fences = world.nodes[&replica].core.durable().fences.fences();
        let kept: Vec<_> = fences.keys().map(String::as_str).collect();
        assert_eq!(kept, ["run/1", "run/1/1"]);
    }
    let token = start(&mut world, 1, 4, 1, "k");
    assert_eq!(world.reply(token), fenced(5));
}

#[test]
fn what_waits_in_a_queue_is_refused_by_a_fence_and_never_executed() {
    let mut world = World::new(3, Majority, 2);
    let coordinator = world.coordinator("k");
    let other = coordinator % 3 + 1;
    // Nothing of the update protocol gets through: one update waits at its coordinator, one where it is to be forwarded.
    world.filter = Box::new(|_, _, message| {
        let is_update = matches!(message, Message::Submit { .. } | Message::Prepare { .. });
        !is_update
    });
    let own = start(&mut world, coordinator, 1, 0, "k");
    let forwarded = start(&mut world, other, 1, 1, "k");
    world.run_for(300);
    for replica in 1..=3 {
        assert_eq!(fence(&mut world, replica, TASK, 2), Collected::default());
    }
    assert_eq!(world.reply(own), fenced(2));
    assert_eq!(world.reply(forwarded), fenced(2));
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    assert_eq!(world.read(other, "k"), "-");
}

#[test]
fn what_a_node_without_a_fence_forwards_is_not_taken_by_one_that_has_it() {
    let mut world = World::new(3, Majority, 3);
    let coordinator = world.coordinator("k");
    let other = coordinator % 3 + 1;
    fence(&mut world, coordinator, TASK, 2);
    start(&mut world, other, 1, 0, "k");
    world.run_for(2_000);
    assert_eq!(world.read(coordinator, "k"), "-");
    // Told in the end.
    let token = start(&mut world, coordinator, 1, 0, "k");
    assert_eq!(world.reply(token), fenced(2));
}

#[test]
fn a_fence_outlives_its_node() {
    let mut world = World::new(3, Majority, 4);
    let did = update(&mut world, 1, 1, 0, "k");
    fence(&mut world, 1, TASK, 2);
    restart(&mut world, 1);
    let token = start(&mut world, 1, 1, 1, "k");
    assert_eq!(world.reply(token), fenced(2));
    assert_eq!(names(&fence(&mut world, 1, TASK, 2)), [(0, "k")]);
    assert_eq!(told(&mut world, 1, 2), AWAY);
    world.run_for(1_000);
    assert_eq!(update(&mut world, 1, 2, 0, "k").made(), did.made());
}

#[test]
fn what_a_dead_coordinator_had_under_way_is_decided_before_a_fence_is_answered() {
    let mut world = World::new(3, Majority, 5);
    let coordinator = world.coordinator("k");
    let others: Vec<ReplicaId> = (1..=3).filter(|of| *of != coordinator).collect();
    // It hears nobody who has accepted, and dies.
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Committed { .. }));
    start(&mut world, coordinator, 1, 0, "k");
    let is_accepted = |world: &World, of: &ReplicaId| {
        let updates = world.nodes[of].core.durable().updates("k");
        updates.accepted.is_some()
    };
    world.run_until("accepted by both others", |world| {
        others.iter().all(|of| is_accepted(world, of))
    });
    world.crash(coordinator);
    world.filter = Box::new(|_, _, _| true);
    let fences: Vec<Token> = others
        .iter()
        .map(|replica| start_fence(&mut world, *replica, TASK, 2))
        .collect();
    assert!(
        fences
            .iter()
            .all(|token| !world.replies.contains_key(token))
    );
    for token in fences {
        let collected = collected(&mut world, token);
        assert_eq!(names(&collected), [(0, "k")]);
        let (_, retained) = &collected.retained[0];
        assert_eq!(retained.note, "note 1");
        let is_made =
            |of: &Did| matches!(of, Did::Update { outcome, .. } if outcome.made().is_some());
        assert!(is_made(&retained.did), "{retained:?}");
    }
}

#[test]
fn a_fence_that_waits_too_long_is_to_be_asked_for_again() {
    let mut world = World::new(3, Majority, 6);
    let coordinator = world.coordinator("k");
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Committed { .. }));
    start(&mut world, coordinator, 1, 0, "k");
    world.run_for(300);
    let token = start_fence(&mut world, coordinator, TASK, 2);
    let under_way = Refusal::UnderWay(TASK.to_owned());
    assert_eq!(world.reply(token), Err(under_way));
    world.filter = Box::new(|_, _, _| true);
    assert_eq!(names(&fence(&mut world, coordinator, TASK, 2)), [(0, "k")]);
}

#[test]
fn what_tasks_did_is_retained_beyond_what_others_do_afterwards() {
    let mut world = World::new(3, Majority, 7);
    world.update(1, 0, "k", None, "0");
    let mismatch = update(&mut world, 1, 1, 0, "k");
    assert_eq!(mismatch.made(), None);
    let token = start_write(&mut world, 2, 1, 1);
    let Ok(Reply::Written(written)) = world.reply(token) else {
        panic!("not written");
    };
    let forgotten = world.update(1, 1, "k", Some("other"), "x");
    for number in 0..=2 * LOG_RECORDS_MAX as u64 {
        let (old, new) = (number.to_string(), (number + 1).to_string());
        world.update(1, 10 + number, "k", Some(&old), &new);
        world.write(2, "w", &new, Level::One);
    }
    world.converge();
    assert_ne!(world.update(1, 1, "k", Some("other"), "x"), forgotten);
    for replica in 1..=3 {
        assert_eq!(update(&mut world, replica, 1, 0, "k"), mismatch);
        let token = start_write(&mut world, replica, 1, 1);
        assert_eq!(world.reply(token), Ok(Reply::Written(written)));
        let collected = fence(&mut world, replica, TASK, 1);
        assert_eq!(names(&collected), [(0, "k"), (1, "w")]);
        assert_eq!(collected.retained[1].1.did, Did::Write(written));
    }
}

#[test]
fn a_long_value_that_a_mismatch_found_is_told_as_long_as_its_version_is_kept() {
    let mut world = World::new(1, Majority, 8);
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    world.update(1, 0, "k", None, &long);
    let mismatch = update(&mut world, 1, 1, 0, "k");
    let told = |world: &mut World| fence(world, 1, TASK, 1).retained[0].1.did.clone();
    let is_cut = false;
    let outcome = mismatch.clone();
    assert_eq!(told(&mut world), Did::Update { outcome, is_cut });
    // Also when the log has forgotten it.
    let mut old = long;
    for number in 0..=LOG_RECORDS_MAX as u64 {
        let new = number.to_string();
        world.update(1, 10 + number, "k", Some(&old), &new);
        old = new;
    }
    assert!(matches!(told(&mut world), Did::Update { is_cut: true, .. }));
    let token = start(&mut world, 1, 1, 0, "k");
    let (record, version) = ("k".to_owned(), mismatch.newest().version);
    assert_eq!(
        world.reply(token),
        Err(Refusal::Discarded { record, version })
    );
}

#[test]
fn what_is_forgotten_is_dropped_and_refused_but_for_exceptions() {
    let mut world = World::new(3, Majority, 9);
    update(&mut world, 1, 1, 0, "k");
    let token = start_write(&mut world, 1, 1, 1);
    world.reply(token).unwrap();
    world.converge();
    for replica in 1..=3 {
        fence(&mut world, replica, TASK, 2);
        forget(&mut world, replica, "run/0", "run/2", &["run/1"]);
        assert_eq!(fence(&mut world, replica, TASK, 2).retained.len(), 2);
        forget(&mut world, replica, "run/0", "run/2", &[]);
        forget(&mut world, replica, "run/0", "run/2", &[]);
        let token = start_fence(&mut world, replica, TASK, 9);
        assert_eq!(world.reply(token), fenced(OVER));
        let token = start_write(&mut world, replica, 9, 2);
        assert_eq!(world.reply(token), fenced(OVER));
        let durable = world.nodes[&replica].core.durable();
        assert_eq!(durable.retained_size().updates, 0);
        assert!(durable.retaining().is_empty());
        assert!(durable.fences.fences().is_empty());
    }
    world.converge();
}

#[test]
fn who_joins_without_data_gets_fences_and_what_is_retained() {
    for commit in [Majority, FailStop] {
        let mut world = World::new(3, commit, 10);
        update(&mut world, 1, 1, 0, "k");
        let token = start_write(&mut world, 1, 1, 1);
        world.reply(token).unwrap();
        world.converge();
        world.crash(3);
        world.certify(3);
        for replica in [1, 2] {
            fence(&mut world, replica, TASK, 2);
            forget(&mut world, replica, "run/7", "run/8", &[]);
        }
        world.start(3, false);
        world.converge();
        let token = start(&mut world, 3, 1, 2, "k");
        assert_eq!(world.reply(token), fenced(2));
        let collected = fence(&mut world, 3, TASK, 2);
        assert_eq!(names(&collected), [(0, "k"), (1, "w")]);
        let fences = &world.nodes[&3].core.durable().fences;
        assert_eq!(fences.fenced_by("run/7/0", 9), Some(OVER));
    }
}

/// What one node is told about the task's updates by this attempt: a write, and an update of `k`.
fn told(world: &mut World, at: ReplicaId, attempt: u32) -> [Result<Reply, Refusal>; 2] {
    [
        start_write(world, at, attempt, 8),
        start(world, at, attempt, 9, "k"),
    ]
    .map(|token| world.reply(token))
}

/// What it is told when the node has asked the others for their fences.
fn told_in_the_end(world: &mut World, at: ReplicaId, attempt: u32) -> [Result<Reply, Refusal>; 2] {
    world.run_for(1_000);
    told(world, at, attempt)
}

/// A node misses a fence, and everything else for so long.
fn others_are_fenced_without(world: &mut World, away: ReplicaId, away_ms: u64) {
    let node = world.nodes.remove(&away).unwrap();
    for replica in world.alive() {
        fence(world, replica, TASK, 2);
    }
    world.run_for(away_ms);
    world.nodes.insert(away, node);
}

const AWAY: [Result<Reply, Refusal>; 2] = [Err(Refusal::Away), Err(Refusal::Away)];

#[test]
fn who_was_down_takes_nothing_of_tasks_before_it_has_heard_of_their_fences() {
    let mut world = World::new(3, Majority, 17);
    // Who is back coordinates again: the others, which have the fence, would execute what it proposes.
    let away = world.coordinator("k");
    others_are_fenced_without(&mut world, away, 3_000);
    restart(&mut world, away);
    assert_eq!(told(&mut world, away, 1), AWAY);
    // Others have no attempts.
    world.write(away, "other", "x", Level::One);
    assert_eq!(told_in_the_end(&mut world, away, 1), [fenced(2), fenced(2)]);
    assert!(told(&mut world, away, 2).iter().all(Result::is_ok));
    world.converge();
}

#[test]
fn so_does_who_only_stood_still() {
    let mut world = World::new(3, FailStop, 18);
    let away = world.coordinator("k");
    others_are_fenced_without(&mut world, away, 3_000);
    assert_eq!(told(&mut world, away, 1), AWAY);
    assert_eq!(told_in_the_end(&mut world, away, 1), [fenced(2), fenced(2)]);
}

#[test]
fn who_is_cut_off_takes_plain_writes_until_it_hears_somebody_again() {
    let mut world = World::new(3, Majority, 19);
    world.filter = Box::new(|from, to, _| from != 3 && to != 3);
    world.run_for(3_000);
    for replica in [1, 2] {
        fence(&mut world, replica, TASK, 2);
    }
    let [written, updated] = told(&mut world, 3, 1);
    assert!(matches!(written, Ok(Reply::Written(_))), "{written:?}");
    assert_eq!(updated, Err(Refusal::NoQuorum("k".to_owned())));
    world.filter = Box::new(|_, _, _| true);
    world.run_until("3 hears another one", |world| {
        let members = world.nodes[&3].core.members();
        [1, 2].iter().any(|of| members.in_sight(world.now_ms, *of))
    });
    assert_eq!(told(&mut world, 3, 1), AWAY);
    assert_eq!(told_in_the_end(&mut world, 3, 1), [fenced(2), fenced(2)]);
    world.converge();
}

#[test]
fn who_misses_only_the_request_of_a_fence_has_nothing_of_older_attempts_decided() {
    for commit in [Majority, FailStop] {
        let mut world = World::new(3, commit, 31);
        let away = world.coordinator("k");
        others_are_fenced_without(&mut world, away, 0);
        // The first has a term of its own, the others are in the next.
        let [first, older, newer] = [(1, 0), (1, 1), (2, 2)]
            .map(|(attempt, sequence)| start(&mut world, away, attempt, sequence, "k"));
        assert_eq!(world.reply(first), fenced(2));
        assert_eq!(world.reply(older), fenced(2));
        assert!(matches!(world.reply(newer), Ok(Reply::Update(_))));
        // By then it has asked for the fences of who refused them.
        assert_eq!(told_in_the_end(&mut world, away, 1), [fenced(2), fenced(2)]);
        world.converge();
        for replica in 1..=3 {
            assert_eq!(names(&fence(&mut world, replica, TASK, 2)), [(2, "k")]);
        }
    }
}

#[test]
fn what_is_over_is_not_decided_by_who_misses_that() {
    let mut world = World::new(3, Majority, 32);
    let away = world.coordinator("k");
    for replica in (1..=3).filter(|of| *of != away) {
        forget(&mut world, replica, "run/0", "run/2", &[]);
    }
    let token = start(&mut world, away, 1, 0, "k");
    assert_eq!(world.reply(token), fenced(OVER));
}

#[test]
fn what_waits_at_who_was_away_is_refused_when_it_hears_of_the_fence() {
    let mut world = World::new(3, Majority, 20);
    let away = world.coordinator("k");
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Prepare { .. }));
    let waiting = start(&mut world, away, 1, 0, "k");
    others_are_fenced_without(&mut world, away, 1_600);
    assert_eq!(told(&mut world, away, 2), AWAY);
    assert_eq!(world.reply(waiting), fenced(2));
}

#[test]
fn a_newer_attempt_that_waits_for_the_same_update_is_not_refused_with_the_older_one() {
    let mut world = World::new(3, Majority, 22);
    let coordinator = world.coordinator("k");
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Prepare { .. }));
    start(&mut world, coordinator, 1, 0, "k");
    // The fence comes to this node last.
    let newer = start(&mut world, coordinator, 2, 0, "k");
    fence(&mut world, coordinator, TASK, 2);
    world.filter = Box::new(|_, _, _| true);
    assert!(matches!(world.reply(newer), Ok(Reply::Update(_))));
    world.converge();
    assert_eq!(world.read(coordinator, "k"), "0.0+1=new");
}

#[test]
fn fewer_than_a_majority_may_not_know_of_a_fence() {
    let mut world = World::new(5, Majority, 21);
    let node = world.nodes.remove(&5).unwrap();
    for replica in 1..=3 {
        fence(&mut world, replica, TASK, 2);
    }
    world.run_for(3_000);
    world.nodes.insert(5, node);
    // It is told by the fourth, which has not got the fence either; no more of a majority than the two of them.
    world.filter = Box::new(|from, _, message| !matches!(message, Message::State(_)) || from == 4);
    assert_eq!(told(&mut world, 5, 1), AWAY);
    assert_eq!(told_in_the_end(&mut world, 5, 1), AWAY);
    world.filter = Box::new(|_, _, _| true);
    assert_eq!(told_in_the_end(&mut world, 5, 1), [fenced(2), fenced(2)]);
}

#[test]
fn who_is_joining_takes_a_fence_but_cannot_tell_what_was_done() {
    let mut world = World::new(3, Majority, 11);
    world.crash(3);
    world.filter = Box::new(|_, to, _| to != 3);
    world.start(3, false);
    let token = start_fence(&mut world, 3, TASK, 2);
    assert_eq!(world.reply(token), Err(Refusal::Joining));
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    let token = start(&mut world, 3, 1, 0, "k");
    assert_eq!(world.reply(token), fenced(2));
}

#[test]
fn tasks_are_refused_when_no_more_can_be_retained_and_others_go_on() {
    let mut world = World::new(1, Majority, 12);
    let node = world.nodes.get_mut(&1).unwrap();
    let mut write = |sequence: u64, attempt| {
        let write = Input::Write {
            token: 1,
            id: id(TASK, sequence),
            record: "w".to_owned(),
            value: None,
            level: Level::One,
            above: Version::NULL,
            task: mark(attempt),
        };
        let mut outputs = Vec::new();
        node.core.step(0, write, &mut outputs);
        let reply = outputs.into_iter().find_map(|output| match output {
            Output::Reply { reply, .. } => Some(reply),
            _ => None,
        });
        reply.unwrap()
    };
    for sequence in 0..RECORD_UPDATES_MAX as u64 {
        write(sequence, 1).unwrap();
    }
    let refused = write(RECORD_UPDATES_MAX as u64, 1).unwrap_err();
    let is_named = |max| max == RECORD_UPDATES_MAX;
    assert!(
        matches!(&refused, Refusal::Overloaded { what, max, .. }
            if *what == "updates that tasks made of one record" && is_named(*max)),
        "{refused}"
    );
    // A repeat makes nothing new.
    write(0, 1).unwrap();
    write(u64::MAX, 0).unwrap();
    forget(&mut world, 1, "run/1", "run/2", &[]);
    assert_eq!(world.nodes[&1].core.durable().retained_size().bytes, 0);
}

#[test]
fn a_fence_is_refused_when_no_more_can_be_kept_and_those_that_stand_go_on() {
    let mut world = World::new(1, Majority, 16);
    let path = |number: usize| format!("{number:0>256}");
    let ask = |world: &mut World, number, attempt| {
        let token = start_fence(world, 1, &path(number), attempt);
        world.reply(token)
    };
    let is_full = |answer: &Result<Reply, Refusal>| {
        matches!(answer, Err(Refusal::Overloaded { what, max, .. })
            if *what == "bytes of fences at one node" && *max == FENCES_BYTES_MAX)
    };
    let full = (0..FENCES_BYTES_MAX).find(|number| is_full(&ask(&mut world, *number, 2)));
    let full = full.unwrap();
    assert!(full * 256 > FENCES_BYTES_MAX / 2, "only {full} fences");
    ask(&mut world, 0, 2).unwrap();
    // What is forgotten makes room.
    forget(&mut world, 1, &path(0), &path(1), &[]);
    ask(&mut world, full, 2).unwrap();
}

#[test]
fn a_long_answer_comes_in_pages() {
    let mut world = World::new(1, Majority, 13);
    let origins = ["a/1", "a/2", "a/2/x"];
    let mut made = BTreeSet::new();
    for (number, origin) in (0..).zip(origins.iter().cycle().take(90)) {
        for record in ["k", "l"] {
            let update = Update {
                id: id(origin, number),
                record: record.to_owned(),
                ask: Ask::IfValueIs {
                    old: Some(bytes("never")),
                    new: None,
                },
                task: Some(TaskMark {
                    attempt: 1,
                    note: vec![0; 20_000].into(),
                }),
            };
            made.insert((update.id.clone(), update.record.clone()));
            let token = world.ask(1, |token| Input::UpdateIf { token, update });
            world.reply(token).unwrap();
        }
    }
    let (mut told, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let fence = Fence {
            path: "a".to_owned(),
            attempt: 1,
            after,
        };
        let token = world.ask(1, |token| Input::Fence { token, fence });
        let page = collected(&mut world, token);
        let named = page
            .retained
            .iter()
            .map(|(record, of)| (of.id.clone(), record.clone()));
        told.extend(named);
        pages += 1;
        after = told.last().cloned();
        if !page.has_more {
            break;
        }
    }
    assert!(pages > 2, "{pages} pages");
    assert!(told.is_sorted());
    assert_eq!(told.len(), made.len());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), made);
}

#[test]
fn recovery_ends_in_what_a_node_retained_and_refused() {
    let mut world = World::new(1, Majority, 14);
    update(&mut world, 1, 1, 0, "k");
    update(&mut world, 1, 1, 1, "k");
    let token = start_write(&mut world, 1, 1, 2);
    world.reply(token).unwrap();
    fence(&mut world, 1, "run/1", 2);
    forget(&mut world, 1, "run/0", "run/1", &["run/0/7"]);
    let durable = world.nodes[&1].core.durable();
    // As a checkpoint has it.
    for (name, record) in durable.records() {
        let join = record.to_join(name);
        let restored = storage::core::record::Record::restore(join, 10);
        assert_eq!(restored, *record);
        assert_eq!(
            restored.retained_size().updates,
            if name == "k" { 2 } else { 1 }
        );
    }
    let node = storage::codec::disk::encode_disk_node(1, durable);
    let node = storage::codec::disk::decode_disk_node(node.into()).unwrap();
    assert_eq!(node.fences, durable.fences);
    // And as the log has it.
    for change in [
        Change::Fenced {
            origin: TASK.to_owned(),
            attempt: 3,
        },
        Change::Forgotten(durable.fences.forgotten()[0].clone()),
    ] {
        let logged = storage::codec::disk::encode_change(&change);
        assert_eq!(storage::codec::disk::decode_change(logged), Ok(change));
    }
}
