//! What waits is bounded, and whoever finds no room is told which bound it was and when to come again.

use common::types::CommitMode::FailStop;
use storage::core::queue::QueueBounds;
use storage::core::{Refusal, Reply};

use crate::world::{World, made};

const BOUNDS: QueueBounds = QueueBounds { record: 2, node: 3 };

/// Nothing is decided while a replica is gone that nobody certifies dead.
fn stuck() -> World {
    let mut world = World::new(3, FailStop, 1);
    world.crash(3);
    for node in world.nodes.values_mut() {
        node.core.bound_queues(BOUNDS);
    }
    world
}

fn refused(what: &'static str, max: usize) -> Result<Reply, Refusal> {
    Err(Refusal::Overloaded {
        what,
        max,
        retry_after_ms: 250,
    })
}

#[test]
fn updates_of_one_record() {
    let mut world = stuck();
    for id in 1..=2 {
        let waiting = world.start_update(1, id, "k", None, "x");
        assert!(!world.replies.contains_key(&waiting));
    }
    let third = world.start_update(1, 3, "k", None, "x");
    assert_eq!(world.replies[&third], refused("updates of one record", 2));
    // A repeat of what waits already takes no room in the queue.
    let repeat = world.start_update(1, 2, "k", None, "x");
    assert!(!world.replies.contains_key(&repeat));
}

#[test]
fn clients_that_wait_at_one_node() {
    let mut world = stuck();
    for record in ["a", "b", "c"] {
        let waiting = world.start_update(1, 1, record, None, "x");
        assert!(!world.replies.contains_key(&waiting));
    }
    let what = "clients that wait for updates at one node";
    for id in [1, 2] {
        let fourth = world.start_update(1, id, "a", None, "x");
        assert_eq!(world.replies[&fourth], refused(what, 3));
    }
}

#[test]
fn updates_that_others_forward_count_too() {
    let mut world = stuck();
    let coordinated = |world: &World, by| {
        let names = (0..).map(|number| format!("r{number}"));
        let mut names = names.filter(|name| world.coordinator(name) == by);
        [(); 4].map(|()| names.next().unwrap())
    };
    for record in &coordinated(&world, 1)[..3] {
        world.start_update(2, 1, record, None, "x");
    }
    world.run_for(1_000);
    let own = world.start_update(1, 1, "another", None, "x");
    assert_eq!(world.replies[&own], refused("updates at one node", 3));
}

#[test]
fn there_is_room_again_when_updates_are_decided() {
    let mut world = stuck();
    let waiting: Vec<_> = (1..=2)
        .map(|id| world.start_update(1, id, "k", None, "x"))
        .collect();
    world.certify(3);
    for token in waiting {
        world.reply(token).unwrap();
    }
    for id in 3..10 {
        world.update(1, id, "k", Some("never"), "x");
    }
}

#[test]
fn two_records_with_one_update_id_have_their_own_outcomes() {
    let mut world = World::new(3, FailStop, 2);
    for at in 1..=3 {
        let tokens = ["a", "b"].map(|record| {
            let token = world.start_update(at, u64::from(at), record, None, record);
            (record, token)
        });
        for (record, token) in tokens {
            let Ok(Reply::Update(outcome)) = world.reply(token) else {
                panic!("{record} was refused");
            };
            assert!(
                made(&outcome).ends_with(&format!("={record}")),
                "{outcome:?}"
            );
        }
    }
}
