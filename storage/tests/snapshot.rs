//! Copies of partitions, and what replicas take back of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use common::fabric::Address;
use common::types::{CommitMode, PartitionId, RecordId, ReplicaId, Ring};
use storage::core::durable::{Durable, Founding};
use storage::core::message::{Message, RecordState};
use storage::core::timestamp::Timestamp;
use storage::core::{Change, Input, Level, Output, Refusal, Reply, Start, Storage};
use world::{World, made, show};

type Copies = Vec<(RecordId, RecordState)>;

/// What this replica has applied of everything.
fn applied(world: &World, at: ReplicaId) -> Vec<(PartitionId, Timestamp)> {
    let spreads = world.nodes[&at].core.durable().spreads();
    let timestamp = |(id, spread): (&PartitionId, &storage::core::spread::Spread)| {
        (*id, spread.timestamp.clone())
    };
    spreads.iter().map(timestamp).collect()
}

fn copy(
    world: &mut World,
    at: ReplicaId,
    at_least: Vec<(PartitionId, Timestamp)>,
) -> Result<Copies, Refusal> {
    let token = world.ask(at, |token| Input::Snapshot { token, at_least });
    match world.reply(token)? {
        Reply::Snapshot(copies) => Ok(copies.into_iter().flat_map(|copy| copy.records).collect()),
        other => panic!("{other:?}"),
    }
}

fn copy_all(world: &mut World, at: ReplicaId) -> Copies {
    let at_least = applied(world, at);
    copy(world, at, at_least).unwrap()
}

fn restore(
    world: &mut World,
    at: ReplicaId,
    records: &Copies,
    only_check: bool,
) -> Result<(), Refusal> {
    let records = records.clone();
    let token = world.ask(at, |token| Input::Restore {
        token,
        records,
        only_check,
    });
    match world.reply(token)? {
        Reply::Restored => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// Every version that a replica has, by record.
fn contents(world: &World, at: ReplicaId) -> Vec<String> {
    let all = world.nodes[&at].core.list("");
    let shown = |(id, versions): (&RecordId, Vec<common::types::RecordVersion>)| {
        let versions: Vec<String> = versions.iter().map(show).collect();
        format!("{id}: {}", versions.join(" "))
    };
    all.map(shown).collect()
}

/// Three replicas with writes, updates, and one that has failed.
fn written() -> World {
    let mut world = World::new(3, CommitMode::Majority, 1);
    world.write(1, "a", "1", Level::All);
    assert_eq!(made(&world.update(2, 1, "a", Some("1"), "2")), "1.1+1=2");
    assert_eq!(
        made(&world.update(3, 2, "a", Some("1"), "3")),
        "mismatch 1.1+1=2"
    );
    assert_eq!(made(&world.update(1, 3, "b", None, "new")), "0.0+1=new");
    for number in 0..15 {
        world.write(2, "c", &number.to_string(), Level::One);
    }
    world.converge();
    world
}

#[test]
fn a_copy_restored_elsewhere_is_as_the_original_was() {
    let mut old = written();
    let copies = copy_all(&mut old, 2);
    let mut new = World::new(2, CommitMode::Majority, 2);
    for at in [1, 2] {
        restore(&mut new, at, &copies, true).unwrap();
        assert!(contents(&new, at).is_empty(), "only checked");
    }
    for at in [1, 2] {
        restore(&mut new, at, &copies, false).unwrap();
        assert_eq!(contents(&new, at), contents(&old, 2));
    }
    // Repeats are answered as before, whichever way they ended.
    assert_eq!(made(&new.update(1, 1, "a", Some("1"), "2")), "1.1+1=2");
    assert_eq!(
        made(&new.update(2, 2, "a", Some("1"), "3")),
        "mismatch 1.1+1=2"
    );
    assert_eq!(contents(&new, 1), contents(&old, 2));
    // What is new comes after all that was.
    assert_eq!(made(&new.update(2, 4, "a", Some("2"), "3")), "1.1+2=3");
    assert_eq!(new.write(2, "c", "x", Level::All).number, 16);
    new.converge();
}

#[test]
fn a_restore_can_be_repeated_and_changes_nothing_then() {
    let mut old = written();
    let copies = copy_all(&mut old, 1);
    let mut new = World::new(2, CommitMode::FailStop, 2);
    // Interrupted: one replica has only the first record.
    restore(&mut new, 1, &copies, false).unwrap();
    restore(&mut new, 2, &copies[..1].to_vec(), false).unwrap();
    for at in [1, 2, 1] {
        restore(&mut new, at, &copies, false).unwrap();
        assert_eq!(copy_all(&mut new, at), copies);
    }
    assert_eq!(
        made(&new.update(2, 9, "b", Some("new"), "newer")),
        "0.0+2=newer"
    );
    new.converge();
}

#[test]
fn a_record_that_is_there_otherwise_is_refused_with_all_that_came_along() {
    let mut old = written();
    let copies = copy_all(&mut old, 1);
    let mut new = World::new(2, CommitMode::Majority, 2);
    new.write(1, "b", "other", Level::All);
    new.converge();
    for only_check in [true, false] {
        let refused = restore(&mut new, 1, &copies, only_check);
        assert_eq!(refused, Err(Refusal::Exists("b".to_owned())));
        assert_eq!(contents(&new, 1), ["b: 1.1=other"]);
    }
}

#[test]
fn what_is_only_accepted_is_neither_copied_nor_overwritten() {
    let mut world = World::new(3, CommitMode::Majority, 3);
    let coordinator = world.coordinator("a");
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Committed { .. }));
    world.start_update(coordinator, 1, "a", None, "1");
    world.run_until("it is accepted everywhere", |world| {
        let undecided = |node: &world::Node| node.core.durable().undecided().contains("a");
        world.nodes.values().all(undecided)
    });
    for at in [1, 2, 3] {
        assert_eq!(copy_all(&mut world, at), []);
    }
    let copies = copy_all(&mut written(), 1);
    let refused = restore(&mut world, 2, &copies, true);
    assert_eq!(refused, Err(Refusal::Exists("a".to_owned())));
}

#[test]
fn a_replica_that_lacks_what_another_has_does_not_copy_before_it_has_it() {
    let mut world = World::new(2, CommitMode::Majority, 4);
    world.filter = Box::new(|_, _, message| !matches!(message, Message::Gossip(_)));
    world.write(1, "a", "1", Level::One);
    let at_least = applied(&world, 1);
    let partition = world.nodes[&1].core.durable().placement.partition("a");
    let refused = copy(&mut world, 2, at_least.clone());
    assert_eq!(refused, Err(Refusal::Behind(partition)));
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    assert_eq!(copy(&mut world, 2, at_least).unwrap().len(), 1);
    let unknown = copy(&mut world, 2, vec![(9_999, Timestamp::default())]);
    assert_eq!(unknown, Err(Refusal::NotHeld(9_999)));
}

#[test]
fn a_ring_that_keeps_fewer_versions_restores_the_newest() {
    let copies = copy_all(&mut written(), 1);
    let address = Address::parse("localhost:1").unwrap();
    let ring = Ring::new(
        vec![("s1".to_owned(), address)],
        None,
        CommitMode::Majority,
        2,
    );
    let mut durable = Durable::new(Founding {
        replica: 1,
        ring: ring.unwrap(),
        disk: 0,
        replaces: false,
        incarnation: 1,
    });
    durable.apply(&Change::Joined);
    let mut node = Storage::new(0, 0, durable, Start::Fresh);
    for changes in [true, false] {
        let mut out = Vec::new();
        let input = Input::Restore {
            token: 1,
            records: copies.clone(),
            only_check: false,
        };
        node.step(0, input, &mut out);
        let persists = out.iter().any(|output| output.change().is_some());
        assert_eq!(persists, changes);
        // The answer comes behind what it implies.
        let last = out.last();
        assert!(matches!(
            last,
            Some(Output::Reply {
                reply: Ok(Reply::Restored),
                ..
            })
        ));
        let kept: Vec<usize> = node.list("").map(|(_, versions)| versions.len()).collect();
        assert_eq!(kept, [2, 1, 2]);
    }
}

#[test]
fn a_copy_can_be_taken_back_by_all_replicas_though_they_heard_of_writes_in_another_order() {
    let mut world = World::new(3, CommitMode::Majority, 1);
    for at in [1, 2, 3] {
        world.ask(at, |token| Input::Write {
            token,
            id: common::types::UpdateId {
                origin: format!("writer {at}"),
                sequence: 1,
            },
            record: "k".to_owned(),
            value: Some(format!("{at}").into()),
            level: Level::One,
            above: common::types::Version::NULL,
            task: None,
        });
    }
    world.converge();
    let copies = copy_all(&mut world, 1);
    for at in [1, 2, 3] {
        assert_eq!(restore(&mut world, at, &copies, false), Ok(()));
    }
}
