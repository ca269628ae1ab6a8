//! The scenarios of STORAGE.md §9, in its order. A stale ring and a wiped disk are in `identity`, every crash point with
//! every role and every fault in `enumerate`.

use std::cell::Cell;
use std::rc::Rc;

use common::types::{CommitMode, ReplicaId, Version};
use storage::core::message::{Message, Outcome};
use storage::core::{Level, Refusal, Reply, Token};

use crate::play::{
    Back, COORDINATOR, Fault, Play, SECOND, THIRD, Work, look, perform, read, update, write,
};
use crate::steps::{Cluster, Mishap, Mode, Step};
use crate::world::{World, made, show};

const CRASHES: [Fault; 6] = [
    crash(true, Back::AtOnce),
    crash(true, Back::Later),
    crash(true, Back::AfterAll),
    crash(false, Back::AtOnce),
    crash(false, Back::Later),
    crash(false, Back::AfterAll),
];

const fn crash(keeps: bool, back: Back) -> Fault {
    Fault::Crash { keeps, back }
}

const fn cut(outgoing: bool, incoming: bool) -> Fault {
    Fault::Cut { outgoing, incoming }
}

/// The moment of a fault.
enum When<S> {
    Before(S),
    /// After so many of these steps.
    After(u32, S),
}

use When::{After, Before};

/// Nodes, work and the place of the replica to which something happens.
#[derive(Clone, Copy)]
struct Scene(u32, Work, usize);

impl Scene {
    fn places(self) -> Vec<ReplicaId> {
        Cluster::new(Mode::Majority, self.0, None).places()
    }

    /// Plays each fault in each mode.
    fn plays<S: Fn(&Step) -> bool>(self, faults: &[Fault], when: impl Fn(Mode) -> When<S>) {
        let Self(nodes, work, role) = self;
        for mode in Mode::ALL {
            for fault in faults.iter().copied() {
                let mut when = when(mode);
                let play = Play {
                    mode,
                    nodes,
                    work,
                    role,
                    fault,
                    bug: None,
                };
                let mut moment = |next: &Step| match &mut when {
                    Before(wanted) => wanted(next),
                    After(0, _) => true,
                    After(left, wanted) => {
                        *left -= u32::from(wanted(next));
                        false
                    }
                };
                let played = perform(&play, &mut moment, false);
                played.unwrap_or_else(|wrong| panic!("{play}: {wrong}"));
            }
        }
    }
}

fn sends(who: ReplicaId, what: &'static str) -> impl Fn(&Step) -> bool {
    move |step| matches!(step, Step::Send(from, kind, _) if (*from, *kind) == (who, what))
}

fn hears(who: ReplicaId, what: &'static str) -> impl Fn(&Step) -> bool {
    move |step| matches!(step, Step::Deliver(_, kind, to) if (*to, *kind) == (who, what))
}

mod coordinator_dies {
    use super::*;

    const ASKED_ELSEWHERE: Scene = Scene(3, Work::Forwarded, COORDINATOR);
    const ASKED_ITSELF: Scene = Scene(3, Work::AtCoordinator, COORDINATOR);

    #[test]
    fn before_a_prepare_leaves() {
        for scene in [ASKED_ELSEWHERE, ASKED_ITSELF] {
            let coordinator = scene.places()[COORDINATOR];
            // With and without the promise of its own that the prepares imply.
            let promises = move |step: &Step| {
                *step == Step::Sync(coordinator) || sends(coordinator, "prepare")(step)
            };
            scene.plays(&CRASHES, |_| Before(promises));
            scene.plays(&CRASHES, |_| Before(sends(coordinator, "prepare")));
        }
    }

    #[test]
    fn after_some_prepares() {
        let coordinator = ASKED_ELSEWHERE.places()[COORDINATOR];
        ASKED_ELSEWHERE.plays(&CRASHES, |_| After(1, sends(coordinator, "prepare")));
        ASKED_ITSELF.plays(&CRASHES, |_| After(1, sends(coordinator, "prepare")));
    }

    #[test]
    fn after_a_quorum_voted() {
        let coordinator = ASKED_ELSEWHERE.places()[COORDINATOR];
        let voted = |mode: Mode| After(mode.others(3), hears(coordinator, "vote"));
        ASKED_ELSEWHERE.plays(&CRASHES, voted);
        ASKED_ITSELF.plays(&CRASHES, voted);
    }

    #[test]
    fn after_a_commit_reached_a_minority() {
        let scene = Scene(5, Work::Forwarded, COORDINATOR);
        scene.plays(&CRASHES, |_| {
            After(1, |step: &Step| {
                matches!(step, Step::Deliver(_, "commit", _))
            })
        });
    }

    #[test]
    fn after_a_commit_reached_a_majority_before_the_answer() {
        let coordinator = ASKED_ELSEWHERE.places()[COORDINATOR];
        let committed = |mode: Mode| After(mode.others(3), hears(coordinator, "committed"));
        ASKED_ELSEWHERE.plays(&CRASHES, committed);
        ASKED_ITSELF.plays(&CRASHES, committed);
    }

    #[test]
    fn after_the_answer_before_decided_leaves() {
        let coordinator = ASKED_ITSELF.places()[COORDINATOR];
        ASKED_ITSELF.plays(&CRASHES, |_| {
            let has_committed = Cell::new(false);
            After(1, move |step: &Step| {
                has_committed.set(has_committed.get() || sends(coordinator, "commit")(step));
                let tells = has_committed.get() && sends(coordinator, "gossip")(step);
                assert!(!tells, "the others are told before the client");
                *step == Step::Reply(coordinator)
            })
        });
    }
}

/// With and without its unsynced writes, as every crash here.
mod participant_dies {
    use super::*;

    const SCENES: [Scene; 2] = [
        Scene(3, Work::AtCoordinator, SECOND),
        Scene(3, Work::Forwarded, THIRD),
    ];

    #[test]
    fn before_its_vote() {
        for scene in SCENES {
            let participant = scene.places()[scene.2];
            scene.plays(&CRASHES, |_| After(1, hears(participant, "prepare")));
        }
    }

    #[test]
    fn after_its_vote() {
        for scene in SCENES {
            let participant = scene.places()[scene.2];
            scene.plays(&CRASHES, |_| After(1, sends(participant, "vote")));
        }
    }

    #[test]
    fn before_its_committed() {
        for scene in SCENES {
            let participant = scene.places()[scene.2];
            scene.plays(&CRASHES, |_| After(1, hears(participant, "commit")));
        }
    }

    #[test]
    fn after_its_committed() {
        for scene in SCENES {
            let participant = scene.places()[scene.2];
            scene.plays(&CRASHES, |_| After(1, sends(participant, "committed")));
        }
    }
}

mod partition {
    use super::*;

    fn during(what: &'static str, faults: &[Fault]) {
        for work in Work::ALL {
            for role in [COORDINATOR, SECOND, THIRD] {
                let scene = Scene(3, work, role);
                let coordinator = scene.places()[COORDINATOR];
                scene.plays(faults, |_| After(1, sends(coordinator, what)));
            }
        }
    }

    #[test]
    fn during_prepare() {
        during("prepare", &[cut(true, true)]);
    }

    #[test]
    fn during_commit() {
        during("commit", &[cut(true, true)]);
    }

    #[test]
    fn one_way() {
        for what in ["prepare", "commit"] {
            during(what, &[cut(true, false), cut(false, true)]);
        }
    }
}

/// A cluster whose record holds `a` everywhere, and its replicas in ring order.
fn ready(mode: Mode) -> (Cluster, Vec<ReplicaId>) {
    let mut cluster = Cluster::new(mode, 3, None);
    cluster.settle("at rest", Cluster::is_at_rest).unwrap();
    let places = cluster.places();
    write(&mut cluster, places[COORDINATOR], "a", Level::All);
    cluster.settle("at rest", Cluster::is_at_rest).unwrap();
    (cluster, places)
}

/// Lets everything come to rest; no promise was broken.
fn ends_well(mut cluster: Cluster) {
    cluster.settle("at rest", Cluster::is_at_rest).unwrap();
    let wrong = cluster.verdict();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

mod plain_write {
    use super::*;

    #[test]
    fn at_a_replica_outside_the_quorum() {
        let (mut cluster, places) = ready(Mode::Majority);
        let outside = places[THIRD];
        cluster.cut(outside, true, true);
        let plain = write(&mut cluster, outside, "plain", Level::One);
        let tested = update(&mut cluster, places[COORDINATOR], "b", "a");
        cluster.settle("answered", Cluster::is_answered).unwrap();
        let Ok(Reply::Written(plain)) = cluster.replies[&plain] else {
            panic!("{:?}", cluster.replies[&plain]);
        };
        let Ok(Reply::Update(Outcome::Updated { base, made })) = &cluster.replies[&tested] else {
            panic!("{:?}", cluster.replies[&tested]);
        };
        let is_between = *base < plain && plain < made.version;
        assert!(!is_between, "{plain} came between {base} and {made:?}");
        cluster.cuts.clear();
        ends_well(cluster);
    }

    #[test]
    fn at_one_that_has_voted() {
        let mut world = World::new(3, CommitMode::FailStop, 6);
        world.write(1, "k", "a", Level::All);
        let voter = if world.coordinator("k") == 2 { 3 } else { 2 };
        let has_voted = Rc::new(Cell::new(false));
        let saw = has_voted.clone();
        world.filter = Box::new(move |from, _, message| {
            saw.set(saw.get() || (from == voter && matches!(message, Message::Vote { .. })));
            // The write stays where it was made until the test is over.
            from != voter || !matches!(message, Message::Gossip(_))
        });
        let update = world.start_update(1, 1, "k", Some("a"), "b");
        world.run_until("a vote", |_| has_voted.get());
        let plain = world.write(voter, "k", "plain", Level::One);
        assert!(
            matches!(world.reply(update), Ok(Reply::Update(Outcome::Updated { made, .. })) if show(&made) == "1.1+1=b")
        );
        world.filter = Box::new(|_, _, _| true);
        world.converge();
        assert_eq!(world.read(1, "k"), format!("{plain}=plain"));
    }
}

mod coordinators {
    use super::*;

    #[test]
    fn two_at_once() {
        let (mut cluster, places) = ready(Mode::Majority);
        let (old, new) = (places[COORDINATOR], places[SECOND]);
        let first = update(&mut cluster, old, "b", "a");
        cluster.run_to(sends(old, "commit"));
        // The old one hears the others, and goes on all the time; they do not hear it.
        cluster.cut(old, true, false);
        let second = update(&mut cluster, new, "c", "a");
        let is_answered = |cluster: &Cluster| cluster.replies.contains_key(&second);
        cluster.settle("answered", is_answered).unwrap();
        assert!(cluster.sent.contains(&(new, "prepare")), "no takeover");
        assert!(!cluster.replies.contains_key(&first), "decided by one");
        cluster.cuts.clear();
        cluster.settle("answered", Cluster::is_answered).unwrap();
        let is_made = |token| {
            let reply = &cluster.replies[&token];
            matches!(reply, Ok(Reply::Update(Outcome::Updated { .. })))
        };
        assert!(is_made(first) != is_made(second), "{:?}", cluster.replies);
        ends_well(cluster);
    }

    #[test]
    fn a_delayed_commit_of_an_old_one() {
        let (mut cluster, places) = ready(Mode::Majority);
        let [old, new, third] = places[..] else {
            unreachable!()
        };
        update(&mut cluster, old, "b", "a");
        for _ in 0..2 {
            cluster.run_to(sends(old, "commit"));
            cluster.mishap = Some((old, Mishap::Delayed));
            cluster.advance();
        }
        cluster.cut(old, true, true);
        update(&mut cluster, new, "c", "a");
        // A successor has the promise of the third when the commits of the old one come.
        cluster.run_to(sends(third, "vote"));
        cluster.advance();
        cluster.cuts.clear();
        cluster.release_delayed();
        cluster.run_to(sends(third, "nack"));
        ends_well(cluster);
    }
}

mod answer {
    use super::*;

    #[test]
    fn lost_and_a_repeat_elsewhere() {
        for place in [SECOND, THIRD] {
            let scene = Scene(3, Work::AtCoordinator, place);
            let coordinator = scene.places()[COORDINATOR];
            scene.plays(&[Fault::Repeat], |_| {
                After(1, move |step: &Step| *step == Step::Reply(coordinator))
            });
        }
        // With the replica that would have answered.
        let scene = Scene(3, Work::AtCoordinator, COORDINATOR);
        let coordinator = scene.places()[COORDINATOR];
        scene.plays(&CRASHES, |mode| {
            After(mode.others(3), hears(coordinator, "committed"))
        });
    }

    #[test]
    fn followed_by_a_duplicate() {
        for what in ["submit", "prepare", "vote", "commit", "committed", "gossip"] {
            let role = usize::from(["submit", "vote", "committed"].contains(&what));
            let scene = Scene(3, Work::Forwarded, role);
            let sender = scene.places()[role];
            let mishaps = [Mishap::Duplicated, Mishap::Delayed].map(Fault::Message);
            scene.plays(&mishaps, |_| Before(sends(sender, what)));
        }
    }
}

mod fail_stop {
    use super::*;
    use CommitMode::{FailStop, Majority};

    #[test]
    fn all_but_one_crash_and_the_last_survivor_goes_on() {
        let mut world = World::new(5, FailStop, 11);
        world.write(1, "k", "0", Level::All);
        for (step, victim) in [3, 1, 5, 2].into_iter().enumerate() {
            let (old, new) = (step.to_string(), (step + 1).to_string());
            let at = world.alive()[0];
            world.update(at, step as u64, "k", Some(&old), &new);
            world.crash(victim);
            world.certify(victim);
            // A replica that has accepted an update shows it once it knows the outcome.
            world.converge();
        }
        assert_eq!(world.read(4, "k"), "1.1+4=4");
        assert_eq!(made(&world.update(4, 9, "k", Some("4"), "5")), "1.1+5=5");
    }

    /// What is shown, asked again while the node joins.
    fn seen(
        cluster: &mut Cluster,
        at: ReplicaId,
        ask: fn(&mut Cluster, ReplicaId) -> Token,
    ) -> Version {
        loop {
            let token = ask(cluster, at);
            cluster.settle("answered", Cluster::is_answered).unwrap();
            match &cluster.replies[&token] {
                Ok(Reply::Read(found) | Reply::Update(Outcome::Mismatch { found })) => {
                    return found.version;
                }
                Err(Refusal::Joining) => cluster.run_for(100),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_node_returns_and_gets_what_the_gossip_of_the_dead_has_never_told() {
        let (mut cluster, places) = ready(Mode::FailStop);
        let [first, second, third] = [COORDINATOR, SECOND, THIRD].map(|place| places[place]);
        let life = cluster.crash(third, true);
        cluster.certify(third, life);
        write(&mut cluster, second, "plain", Level::One);
        cluster.run_to(|step| matches!(step, Step::Send(from, "gossip", _) if *from == second));
        cluster.mishap = Some((second, Mishap::Lost));
        cluster.advance();
        // The first hears of it by the vote of the second, which then dies.
        let shown = seen(&mut cluster, first, read);
        let life = cluster.crash(second, true);
        cluster.certify(second, life);
        cluster.start(third);
        cluster.certify(second, life);
        seen(&mut cluster, third, look);
        let life = cluster.crash(first, true);
        cluster.certify(first, life);
        assert_eq!(seen(&mut cluster, third, read), shown);
    }

    #[test]
    fn a_node_returns_with_all_data_and_is_counted_again() {
        for commit in [FailStop, Majority] {
            let mut world = World::new(3, commit, 13);
            world.write(1, "k", "a", Level::All);
            world.update(1, 1, "k", Some("a"), "b");
            world.crash(2);
            world.certify(2);
            world.update(1, 2, "k", Some("b"), "c");
            world.start(2, false);
            let refused = world.start_read(2, "k", None, 0);
            assert_eq!(world.replies[&refused], Err(Refusal::Joining));
            world.run_until("the node has joined", |world| {
                world.nodes[&2].core.is_joined()
            });
            assert_eq!(world.read(2, "k"), "1.1+2=c");
            assert_eq!(made(&world.update(2, 3, "k", Some("c"), "d")), "1.1+3=d");
            for victim in [1, 3] {
                world.crash(victim);
                world.certify(victim);
            }
            assert_eq!(world.read(2, "k"), "1.1+3=d", "{commit:?}");
        }
    }
}

#[test]
fn the_tested_version_is_discarded_meanwhile() {
    let mut world = World::new(3, CommitMode::Majority, 18);
    world.write(1, "k", "0", Level::All);
    let first = "1.1".parse().unwrap();
    assert_eq!(
        made(&world.update_version(1, 1, "k", first, "a")),
        "1.1+1=a"
    );
    for number in 2..=12 {
        world.write(1, "k", &number.to_string(), Level::All);
    }
    assert_eq!(
        made(&world.update_version(2, 2, "k", first, "b")),
        "mismatch 12.1=12"
    );
}
