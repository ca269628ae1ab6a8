//! What scans show and watchers are told, on a cluster of cores: nothing is missed, whomever they ask.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::collections::BTreeMap;

use common::fabric::Address;
use common::types::CommitMode::FailStop;
use common::types::{PartitionId, ReplicaId, Ring, UpdateId, Version};
use storage::core::changes::CHANGES_MAX;
use storage::core::durable::{Durable, Founding};
use storage::core::scan::{LOOKS_MAX, Scan, Scanned};
use storage::core::watch::{News, Place, WAITING_WATCHES_MAX, Watch};
use storage::core::{Input, Level, Output, Refusal, Reply, Token};
use storage::engine::checkpoint::Checkpointer;
use storage::engine::{EngineError, Recovered};
use storage::node::Node;
use world::{World, bytes};

/// Goes on from the places that it was given.
#[derive(Clone)]
struct Watcher {
    prefix: &'static str,
    places: BTreeMap<PartitionId, Place>,
    limit: usize,
}

impl Watcher {
    fn new(world: &World, prefix: &'static str, from: &Place) -> Self {
        let places = world.partitions().map(|id| (id, from.clone()));
        Self {
            prefix,
            places: places.collect(),
            limit: 100,
        }
    }

    /// One who has been given places at a replica, and counts nothing that is there already.
    fn from_now(world: &mut World, prefix: &'static str, at: ReplicaId) -> Self {
        let mut watcher = Self::new(world, prefix, &Place::Now);
        assert!(watcher.look(world, at).is_empty());
        watcher
    }

    fn start(&self, world: &mut World, at: ReplicaId, wait_ms: u64) -> Token {
        let watch = Watch {
            prefix: self.prefix.to_owned(),
            places: self.places.clone(),
            limit: self.limit,
        };
        world.start_watch(at, watch, wait_ms)
    }

    /// What it is told by an answer, as `RECORD VERSION=VALUE`; what was only listed, in brackets.
    fn take(&mut self, reply: Result<Reply, Refusal>) -> Vec<String> {
        let Ok(Reply::Watch(News { told, places })) = reply else {
            panic!("{reply:?}");
        };
        self.places = places;
        let show = |told: storage::core::watch::Told| {
            let value = told.made.value.map_or("deleted".to_owned(), |value| {
                String::from_utf8_lossy(&value).into_owned()
            });
            let line = format!("{} {}={value}", told.record, told.made.version);
            if told.is_listed {
                format!("[{line}]")
            } else {
                line
            }
        };
        told.into_iter().map(show).collect()
    }

    /// All that a replica has to tell by now.
    fn look(&mut self, world: &mut World, at: ReplicaId) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let before = self.places.clone();
            let token = self.start(world, at, 0);
            let told = self.take(world.replies[&token].clone());
            if told.is_empty() && self.places == before {
                return all;
            }
            all.extend(told);
        }
    }
}

#[test]
fn a_watcher_is_told_every_version_once_and_in_order() {
    let mut world = World::new(3, FailStop, 1);
    world.write(1, "a/0", "before", Level::All);
    let mut watcher = Watcher::from_now(&mut world, "a/", 1);
    world.write(1, "a/1", "x", Level::All);
    world.write(1, "b/1", "not asked for", Level::All);
    world.update(2, 1, "a/1", Some("x"), "y");
    world.write(1, "a/1", "z", Level::All);
    world.converge();
    let expected = ["a/1 1.1=x", "a/1 1.1+1=y", "a/1 2.1=z"];
    assert_eq!(watcher.look(&mut world, 1), expected);
    assert!(watcher.look(&mut world, 1).is_empty());
}

#[test]
fn a_watcher_from_the_beginning_is_told_what_is_there_first() {
    let mut world = World::new(3, FailStop, 2);
    world.write(1, "a/1", "x", Level::All);
    world.write(1, "a/1", "y", Level::All);
    let mut watcher = Watcher::new(&world, "a/", &Place::Beginning);
    assert_eq!(watcher.look(&mut world, 2), ["[a/1 2.1=y]"]);
    world.write(1, "a/2", "z", Level::All);
    assert_eq!(watcher.look(&mut world, 2), ["a/2 1.1=z"]);
}

#[test]
fn an_answer_that_is_cut_goes_on_where_it_was_cut() {
    let mut world = World::new(3, FailStop, 3);
    let mut from_now = Watcher::from_now(&mut world, "", 1);
    for number in 0..50 {
        world.write(1, &format!("k{number:02}"), "x", Level::All);
    }
    let mut from_the_beginning = Watcher::new(&world, "", &Place::Beginning);
    for (watcher, bracket) in [(&mut from_now, ""), (&mut from_the_beginning, "[")] {
        watcher.limit = 3;
        let told = watcher.look(&mut world, 1);
        let expected = (0..50).map(|number| format!("{bracket}k{number:02} 1.1=x"));
        assert!(
            told.iter()
                .map(|line| line.trim_end_matches(']'))
                .eq(expected)
        );
    }
}

#[test]
fn another_replica_that_holds_the_same_or_more_goes_on_without_telling_anything_twice() {
    let mut world = World::new(3, FailStop, 4);
    let mut watcher = Watcher::from_now(&mut world, "", 1);
    world.write(1, "k", "x", Level::All);
    world.converge();
    assert_eq!(watcher.look(&mut world, 1), ["k 1.1=x"]);
    assert!(watcher.look(&mut world, 2).is_empty());
    world.write(1, "k", "y", Level::All);
    world.write(1, "k", "z", Level::All);
    world.crash(2);
    world.certify(2);
    assert_eq!(watcher.look(&mut world, 3), ["k 2.1=y", "k 3.1=z"]);
}

#[test]
fn a_replica_that_never_held_the_same_tells_the_newest_of_every_record_deletions_too() {
    let mut world = World::new(3, FailStop, 5);
    let records = records_of_one_partition(&world, 3);
    let [a, b, c] = [&*records[0], &*records[1], &*records[2]];
    world.write(1, a, "x", Level::All);
    world.write(1, b, "x", Level::All);
    let mut watcher = Watcher::from_now(&mut world, "", 1);
    // Gossip is cut off: 1 and 2 come to hold different things.
    world.filter =
        Box::new(|_, _, message| !matches!(message, storage::core::message::Message::Gossip(_)));
    world.write(1, c, "of 1", Level::One);
    world.write(2, a, "of 2", Level::One);
    delete(&mut world, 2, b);
    assert_eq!(watcher.look(&mut world, 1), [format!("{c} 1.1=of 1")]);
    let mut told = watcher.look(&mut world, 2);
    told.sort();
    let mut expected = vec![format!("[{a} 2.2=of 2]"), format!("[{b} 2.2=deleted]")];
    expected.sort();
    assert_eq!(told, expected);
    world.filter = Box::new(|_, _, _| true);
    world.converge();
    // It comes once more, since this replica has not told it.
    assert_eq!(watcher.look(&mut world, 2), [format!("{c} 1.1=of 1")]);
}

#[test]
fn a_restarted_replica_goes_on_when_it_holds_what_it_held_and_else_tells_the_newest() {
    let mut world = World::new(3, FailStop, 6);
    let mut watcher = Watcher::from_now(&mut world, "", 1);
    world.write(1, "k", "x", Level::All);
    assert_eq!(watcher.look(&mut world, 1), ["k 1.1=x"]);
    let restart = |world: &mut World| {
        world.start(1, false);
        world.run_until("it has joined", |world| world.nodes[&1].core.is_joined());
    };
    world.crash(1);
    world.certify(1);
    restart(&mut world);
    assert!(watcher.look(&mut world, 1).is_empty(), "it holds the same");
    world.crash(1);
    world.certify(1);
    world.write(2, "k", "y", Level::All);
    restart(&mut world);
    assert_eq!(watcher.look(&mut world, 1), ["[k 2.2=y]"]);
    assert!(watcher.look(&mut world, 2).is_empty(), "so does 2");
}

#[test]
fn what_comes_in_a_copy_of_state_is_told() {
    let mut world = World::new(3, FailStop, 7);
    world.write(1, "k", "x", Level::All);
    world.write(1, "k", "y", Level::All);
    world.crash(3);
    world.certify(3);
    world.write(1, "k", "z", Level::One);
    world.start(3, false);
    let mut watcher = Watcher::new(&world, "", &Place::Beginning);
    let token = watcher.start(&mut world, 3, 0);
    assert_eq!(world.reply(token), Err(Refusal::Joining));
    world.run_until("it has joined", |world| world.nodes[&3].core.is_joined());
    // All of it came by the copy, none of it by gossip; it is in the log as what any node was told.
    let changes = world.nodes[&3].core.changes();
    assert_eq!(changes.since(0).count(), 3);
    assert_eq!(watcher.look(&mut world, 3), ["[k 3.1=z]"]);
}

#[test]
fn a_watcher_that_waits_is_answered_by_a_change_of_its_own_and_by_the_time() {
    let mut world = World::new(3, FailStop, 8);
    let mut watcher = Watcher::from_now(&mut world, "a/", 1);
    let token = watcher.start(&mut world, 1, 1_000);
    world.write(2, "b/1", "not asked for", Level::All);
    assert!(!world.replies.contains_key(&token));
    world.write(2, "a/1", "x", Level::All);
    let reply = world.reply(token);
    assert_eq!(watcher.take(reply), ["a/1 1.2=x"]);
    let token = watcher.start(&mut world, 1, 1_000);
    world.run_for(900);
    assert!(!world.replies.contains_key(&token));
    world.run_for(200);
    let reply = world.replies[&token].clone();
    assert!(watcher.take(reply).is_empty());
    world.write(2, "a/2", "y", Level::All);
    assert_eq!(watcher.look(&mut world, 1), ["a/2 1.2=y"]);
}

#[test]
fn who_was_away_for_longer_than_the_log_reaches_is_told_the_newest() {
    let mut world = World::new(1, FailStop, 9);
    let mut watcher = Watcher::from_now(&mut world, "a/", 1);
    world.write(1, "a/1", "x", Level::One);
    world.write(1, "a/1", "y", Level::One);
    let mut waits = Watcher::from_now(&mut world, "b/", 1);
    let token = waits.start(&mut world, 1, u64::MAX / 2);
    for number in 0..CHANGES_MAX {
        world.write(1, &format!("c/{}", number % 16), "z", Level::One);
    }
    assert_eq!(watcher.look(&mut world, 1), ["[a/1 2.1=y]"]);
    // Who is there all the time never falls behind, though nothing was there for it.
    assert!(!world.replies.contains_key(&token));
    world.write(1, "b/1", "x", Level::One);
    let reply = world.reply(token);
    assert_eq!(waits.take(reply), ["b/1 1.1=x"]);
}

#[test]
fn what_another_node_has_to_answer_is_refused_and_a_node_that_cannot_write_tells() {
    let mut world = World::new(3, FailStop, 10);
    let mut watcher = Watcher::from_now(&mut world, "", 1);
    world.write(1, "k", "x", Level::All);
    world.read_only(1, Some("the disk is full"));
    assert_eq!(watcher.look(&mut world, 1), ["k 1.1=x"]);
    watcher.places.insert(999, Place::Now);
    let token = watcher.start(&mut world, 1, 0);
    assert_eq!(world.reply(token), Err(Refusal::NotHeld(999)));
}

#[test]
fn watchers_that_wait_are_bounded() {
    let mut world = World::new(1, FailStop, 11);
    let watcher = Watcher::from_now(&mut world, "", 1);
    let tokens: Vec<Token> = (0..=WAITING_WATCHES_MAX)
        .map(|_| watcher.start(&mut world, 1, 60_000))
        .collect();
    let refused = tokens.iter().filter_map(|token| world.replies.get(token));
    let refused: Vec<_> = refused.collect();
    let [Err(Refusal::Overloaded { max, .. })] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(*max, WAITING_WATCHES_MAX);
    world.write(1, "k", "x", Level::One);
    assert!(tokens.iter().all(|token| world.replies.contains_key(token)));
}

#[test]
fn a_node_that_went_back_to_what_was_durable_does_not_mistake_old_places_for_its_own() {
    let address = Address::parse("localhost:1").unwrap();
    let ring = Ring::new(vec![("s1".to_owned(), address)], None, FailStop, 10).unwrap();
    let founding = Founding {
        replica: 1,
        ring,
        disk: 0,
        replaces: false,
        incarnation: 1,
    };
    let mut node = Node::found(0, 0, founding.clone(), true);
    let write = |node: &mut Node, record: &str| {
        let token = 1;
        let id = UpdateId {
            origin: record.to_owned(),
            sequence: 1,
        };
        let (record, value) = (record.to_owned(), Some(bytes("x")));
        let (level, above) = (Level::One, Version::NULL);
        let write = Input::Write {
            token,
            id,
            record,
            value,
            level,
            above,
            task: None,
        };
        node.step(0, write);
    };
    let ask = |node: &mut Node, places| {
        let mut outputs = Vec::new();
        let watch = Watch {
            prefix: String::new(),
            places,
            limit: 10,
        };
        let watch = Input::Watch {
            token: 2,
            watch,
            wait_ms: 0,
        };
        node.core.step(0, watch, &mut outputs);
        match outputs.pop() {
            Some(Output::Reply {
                reply: Ok(Reply::Watch(news)),
                ..
            }) => news,
            other => panic!("{other:?}"),
        }
    };
    write(&mut node, "kept");
    let now = (0..founding.ring.partitions).map(|id| (id, Place::Now));
    let places = ask(&mut node, now.collect()).places;
    // Lost by the disk, together with what the node had logged; another takes its index.
    let recovered = Recovered {
        durable: Durable::new(founding),
        sequence: 0,
        checkpointer: Checkpointer::default(),
    };
    let error = EngineError::Full("no room".to_owned());
    let mut node = node.go_on(0, 0, recovered, &error);
    node.resume(0);
    write(&mut node, "other");
    let told = ask(&mut node, places).told;
    let records: Vec<&str> = told.iter().map(|told| &*told.record).collect();
    assert_eq!(records, ["other"]);
}

#[test]
fn a_scan_shows_what_exists_in_key_order_page_after_page() {
    let mut world = World::new(3, FailStop, 12);
    for record in ["a/2", "b", "a/1", "a/3", "a/4", "a"] {
        world.write(1, record, record, Level::All);
    }
    delete(&mut world, 1, "a/3");
    let mut scan = Scan {
        prefix: "a/".to_owned(),
        after: String::new(),
        limit: 2,
        partitions: world.partitions().collect(),
    };
    let page = scanned(&mut world, &scan);
    assert_eq!(ids(&page), ["a/1", "a/2"]);
    assert_eq!(page.until.as_deref(), Some("a/2"));
    scan.after = page.until.unwrap();
    let page = scanned(&mut world, &scan);
    assert_eq!((ids(&page), &page.until), (vec!["a/4"], &None));
    let own = world.nodes[&1].core.durable().placement.partition("a/1");
    scan.after.clear();
    scan.partitions.retain(|id| *id != own);
    assert_eq!(ids(&scanned(&mut world, &scan))[0], "a/2");
}

#[test]
fn a_scan_that_finds_little_stops_before_it_has_looked_at_too_much() {
    let mut world = World::new(1, FailStop, 13);
    for number in 0..=LOOKS_MAX {
        world.write(1, &format!("{number:06}"), "x", Level::One);
    }
    let last = format!("{LOOKS_MAX:06}");
    let partition = world.nodes[&1].core.durable().placement.partition(&last);
    let mut scan = Scan {
        prefix: "0".to_owned(),
        after: String::new(),
        limit: usize::MAX,
        partitions: [partition].into(),
    };
    let page = scanned(&mut world, &scan);
    assert_eq!(page.until, Some(format!("{:06}", LOOKS_MAX - 1)));
    scan.after = page.until.unwrap();
    let page = scanned(&mut world, &scan);
    assert_eq!((ids(&page), &page.until), (vec![&*last], &None));
}

fn scanned(world: &mut World, scan: &Scan) -> Scanned {
    let token = world.start_scan(1, scan.clone());
    match world.reply(token) {
        Ok(Reply::Scan(page)) => page,
        other => panic!("{other:?}"),
    }
}

fn ids(page: &Scanned) -> Vec<&str> {
    page.records.iter().map(|(id, _)| &**id).collect()
}

fn delete(world: &mut World, at: ReplicaId, record: &str) {
    let token = world.start_delete(at, record);
    world.reply(token).unwrap();
}

fn records_of_one_partition(world: &World, count: usize) -> Vec<String> {
    let placement = &world.nodes[&1].core.durable().placement;
    let records = (0..).map(|number| format!("k{number}"));
    let of_one = records.filter(|record| placement.partition(record) == 0);
    of_one.take(count).collect()
}
