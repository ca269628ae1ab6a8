//! The session over a real storage node, beside another client that writes meanwhile.

use std::sync::Arc;

use common::client::StorageClient;
use common::client::journal::Journalled;
use common::fabric::{Address, FabricHandle, LocalFabric};
use common::types::{CALLS_TOLD_MAX, CallKind, CommitMode, Dealing, Item, Link, Ring, StorageCall};

use std::collections::BTreeMap;

use super::*;
use crate::core::{RunKey, TaskKey};

const MAX_VERSIONS: u32 = 3;

struct Fixture {
    ring: RingWatch,
    other: StorageClient,
    fabric: FabricHandle,
    writes: u64,
    _storage: common::fabric::Task,
}

impl Fixture {
    async fn start() -> Self {
        let fabric: FabricHandle = Arc::new(LocalFabric::default());
        let address = Address::parse("127.0.0.1:3000").unwrap();
        let nodes = vec![("s1".to_owned(), address.clone())];
        let ring = Ring::new(nodes, None, CommitMode::FailStop, MAX_VERSIONS).unwrap();
        let config = storage::Config {
            name: "s1".to_owned(),
            address,
            gossip_delay_ms: 0,
            ring: Some(ring.clone()),
            data: None,
            limits: storage::Limits::default(),
            simulated: false,
        };
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let on_ready = Box::new(move |_: &common::fabric::Serving| ready.send(()).unwrap());
        let network = fabric.clone();
        let storage = fabric.spawn(Box::pin(async move {
            storage::run(config, network, std::future::pending(), on_ready)
                .await
                .unwrap();
        }));
        is_ready.await.unwrap();
        let watch = RingWatch::new(fabric.clone(), "w1");
        watch.publish(ring.clone());
        let other = StorageClient::new(fabric.clone(), Arc::new(ring), 0);
        Self {
            ring: watch,
            other,
            fabric,
            writes: 0,
            _storage: storage,
        }
    }

    fn session(&self, pins: Vec<Pin>) -> (Session, Afterwards) {
        self.attempt(1, pins)
    }

    fn attempt(&self, attempt: u32, pins: Vec<Pin>) -> (Session, Afterwards) {
        Session::new(
            &Self::task(attempt, pins),
            self.ring.clone(),
            self.fabric.now_ms() + 10_000,
        )
    }

    fn session_until(&self, pins: Vec<Pin>, patience_ms: u64) -> (Session, Afterwards) {
        let deadline_ms = self.fabric.now_ms() + patience_ms;
        Session::new(&Self::task(1, pins), self.ring.clone(), deadline_ms)
    }

    fn task(attempt: u32, pins: Vec<Pin>) -> Task {
        let run = RunKey {
            scheduler_incarnation: 1,
            number: 1,
        };
        let link = Link {
            class: "A".to_owned(),
            component: None,
            order: 0,
            dealing: Dealing::Whole,
            worker: None,
            timeout_ms: None,
            options: BTreeMap::new(),
        };
        Task {
            key: TaskKey {
                run,
                segment: 0,
                task: 0,
                attempt,
                stage: 0,
            },
            arrived_ms: 0,
            deadline_ms: 0,
            input: String::new(),
            items: vec![],
            sources: vec![],
            pins,
            grants: vec![],
            submitted_unix_ms: 0,
            retry: attempt > 1,
            chain: vec![link],
        }
    }

    async fn write(&mut self, record: &str, value: &str) -> Version {
        self.writes += 1;
        let id = UpdateId {
            origin: "other".to_owned(),
            sequence: self.writes,
        };
        let route = Route {
            only: None,
            deadline_ms: self.fabric.now_ms() + 10_000,
        };
        self.other
            .write(
                id,
                record,
                Some(value.to_owned().into()),
                Level::One,
                Version::NULL,
                route,
            )
            .await
            .unwrap()
    }
}

/// A session that has taken over from the attempts before it.
async fn recovered(fixture: &Fixture, attempt: u32, pins: Vec<Pin>) -> (Session, Afterwards) {
    let (mut session, afterwards) = fixture.attempt(attempt, pins);
    session.recover().await.unwrap();
    (session, afterwards)
}

/// Adds one to the number in a record, however often others come in between.
async fn increment(session: &mut Session, id: &str) -> Version {
    let mut found = session.read(id).await.ok();
    loop {
        let (version, number) = found.map_or((Version::NULL, 0), |record| {
            let number = std::str::from_utf8(&record.value).unwrap();
            (record.version, number.parse::<u64>().unwrap())
        });
        let next = (number + 1).to_string().into();
        match session.update_if_version_is(id, version, next).await {
            Ok(version) => return version,
            Err(UpdateError::Mismatch(other)) => found = other,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A pin of the record that the tests use.
fn pin(version: Version) -> Pin {
    Pin {
        record: "x".to_owned(),
        version,
        is_floor: false,
    }
}

fn pins(afterwards: Afterwards) -> Vec<Pin> {
    match afterwards.end(Ok(vec![])) {
        Ended::Returned { pins, .. } => pins,
        end => panic!("{end:?}"),
    }
}

#[tokio::test]
async fn the_first_read_pins_the_version_for_all_later_stages() {
    let mut fixture = Fixture::start().await;
    let version = fixture.write("x", "old").await;
    let (mut session, afterwards) = fixture.session(vec![]);
    assert_eq!(session.read("x").await.unwrap().value, "old");
    fixture.write("x", "new").await;
    assert_eq!(session.read("x").await.unwrap().value, "old");
    let carried = pins(afterwards);
    assert_eq!(carried, [pin(version)]);
    let (mut later, _) = fixture.session(carried);
    assert_eq!(later.read("x").await.unwrap().value, "old");
}

#[tokio::test]
async fn each_call_is_noted_with_the_version_that_the_run_then_sees() {
    let mut fixture = Fixture::start().await;
    let version = fixture.write("x", "old").await;
    let (mut session, afterwards) = fixture.session(vec![]);
    session.read("x").await.unwrap();
    session.read("absent").await.unwrap_err();
    let written = session.write("y", "1".into()).await.unwrap();
    let swap = session.update_if_value_is("x", Some("other".into()), "new".into());
    swap.await.unwrap_err();
    session.read("_marionette/x").await.unwrap_err();
    for _ in 0..CALLS_TOLD_MAX {
        session.read("x").await.unwrap();
    }
    let calls = afterwards.calls();
    assert_eq!(calls.count, 5 + CALLS_TOLD_MAX as u64);
    assert_eq!(calls.first.len(), CALLS_TOLD_MAX);
    let told = |call: &StorageCall| (call.kind, call.record.clone(), call.version);
    let told: Vec<_> = calls.first.iter().take(5).map(told).collect();
    let expected = [
        (CallKind::Read, "x", Some(version)),
        (CallKind::Read, "absent", Some(Version::NULL)),
        (CallKind::Write, "y", Some(written)),
        (CallKind::Update, "x", Some(version)),
        (CallKind::Read, "_marionette/x", None),
    ];
    assert_eq!(
        told,
        expected.map(|(kind, record, version)| (kind, record.to_owned(), version))
    );
    let failed = calls.first.iter().map(|call| call.error.is_some());
    let failed: Vec<_> = failed.take(5).collect();
    assert_eq!(failed, [false, true, false, true, true]);
}

#[tokio::test]
async fn an_absent_record_stays_absent_for_the_run() {
    let mut fixture = Fixture::start().await;
    let (mut session, afterwards) = fixture.session(vec![]);
    assert_eq!(session.read("x").await, Err(StorageError::NotFound));
    fixture.write("x", "new").await;
    assert_eq!(session.read("x").await, Err(StorageError::NotFound));
    assert_eq!(pins(afterwards), [pin(Version::NULL)]);
}

#[tokio::test]
async fn own_writes_and_updates_move_the_pin() {
    let fixture = Fixture::start().await;
    let (mut session, afterwards) = fixture.session(vec![]);
    let written = session.write("x", "1".into()).await.unwrap();
    assert_eq!(session.read("x").await.unwrap().version, written);
    let updated = session
        .update_if_value_is("x", Some("1".into()), "2".into())
        .await
        .unwrap();
    assert_eq!(
        session.read("x").await.unwrap(),
        Record {
            version: updated,
            value: "2".into()
        }
    );
    assert_eq!(pins(afterwards), [pin(updated)]);
}

#[tokio::test]
async fn a_failed_update_returns_and_pins_what_it_found() {
    let mut fixture = Fixture::start().await;
    fixture.write("x", "old").await;
    let (mut session, _) = fixture.session(vec![]);
    session.read("x").await.unwrap();
    let version = fixture.write("x", "new").await;
    let found = Record {
        version,
        value: "new".into(),
    };
    let failure = session
        .update_if_value_is("x", Some("old".into()), "mine".into())
        .await;
    assert_eq!(failure, Err(UpdateError::Mismatch(Some(found.clone()))));
    assert_eq!(
        session.read("x").await,
        Ok(found),
        "a loop can go on without a read of its own"
    );
    let failure = session
        .update_if_value_is("y", Some("old".into()), "mine".into())
        .await;
    assert_eq!(failure, Err(UpdateError::Mismatch(None)));
}

#[tokio::test]
async fn a_discarded_version_ends_the_run_whatever_the_operator_makes_of_it() {
    let mut fixture = Fixture::start().await;
    fixture.write("x", "0").await;
    let (mut session, afterwards) = fixture.session(vec![]);
    session.read("x").await.unwrap();
    for value in 1..=MAX_VERSIONS {
        fixture.write("x", &value.to_string()).await;
    }
    assert_eq!(session.read("x").await, Err(StorageError::Discarded));
    assert_eq!(
        session.read("y").await,
        Err(StorageError::Discarded),
        "the session is over"
    );
    let end = afterwards.end(Ok(vec![Item::plain("as if nothing had happened")]));
    assert!(matches!(end, Ended::Failed { permanent: true, reason } if reason.contains("`x`")));
}

#[tokio::test]
async fn an_update_repeated_by_a_later_attempt_takes_effect_once() {
    let fixture = Fixture::start().await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    let version = first
        .update_if_value_is("x", None, "1".into())
        .await
        .unwrap();
    let (mut second, _) = fixture.attempt(2, vec![]);
    assert_eq!(
        second.update_if_value_is("x", None, "1".into()).await,
        Ok(version)
    );
}

#[tokio::test]
async fn what_is_too_large_for_the_storage_is_refused_with_its_bound() {
    let fixture = Fixture::start().await;
    let (mut session, _) = fixture.session(vec![]);
    assert!(matches!(
        session.read("").await,
        Err(StorageError::InvalidId(_))
    ));
    let large = bytes::Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    assert!(matches!(
        session.write("x", large).await,
        Err(StorageError::TooLarge { .. })
    ));
    // What it was told to accept only it knows.
    let large = bytes::Bytes::from(vec![0; types::VALUE_BYTES_DEFAULT + 1]);
    let bytes_max = types::VALUE_BYTES_DEFAULT as u64;
    assert_eq!(
        session.write("x", large).await,
        Err(StorageError::TooLarge { bytes_max })
    );
}

#[tokio::test]
async fn a_session_before_the_ring_is_known_waits_for_it_until_its_deadline() {
    let fabric: FabricHandle = Arc::new(LocalFabric::default());
    let watch = RingWatch::new(fabric.clone(), "w1");
    let now_ms = fabric.now_ms();
    assert!(watch.client(now_ms + 10).await.is_none());
    watch.wanted().await;
    let address = Address::parse("127.0.0.1:3000").unwrap();
    let ring = Ring::new(
        vec![("s1".to_owned(), address)],
        None,
        CommitMode::FailStop,
        10,
    )
    .unwrap();
    let (client, ()) = tokio::join!(watch.client(now_ms + 10_000), async {
        watch.publish(ring.clone());
    });
    assert_eq!(*client.unwrap().ring(), ring);
}

#[tokio::test]
async fn the_first_read_is_not_older_than_what_the_submitter_has_seen() {
    let mut fixture = Fixture::start().await;
    let old = fixture.write("x", "old").await;
    let seen = fixture.write("x", "seen").await;
    let floor = |version| Pin {
        is_floor: true,
        ..pin(version)
    };
    let (mut session, afterwards) = fixture.session(vec![floor(old)]);
    assert_eq!(session.read("x").await.unwrap().version, seen);
    assert_eq!(pins(afterwards), [pin(seen)]);
    // Untouched, it travels on.
    let (_, afterwards) = fixture.session(vec![floor(seen)]);
    assert_eq!(pins(afterwards), [floor(seen)]);
    // A version that is nowhere is waited for, in vain: an older one is no answer.
    let unheard = Version::write(seen.number + 7, 1);
    let (mut session, _) = fixture.session_until(vec![floor(unheard)], 300);
    let answer = session.read("x").await;
    assert!(
        matches!(answer, Err(StorageError::Unavailable(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_a_stage_hands_on_is_never_more_than_the_next_worker_takes() {
    let fixture = Fixture::start().await;
    let named = |record: String, is_floor| Pin {
        record,
        version: Version::NULL,
        is_floor,
    };
    let mut held: Vec<Pin> = (1..PINS_MAX)
        .map(|number| named(number.to_string(), false))
        .collect();
    held.push(named("seen".to_owned(), true));
    let (mut session, afterwards) = fixture.session(held);
    let refused = session.read("new").await;
    assert!(
        matches!(refused, Err(StorageError::LimitExceeded(_))),
        "{refused:?}"
    );
    assert_eq!(session.read("seen").await, Err(StorageError::NotFound));
    assert_eq!(pins(afterwards).len(), PINS_MAX);
}

#[tokio::test]
async fn a_retry_is_told_what_the_attempt_before_it_was_told() {
    let mut fixture = Fixture::start().await;
    fixture.write("x", "1").await;
    let old = fixture.write("y", "old").await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    assert_eq!(first.read("y").await.unwrap().version, old);
    assert_eq!(first.read("x").await.unwrap().value, "1");
    // Another one comes in between: the loop is turned around.
    fixture.write("x", "2").await;
    let made = increment(&mut first, "x").await;
    let written = first.write("z", "end".into()).await.unwrap();
    // And more changes before the retry.
    for record in ["y", "z"] {
        fixture.write(record, "9").await;
    }
    let (mut second, afterwards) = recovered(&fixture, 2, vec![]).await;
    assert_eq!(second.read("y").await.unwrap().version, old);
    assert_eq!(second.read("x").await.unwrap().value, "1");
    assert_eq!(increment(&mut second, "x").await, made);
    assert_eq!(second.read("x").await.unwrap().value, "3");
    assert_eq!(second.write("z", "end".into()).await, Ok(written));
    let held: BTreeMap<_, _> = pins(afterwards)
        .into_iter()
        .map(|pin| (pin.record, pin.version))
        .collect();
    let expected = [("x", made), ("y", old), ("z", written)];
    let expected = expected.map(|(record, version)| (record.to_owned(), version));
    assert_eq!(held, expected.into());
}

#[tokio::test]
async fn behind_what_was_done_a_retry_goes_on_and_its_own_retry_knows_that_too() {
    let mut fixture = Fixture::start().await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    increment(&mut first, "x").await;
    fixture.write("y", "1").await;
    let (mut second, _) = recovered(&fixture, 2, vec![]).await;
    increment(&mut second, "x").await;
    assert_eq!(second.read("y").await.unwrap().value, "1");
    let made = increment(&mut second, "x").await;
    fixture.write("y", "2").await;
    let (mut third, _) = recovered(&fixture, 3, vec![]).await;
    increment(&mut third, "x").await;
    assert_eq!(third.read("y").await.unwrap().value, "1");
    assert_eq!(increment(&mut third, "x").await, made);
}

#[tokio::test]
async fn what_a_task_began_with_comes_back_with_its_first_update() {
    let mut fixture = Fixture::start().await;
    let old = fixture.write("x", "old").await;
    let (mut first, _) = fixture.attempt(1, vec![pin(old)]);
    first.write("y", "1".into()).await.unwrap();
    let new = fixture.write("x", "new").await;
    // The stage before was repeated as well, and has read something else.
    let (mut second, _) = recovered(&fixture, 2, vec![pin(new)]).await;
    assert_eq!(second.read("x").await.unwrap().version, old);
    let (mut idle, _) = recovered(&fixture, 3, vec![pin(new)]).await;
    assert_eq!(
        idle.read("x").await.unwrap().version,
        old,
        "whoever collects, it is the same"
    );
}

#[tokio::test]
async fn an_attempt_whose_place_another_one_took_ends_as_a_failure_that_says_so() {
    let fixture = Fixture::start().await;
    let (mut first, afterwards) = fixture.attempt(1, vec![]);
    let (mut second, _) = recovered(&fixture, 2, vec![]).await;
    let refused = first.write("x", "1".into()).await;
    assert_eq!(refused, Err(StorageError::Cancelled));
    assert_eq!(first.read("x").await, Err(StorageError::Cancelled));
    let end = afterwards.end(Ok(vec![]));
    let is_told = matches!(&end, Ended::Failed { permanent: false, reason }
        if reason.contains("attempt 2 has taken the place"));
    assert!(is_told, "{end:?}");
    increment(&mut second, "x").await;
    // Nor can it come back by a fence of its own.
    let (mut late, _) = fixture.attempt(1, vec![]);
    let end = late.recover().await.unwrap_err();
    assert!(matches!(
        end,
        Ended::Failed {
            permanent: false,
            ..
        }
    ));
}

#[tokio::test]
async fn an_operator_that_does_something_else_in_a_retry_is_found_out() {
    let fixture = Fixture::start().await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    first.write("x", "1".into()).await.unwrap();
    for (attempt, record, is_write) in [(2, "y", true), (3, "x", false)] {
        let (mut retry, afterwards) = recovered(&fixture, attempt, vec![]).await;
        if is_write {
            retry.write(record, "1".into()).await.unwrap_err();
        } else {
            let swap = retry.update_if_value_is(record, None, "1".into());
            swap.await.unwrap_err();
        }
        let end = afterwards.end(Ok(vec![]));
        let is_told = matches!(&end, Ended::Failed { permanent: true, reason }
            if reason.contains("not deterministic") && reason.contains("record `x` before"));
        assert!(is_told, "{end:?}");
    }
}

#[tokio::test]
async fn a_long_value_that_a_mismatch_found_comes_back_as_long_as_it_is_kept() {
    let mut fixture = Fixture::start().await;
    let long = "x".repeat(4 << 10);
    fixture.write("x", &long).await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    let missed = first.update_if_value_is("x", None, "1".into()).await;
    let (mut second, _) = recovered(&fixture, 2, vec![]).await;
    let again = second.update_if_value_is("x", None, "1".into()).await;
    assert_eq!(missed, again);
    assert!(matches!(again, Err(UpdateError::Mismatch(Some(found))) if found.value == long));
    // Later on nobody may have it.
    let (mut third, afterwards) = fixture.attempt(3, vec![]);
    let id = UpdateId {
        origin: third.origin.to_string(),
        sequence: 0,
    };
    let discarded = Journalled {
        record: "x".to_owned(),
        did: Did::Discarded(Version::write(0, 1)),
        note: bytes::Bytes::new(),
    };
    third.past = Past::new([(id, discarded)].into(), &third.origin.to_string()).unwrap();
    let gone = third.update_if_value_is("x", None, "1".into()).await;
    assert_eq!(gone, Err(StorageError::Discarded.into()));
    let end = afterwards.end(Ok(vec![]));
    assert!(matches!(end, Ended::Failed { permanent: true, reason } if reason.contains("`x`")));
}

#[tokio::test]
async fn what_is_forgotten_is_over() {
    let fixture = Fixture::start().await;
    let (mut first, _) = fixture.attempt(1, vec![]);
    first.write("x", "1".into()).await.unwrap();
    let (from, until) = (RunOrigin::FIRST, RunOrigin::END);
    fixture.other.forget(from, until, vec![]).await.unwrap();
    assert_eq!(
        first.write("x", "2".into()).await,
        Err(StorageError::Cancelled)
    );
    let (mut second, _) = fixture.attempt(2, vec![]);
    let end = second.recover().await.unwrap_err();
    assert!(matches!(end, Ended::Failed { permanent: false, reason } if reason.contains("over")));
}

#[tokio::test]
async fn an_error_that_no_retry_would_see_ends_the_attempt() {
    let fixture = Fixture::start().await;
    let (mut session, afterwards) = fixture.attempt(1, vec![]);
    let passing = session.error("x", Status::unavailable("no majority"));
    assert!(passing.is_passing());
    assert_eq!(session.write("x", "1".into()).await, Err(passing));
    let end = afterwards.end(Ok(vec![]));
    assert!(
        matches!(end, Ended::Failed { permanent: false, reason } if reason.contains("no majority"))
    );
}

#[tokio::test]
async fn a_stage_that_was_handed_on_reads_again_what_later_stages_began_with() {
    let mut fixture = Fixture::start().await;
    let old = fixture.write("x", "old").await;
    let (mut first, afterwards) = fixture.attempt(1, vec![]);
    first.read("x").await.unwrap();
    let at = |stage, attempt, pins| {
        let mut task = Fixture::task(attempt, pins);
        task.key.stage = stage;
        let deadline_ms = fixture.fabric.now_ms() + 10_000;
        Session::new(&task, fixture.ring.clone(), deadline_ms).0
    };
    let mut later = at(1, 1, pins(afterwards));
    later.write("y", "1".into()).await.unwrap();
    // The worker of the first stage was lost before it could report, or the scheduler with all it knew.
    for attempt in [2, types::first_attempt(1) + 1] {
        fixture
            .other
            .write(
                UpdateId {
                    origin: "other".to_owned(),
                    sequence: attempt.into(),
                },
                "x",
                Some("new".into()),
                Level::One,
                Version::NULL,
                first.route(),
            )
            .await
            .unwrap();
        let mut again = at(0, attempt, vec![]);
        again.recover().await.unwrap();
        assert_eq!(again.read("x").await.unwrap().version, old);
        let fenced = later.write("y", "2".into()).await;
        assert!(
            fenced.is_err(),
            "the later stage of an older attempt is stopped"
        );
    }
}
