//! Who is heard: members of the same ring, in their latest life, on the data that they had.

use common::types::{CommitMode, RecordVersion, ReplicaId, Ring, Version};
use storage::core::durable::{Durable, Founding};
use storage::core::message::{Ballot, Decision, LogRecord, Message, Outcome, RecordState};
use storage::core::{Change, Envelope, Halt, Input, Output, Refusal, Reply, Start, Storage, Token};
use storage::engine::EngineStats;
use storage::node::Node;

const ME: ReplicaId = 1;
const PEER: ReplicaId = 2;
const DISK: u64 = 22;
const OTHER_DISK: u64 = 33;

fn ring(epoch: u64) -> Ring {
    let nodes = Ring::parse_nodes("s1=localhost:1,s2=localhost:2,s3=localhost:3").unwrap();
    let ring = Ring::new(nodes, None, CommitMode::Majority, 10).unwrap();
    Ring { epoch, ..ring }
}

fn node(replica: ReplicaId) -> Storage {
    let mut durable = Durable::new(Founding {
        replica,
        ring: ring(1),
        disk: u64::from(replica),
        replaces: false,
        incarnation: 1,
    });
    durable.apply(&Change::Joined);
    Storage::new(0, 0, durable, Start::Fresh)
}

fn heartbeat(replaces: bool) -> Message {
    Message::Heartbeat {
        gossip_delay_ms: 0,
        joining: false,
        replaces,
        hash: 0,
    }
}

/// What the node does when it hears this.
fn hear(
    node: &mut Storage,
    disk: u64,
    incarnation: u64,
    epoch: u64,
    message: Message,
) -> Vec<Output> {
    let envelope = Envelope {
        from: PEER,
        incarnation,
        disk,
        ring: ring(epoch).settings_hash(),
        message,
    };
    let mut out = Vec::new();
    node.step(1, Input::Peer(Box::new(envelope)), &mut out);
    out
}

/// A commit that a member would take.
fn commit() -> Message {
    let ballot = Ballot {
        epoch: 1,
        term: 1,
        replica: PEER,
    };
    let made = RecordVersion {
        version: Version::NULL.successor(),
        value: None,
    };
    let id = common::types::UpdateId {
        origin: "test".to_owned(),
        sequence: 1,
    };
    let base = Version::NULL;
    let outcome = Outcome::Updated { base, made };
    let proposal = LogRecord {
        slot: 1,
        decisions: vec![Decision {
            id,
            outcome,
            note: None,
        }],
    };
    Message::Commit {
        record: "k".to_owned(),
        ballot,
        proposal,
        lacking: RecordState::default(),
    }
}

fn is_committed(out: &[Output]) -> bool {
    out.iter().any(|output| {
        matches!(
            output,
            Output::Send {
                message: Message::Committed { .. },
                ..
            }
        )
    })
}

#[test]
fn a_wiped_disk_under_an_old_id_is_refused_and_told_so() {
    let mut node_1 = node(ME);
    hear(&mut node_1, DISK, 1, 1, heartbeat(false));
    let out = hear(&mut node_1, OTHER_DISK, 2, 1, heartbeat(false));
    let told = Output::Send {
        to: PEER,
        message: Message::WrongDisk,
    };
    assert!(out.contains(&told), "{out:?}");
    assert!(!is_committed(&hear(
        &mut node_1,
        OTHER_DISK,
        2,
        1,
        commit()
    )));
    // Whom it was is not shaken by that.
    assert!(is_committed(&hear(&mut node_1, DISK, 1, 1, commit())));

    let out = hear(&mut node(ME), DISK, 1, 1, Message::WrongDisk);
    let halt = Halt::WrongDisk { me: ME, by: PEER };
    assert!(out.contains(&Output::Halt(halt)), "{out:?}");
}

#[test]
fn data_that_takes_the_place_of_what_was_lost_is_accepted_once_it_says_so() {
    let mut node = node(ME);
    hear(&mut node, DISK, 1, 1, heartbeat(false));
    let out = hear(&mut node, OTHER_DISK, 2, 1, heartbeat(true));
    let kept = Change::Disk {
        replica: PEER,
        disk: OTHER_DISK,
    };
    assert!(out.contains(&Output::Persist(kept)), "{out:?}");
    assert!(is_committed(&hear(&mut node, OTHER_DISK, 2, 1, commit())));
}

#[test]
fn nobody_hears_a_stale_ring() {
    let mut node = node(ME);
    assert_eq!(hear(&mut node, DISK, 1, 2, heartbeat(false)), []);
    assert_eq!(hear(&mut node, DISK, 1, 2, commit()), []);
    assert!(is_committed(&hear(&mut node, DISK, 1, 1, commit())));
}

#[test]
fn nobody_hears_an_earlier_life() {
    let mut node = node(ME);
    hear(&mut node, DISK, 5, 1, heartbeat(false));
    assert_eq!(hear(&mut node, DISK, 4, 1, commit()), []);
    assert!(is_committed(&hear(&mut node, DISK, 5, 1, commit())));
}

#[test]
fn a_node_that_cannot_write_takes_nothing_until_it_can() {
    let mut node = node(ME);
    let mut out = Vec::new();
    node.step(
        1,
        Input::ReadOnly(Some("the disk is full".to_owned())),
        &mut out,
    );
    assert!(!is_committed(&hear(&mut node, DISK, 1, 1, commit())));
    node.step(1, Input::ReadOnly(None), &mut out);
    assert!(is_committed(&hear(&mut node, DISK, 1, 1, commit())));
}

#[test]
fn a_node_that_cannot_write_changes_nothing_whoever_dies_or_comes() {
    let mut durable = Durable::new(Founding {
        replica: ME,
        ring: Ring {
            commit: CommitMode::FailStop,
            ..ring(1)
        },
        disk: 1,
        replaces: false,
        incarnation: 1,
    });
    durable.apply(&Change::Joined);
    durable.apply(&Change::Death {
        replica: PEER,
        dead: true,
    });
    let mut node = Storage::new(0, 0, durable, Start::Uninterrupted { joined: true });
    let mut out = Vec::new();
    node.step(
        1,
        Input::ReadOnly(Some("the disk is full".to_owned())),
        &mut out,
    );
    let hash = node.ring().settings_hash();
    let message = heartbeat(false);
    let envelope = Envelope {
        from: PEER,
        incarnation: 9,
        disk: DISK,
        ring: hash,
        message,
    };
    node.step(1, Input::Peer(Box::new(envelope)), &mut out);
    let dies = Input::CertifyDeath {
        token: Some(7),
        replica: 3,
        incarnation: 1,
    };
    node.step(2, dies, &mut out);
    let changes: Vec<_> = out.iter().filter_map(Output::change).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert!(matches!(answer(out), Some((7, Err(Refusal::ReadOnly(_))))));
}

fn answer(outputs: Vec<Output>) -> Option<(Token, Result<Reply, Refusal>)> {
    outputs.into_iter().find_map(|output| match output {
        Output::Reply { token, reply, .. } => Some((token, reply)),
        _ => None,
    })
}

#[test]
fn a_certificate_is_acknowledged_when_it_is_durable() {
    let founding = Founding {
        replica: ME,
        ring: ring(1),
        disk: 1,
        replaces: false,
        incarnation: 1,
    };
    let mut node = Node::found(0, 0, founding, true);
    let sync = |node: &mut Node| {
        let batch = node.hand_over(1, EngineStats::default()).unwrap();
        assert_eq!(answer(node.ready()), None);
        node.committed(batch.changes);
    };
    node.step(1, Input::Tick);
    sync(&mut node);
    node.ready();
    let dies = Input::CertifyDeath {
        token: Some(7),
        replica: PEER,
        incarnation: 1,
    };
    node.step(1, dies);
    sync(&mut node);
    assert_eq!(answer(node.ready()), Some((7, Ok(Reply::DeathNoted))));
}
