//! What the storage protocol promises while little goes wrong.

use crate::world::{World, made, show};
use common::types::CommitMode::{FailStop, Majority};
use storage::core::message::{Message, Outcome};
use storage::core::{Level, Refusal, Reply};

#[test]
fn an_update_makes_the_immediate_successor_of_what_it_tested() {
    let mut world = World::new(3, FailStop, 1);
    assert_eq!(world.write(1, "k", "a", Level::One).to_string(), "1.1");
    assert_eq!(made(&world.update(1, 1, "k", Some("a"), "b")), "1.1+1=b");
    assert_eq!(made(&world.update(2, 2, "k", Some("b"), "c")), "1.1+2=c");
    assert_eq!(world.write(3, "k", "d", Level::One).to_string(), "2.3");
    world.converge();
    for replica in 1..=3 {
        assert_eq!(world.read(replica, "k"), "2.3=d");
    }
}

#[test]
fn an_update_of_an_absent_record_creates_it_and_a_failed_one_shows_what_it_found() {
    let mut world = World::new(3, FailStop, 2);
    assert_eq!(made(&world.update(3, 1, "k", Some("x"), "y")), "mismatch -");
    assert_eq!(made(&world.update(2, 2, "k", None, "a")), "0.0+1=a");
    assert_eq!(
        made(&world.update(1, 3, "k", None, "b")),
        "mismatch 0.0+1=a"
    );
}

#[test]
fn a_repeat_of_an_update_is_answered_alike_by_every_replica() {
    let mut world = World::new(3, FailStop, 3);
    world.write(1, "k", "a", Level::All);
    let first = world.update(1, 7, "k", Some("a"), "b");
    let failed = world.update(1, 8, "k", Some("a"), "c");
    for replica in 1..=3 {
        assert_eq!(world.update(replica, 7, "k", Some("a"), "b"), first);
        assert_eq!(world.update(replica, 8, "k", Some("a"), "c"), failed);
    }
}

#[test]
fn concurrent_writes_settle_on_the_highest_number_and_the_lowest_replica() {
    let mut world = World::new(3, FailStop, 4);
    for replica in [3, 1, 2] {
        world.start_write(replica, "k", &format!("from {replica}"), Level::One);
    }
    world.converge();
    for replica in 1..=3 {
        assert_eq!(world.read(replica, "k"), "1.1=from 1");
    }
}

#[test]
fn an_update_sees_every_write_that_a_majority_held_before_it() {
    let mut world = World::new(3, Majority, 5);
    world.write(3, "k", "late", Level::Majority);
    assert_eq!(
        made(&world.update(1, 1, "k", Some("late"), "new")),
        "1.3+1=new"
    );
}

#[test]
fn writes_of_level_all_are_answered_when_every_replica_has_them() {
    let mut world = World::new(3, FailStop, 7);
    let write = world.start_write(1, "k", "a", Level::All);
    assert!(!world.replies.contains_key(&write));
    world.reply(write).unwrap();
    for replica in 1..=3 {
        assert_eq!(world.read(replica, "k"), "1.1=a");
    }
}

#[test]
fn a_pinned_version_is_waited_for_and_a_discarded_one_is_named() {
    let mut world = World::new(2, FailStop, 8);
    world.start_write(1, "k", "a", Level::One);
    let early = world.start_read(2, "k", Some("1.1"), 0);
    assert!(matches!(world.reply(early), Err(Refusal::NotYet { .. })));
    let patient = world.start_read(2, "k", Some("1.1"), 5_000);
    assert!(matches!(world.reply(patient), Ok(Reply::Read(found)) if show(&found) == "1.1=a"));
    for number in 2..=11 {
        world.write(1, "k", &number.to_string(), Level::All);
    }
    let gone = world.start_read(2, "k", Some("1.1"), 0);
    assert!(matches!(world.reply(gone), Err(Refusal::Discarded { .. })));
    let (versions, truncated) = world.nodes[&2].core.history("k").unwrap();
    assert_eq!((versions.len(), truncated), (10, true));
    assert_eq!(show(&versions[0]), "11.1=11");
}

#[test]
fn a_read_is_never_older_than_what_the_reader_has_seen() {
    let mut world = World::new(2, FailStop, 8);
    world.write(1, "k", "a", Level::All);
    let seen = world.write(1, "k", "b", Level::One);
    let early = world.start_read_not_older(2, "k", seen, 0);
    assert!(matches!(world.reply(early), Err(Refusal::NotYet { .. })));
    let patient = world.start_read_not_older(2, "k", seen, 5_000);
    assert!(matches!(world.reply(patient), Ok(Reply::Read(found)) if show(&found) == "2.1=b"));
}

#[test]
fn a_suspected_replica_blocks_fail_stop_updates_until_its_death_is_certified() {
    let mut world = World::new(3, FailStop, 10);
    world.write(1, "k", "a", Level::All);
    let victim = (1..=3)
        .find(|replica| *replica != world.coordinator("k"))
        .unwrap();
    world.crash(victim);
    let at = world.alive()[0];
    let update = world.start_update(at, 1, "k", Some("a"), "b");
    world.run_for(10_000);
    assert!(
        !world.replies.contains_key(&update),
        "a suspicion has shrunk a quorum"
    );
    world.certify(victim);
    assert!(matches!(
        world.reply(update),
        Ok(Reply::Update(Outcome::Updated { .. }))
    ));
}

#[test]
fn a_minority_refuses_updates_at_once_and_goes_on_with_writes() {
    let mut world = World::new(3, Majority, 12);
    world.write(1, "k", "a", Level::All);
    world.crash(2);
    world.crash(3);
    world.run_for(5_000);
    let update = world.start_update(1, 1, "k", Some("a"), "b");
    assert_eq!(
        world.replies[&update],
        Err(Refusal::NoQuorum("k".to_owned()))
    );
    assert_eq!(world.write(1, "k", "alone", Level::One).to_string(), "2.1");
}

#[test]
fn a_cluster_started_by_hand_forms_when_all_nodes_are_there() {
    let mut world = World::new(3, Majority, 14);
    for replica in 1..=3 {
        world.crash(replica);
    }
    world.start(1, false);
    world.start(2, false);
    world.run_for(5_000);
    assert!(!world.nodes[&1].core.is_joined());
    world.start(3, false);
    world.converge();
    assert_eq!(made(&world.update(1, 1, "k", None, "a")), "0.0+1=a");
}

#[test]
fn a_replica_far_behind_copies_the_partition() {
    let mut world = World::new(2, Majority, 15);
    world.filter =
        Box::new(|_, to, message| to != 2 || matches!(message, Message::Heartbeat { .. }));
    for number in 0..5_000 {
        world.start_write(1, "k", &number.to_string(), Level::One);
    }
    world.run_for(3_000);
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    assert_eq!(world.read(2, "k"), "5000.1=4999");
}

#[test]
fn lost_messages_are_sent_again_until_everything_is_everywhere() {
    let mut world = World::new(3, FailStop, 16);
    let mut chance = 16_u64;
    world.filter = Box::new(move |_, _, _| {
        // Knuth's MMIX generator: a third of all messages is lost.
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        !(chance >> 33).is_multiple_of(3)
    });
    let tokens: Vec<_> = (0..40)
        .map(|id| {
            world.start_write(
                1 + id % 3,
                &format!("w{}", id % 7),
                &id.to_string(),
                Level::All,
            );
            world.start_update(
                1 + id % 3,
                id.into(),
                &format!("u{}", id % 5),
                None,
                &id.to_string(),
            )
        })
        .collect();
    for token in tokens {
        let reply = world.reply(token);
        assert!(matches!(reply, Ok(Reply::Update(_))), "{reply:?}");
    }
    world.converge();
}

#[test]
fn an_idle_cluster_sends_only_heartbeats() {
    let mut world = World::new(3, FailStop, 17);
    world.write(1, "k", "a", Level::All);
    world.update(2, 1, "k", Some("a"), "b");
    world.converge();
    world.run_for(10_000);
    world.filter = Box::new(|_, _, message| {
        assert!(matches!(message, Message::Heartbeat { .. }), "{message:?}");
        true
    });
    world.run_for(10_000);
}

#[test]
fn a_linearizable_read_sees_what_was_decided_before_it_and_later_ones_see_what_it_saw() {
    let mut world = World::new(3, Majority, 19);
    world.update(1, 1, "k", None, "a");
    for replica in 1..=3 {
        assert_eq!(
            world.read_linearizable(replica, u64::from(replica), "k"),
            "0.0+1=a"
        );
    }
    // A plain write that only one replica holds.
    world.filter = Box::new(|from, _, message| from != 3 || !matches!(message, Message::Gossip(_)));
    world.write(3, "k", "alone", Level::One);
    let seen = world.read_linearizable(3, 9, "k");
    for replica in 1..=3 {
        let later = world.read_linearizable(replica, 10 + u64::from(replica), "k");
        assert!(seen == "0.0+1=a" || later == seen, "{seen}, then {later}");
    }
}
