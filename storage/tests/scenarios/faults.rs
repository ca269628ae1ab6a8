//! The storage protocol under lost, late and unlucky messages: one scenario per suspicion of a reviewer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::world::{World, bytes, made};
use common::types::CommitMode::{FailStop, Majority};
use common::types::{RecordVersion, UpdateId, Version};
use storage::core::message::Message;
use storage::core::record::RecordChange;
use storage::core::{Change, Input, Level, Refusal, Reply};

#[test]
fn a_decision_that_overtook_its_predecessor_is_not_forgotten_when_fetching_it_fails() {
    let mut world = World::new(5, Majority, 1);
    let [a, b, c, _, e] = world.replicas("k")[..] else {
        unreachable!()
    };
    // `c` alone hears of the first decision, and tells only with its vote; `e` hears only the gossip of `b`.
    world.filter = Box::new(move |from, to, message| match message {
        Message::Heartbeat { .. } => true,
        Message::Gossip(_) => (from, to) == (a, c) || from == b || from == e,
        Message::Fetch { .. } => false,
        _ => from != e && to != e,
    });
    assert_eq!(made(&world.update(a, 1, "k", None, "1")), "0.0+1=1");
    world.run_until("the gossip", |world| {
        !world.nodes[&c].core.history("k").unwrap().0.is_empty()
    });
    world.crash(a);
    assert_eq!(made(&world.update(b, 2, "k", Some("1"), "2")), "0.0+2=2");
    world.run_for(100);
    world.filter = Box::new(|_, _, _| true);
    world.certify(a);
    world.converge();
    assert_eq!(world.read(e, "k"), "0.0+2=2");
}

#[test]
fn a_lost_submit_is_sent_again_while_the_record_is_busy() {
    let mut world = World::new(3, FailStop, 2);
    let [coordinator, other, _] = world.replicas("k")[..] else {
        unreachable!()
    };
    let lost = Rc::new(Cell::new(false));
    let seen = lost.clone();
    world.filter = Box::new(move |from, _, message| {
        let loses = from == other && matches!(message, Message::Submit { .. }) && !seen.get();
        seen.set(seen.get() || loses);
        !loses
    });
    let unlucky = world.start_update(other, 1, "k", Some("never"), "x");
    assert!(lost.get());
    for id in 2..400 {
        world.update(coordinator, id, "k", Some("never"), "y");
    }
    assert!(world.now_ms < 59_000, "the load ended before the patience");
    assert!(
        matches!(world.replies.get(&unlucky), Some(Ok(Reply::Update(_)))),
        "after {} ms: {:?}",
        world.now_ms,
        world.replies.get(&unlucky)
    );
}

#[test]
fn a_joining_node_that_asks_again_takes_no_answer_to_its_first_question() {
    let mut world = World::new(3, FailStop, 3);
    let [b, a, x] = world.replicas("k")[..] else {
        unreachable!()
    };
    world.write(a, "k", "0", Level::All);
    world.converge();
    world.crash(x);
    world.certify(x);
    // The first answer of `a` is late; `b` does not hear of the return of `x`.
    let page = Rc::new(RefCell::new(None));
    let late = page.clone();
    world.filter = Box::new(move |from, to, message| {
        if (from, to) == (a, x) && matches!(message, Message::State(_)) && late.borrow().is_none() {
            *late.borrow_mut() = Some(message.clone());
            return false;
        }
        (from, to) != (x, b) && (from, to) != (b, x)
    });
    world.start(x, false);
    world.run_until("the first answer", |_| page.borrow().is_some());
    assert_eq!(
        made(&world.update(b, 1, "k", Some("0"), "1")),
        format!("1.{a}+1=1")
    );
    // `b` has answered and dies before it tells; `a` has accepted, and answers `x` no more.
    world.filter = Box::new(|_, _, _| false);
    world.crash(b);
    world.certify(b);
    let page = page.borrow_mut().take().unwrap();
    world.deliver(a, x, page);
    assert!(!world.nodes[&x].core.is_joined(), "joined by an old answer");
    world.filter = Box::new(|_, _, _| true);
    world.run_until("x has joined", |world| world.nodes[&x].core.is_joined());
    world.crash(a);
    world.certify(a);
    world.run_for(20_000);
    assert_eq!(world.read(x, "k"), format!("1.{a}+1=1"));
}

#[test]
fn what_a_dead_predecessor_left_half_told_is_not_taken_for_its_successors() {
    let mut world = World::new(3, FailStop, 4);
    let [a, b, x] = [1, 2, 3];
    world.write(x, "k", "0", Level::All);
    world.converge();
    // The second write of `x` reaches nobody, the third one only `b`.
    world.filter = Box::new(move |from, to, message| match message {
        Message::Gossip(partitions) if from == x => {
            to == b
                && partitions
                    .iter()
                    .flat_map(|gossip| &gossip.entries)
                    .all(|entry| entry.sequence == 3)
        }
        _ => true,
    });
    world.write(x, "k", "old 2", Level::One);
    world.write(x, "k", "old 3", Level::One);
    world.run_for(100);
    world.crash(x);
    world.filter = Box::new(|_, _, _| true);
    world.certify(x);
    world.start(x, false);
    world.run_until("x has joined", |world| world.nodes[&x].core.is_joined());
    // Other records of the same partition, so that only the numbering of updates is shared.
    let partition = |world: &World, record: &str| {
        common::placement::Placement::new(world.nodes[&a].core.ring()).partition(record)
    };
    let twins: Vec<String> = (0..)
        .map(|number| format!("twin{number}"))
        .filter(|twin| partition(&world, twin) == partition(&world, "k"))
        .take(2)
        .collect();
    for twin in &twins {
        world.write(x, twin, "new", Level::All);
    }
    world.converge();
    assert_eq!(world.read(b, &twins[1]), "1.3=new");
}

#[test]
fn a_repeat_of_a_decided_update_is_answered_without_a_quorum() {
    let mut world = World::new(3, Majority, 5);
    let first = world.update(1, 1, "k", None, "a");
    world.converge();
    world.crash(2);
    world.crash(3);
    world.run_for(5_000);
    assert_eq!(world.update(1, 1, "k", None, "a"), first);
    let new = world.start_update(1, 2, "k", Some("a"), "b");
    assert_eq!(world.replies[&new], Err(Refusal::NoQuorum("k".to_owned())));
}

#[test]
fn an_update_is_remembered_however_large_the_values_that_follow() {
    let mut world = World::new(3, FailStop, 6);
    let large = "x".repeat(1 << 20);
    let first = world.update(1, 1, "k", None, "a").made();
    let mut old = "a".to_owned();
    for id in 2..10 {
        let new = format!("{id}{large}");
        world.update(1, id, "k", Some(&old), &new);
        old = new;
    }
    world.converge();
    for replica in 1..=3 {
        assert_eq!(world.update(replica, 1, "k", None, "a").made(), first);
    }
}

#[test]
fn every_update_is_forwarded_once_however_many_wait() {
    let mut world = World::new(3, FailStop, 7);
    let other = world.replicas("k")[1];
    let submits = Rc::new(Cell::new(0));
    let count = submits.clone();
    world.filter = Box::new(move |_, _, message| {
        count.set(count.get() + u32::from(matches!(message, Message::Submit { .. })));
        true
    });
    for id in 0..500 {
        world.start_update(other, id, "k", Some("never"), "x");
    }
    assert_eq!(submits.get(), 500);
}

#[test]
fn a_write_of_level_all_is_answered_although_a_replica_restarts_meanwhile() {
    let mut world = World::new(3, FailStop, 8);
    world.crash(3);
    let write = world.start_write(1, "k", "a", Level::All);
    world.run_for(3_000);
    world.start(3, false);
    world.run_for(10_000);
    assert!(matches!(
        world.replies.get(&write),
        Some(Ok(Reply::Written(_)))
    ));
    world.converge();
}

#[test]
fn a_burst_of_large_writes_is_spread_without_waiting_for_acknowledgements() {
    let mut world = World::new(2, FailStop, 9);
    let large = bytes(&"x".repeat(1 << 20));
    let mut node = world.nodes.remove(&1).unwrap();
    for token in 0..12 {
        let write = Input::Write {
            token,
            id: UpdateId {
                origin: "burst".to_owned(),
                sequence: token,
            },
            record: "k".to_owned(),
            value: Some(large.clone()),
            level: Level::One,
            above: Version::NULL,
            task: None,
        };
        // One batch of inputs: no `Flush` between them.
        node.core.step(world.now_ms, write, &mut Vec::new());
    }
    world.nodes.insert(1, node);
    world.run_for(1_000);
    assert!(world.read(2, "k").starts_with("12.1="));
}

#[test]
fn a_certificate_that_comes_after_the_restart_does_not_shut_out_the_restarted_node() {
    let mut world = World::new(3, FailStop, 10);
    world.write(1, "k", "a", Level::All);
    world.converge();
    let dead = world.nodes[&3].incarnation;
    world.crash(3);
    world.start(3, false);
    world.run_until("3 has joined", |world| world.nodes[&3].core.is_joined());
    world.certify_incarnation(3, dead);
    let members = world.nodes[&1].core.members();
    assert!(!members.is_certified_dead(3));
    assert_eq!(made(&world.update(1, 1, "k", Some("a"), "b")), "1.1+1=b");
    world.converge();
    assert_eq!(world.read(3, "k"), "1.1+1=b");
}

#[test]
fn a_late_certificate_does_not_part_two_nodes_that_join_together() {
    let mut world = World::new(3, FailStop, 11);
    world.write(1, "k", "a", Level::All);
    world.converge();
    let dead = world.nodes[&3].incarnation;
    world.crash(2);
    world.certify(2);
    world.crash(3);
    // Neither hears node 1, so that neither can have joined when the certificate comes.
    world.filter = Box::new(|from, to, _| from != 1 && to != 1);
    world.start(2, false);
    world.start(3, false);
    world.run_for(1_000);
    world.certify_incarnation(3, dead);
    assert!(!world.nodes[&2].core.members().is_certified_dead(3));
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    assert_eq!(world.read(2, "k"), "1.1=a");
    assert_eq!(world.read(3, "k"), "1.1=a");
}

#[test]
fn what_went_past_gossip_is_found_by_its_hash_and_copied_alone() {
    let mut world = World::new(3, Majority, 12);
    let lost = |number| {
        let version = Version::write(number, 2);
        let value = Some(bytes("lost by all but one"));
        Change::Record {
            record: "k".to_owned(),
            change: RecordChange::Merge(RecordVersion { version, value }),
        }
    };
    world.crash(2);
    world.start_with(2, true, &[lost(0), lost(1)]);
    for number in 0..500 {
        world.write(1, &format!("other {number}"), "x", Level::All);
    }
    let copied = Rc::new(Cell::new(0));
    let seen = copied.clone();
    world.filter = Box::new(move |_, _, message| {
        if let Message::State(page) = message {
            seen.set(seen.get() + page.records.len());
        }
        true
    });
    world.converge();
    for replica in 1..=3 {
        assert_eq!(world.read(replica, "k"), "2.2=lost by all but one");
    }
    // One part of 64 of one partition of 256, for each of the two that lacked it.
    assert!(copied.get() < 10, "{} records were copied", copied.get());
}
