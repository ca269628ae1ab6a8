//! What no component may get away with, and what it costs nobody else.

use std::time::Duration;

use worker::host::{OperatorFailure, OperatorHost, Ran};

use crate::hostile_component::{
    AMPLIFIED_OUTPUT, BIG_OUTPUT, ERROR, Guest, LOG_FLOOD, LOOP, MEMORY_HOG, NOTHING,
    STACK_OVERFLOW, STAINS_MEMORY, TRAP, UNKNOWN_IMPORT, WILD_POINTER, component,
};
use crate::support::{PLENTY, failure, host, memory, records, request, run, soon};

async fn host_with(run: &str) -> (OperatorHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest {
        class: "Hostile",
        run,
        imports_clock: true,
        imports_log: true,
        ..Guest::default()
    };
    std::fs::write(directory.path().join("hostile.wasm"), component(guest)).unwrap();
    let host = host(directory.path(), false).await;
    assert_eq!(host.problems(), []);
    (host, directory)
}

fn trap(reason: &str) -> OperatorFailure {
    OperatorFailure::Trap {
        reason: reason.to_owned(),
    }
}

async fn expect_failure(run: &str, expected: &OperatorFailure) {
    let (host, _directory) = host_with(run).await;
    // Twice: what one task leaves behind must not reach the next, nor use up the pool.
    for _ in 0..2 {
        assert_eq!(&soon(failure(&host, "Hostile")).await, expected);
    }
    let Ran { result, .. } = host
        .run(request("CounterOperator", "a", &[]), memory(&[]), PLENTY)
        .await;
    assert!(result.is_ok(), "a well-behaved task after it: {result:?}");
}

#[tokio::test]
async fn a_trap_is_a_typed_error() {
    expect_failure(
        TRAP,
        &trap("wasm `unreachable` instruction executed in run"),
    )
    .await;
}

#[tokio::test]
async fn an_error_of_the_operator_is_handed_on() {
    expect_failure(ERROR, &OperatorFailure::Failed("I am unwell".to_owned())).await;
}

#[tokio::test]
async fn a_memory_hog_meets_its_limit() {
    expect_failure(
        MEMORY_HOG,
        &OperatorFailure::MemoryLimit {
            bytes_max: 64 << 20,
        },
    )
    .await;
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() {
    expect_failure(STACK_OVERFLOW, &trap("call stack exhausted in deeper")).await;
}

#[tokio::test]
async fn an_output_beyond_the_limit_is_refused() {
    expect_failure(
        BIG_OUTPUT,
        &OperatorFailure::OutputTooLarge {
            bytes_max: 16 << 20,
        },
    )
    .await;
}

#[tokio::test]
async fn an_output_that_names_the_same_bytes_again_and_again_is_not_copied() {
    expect_failure(
        AMPLIFIED_OUTPUT,
        &OperatorFailure::OutputTooLarge {
            bytes_max: 16 << 20,
        },
    )
    .await;
}

#[tokio::test]
async fn a_missing_import_is_named_when_it_is_called() {
    let reason = "this worker has no `acme:clock/wall@1.0.0#now`, which was called in run";
    expect_failure(UNKNOWN_IMPORT, &trap(reason)).await;
}

#[tokio::test]
async fn a_wild_pointer_reaches_nothing() {
    let (host, _directory) = host_with(WILD_POINTER).await;
    assert!(matches!(
        soon(failure(&host, "Hostile")).await,
        OperatorFailure::Trap { .. }
    ));
}

#[tokio::test]
async fn every_task_has_fresh_memory() {
    let (host, _directory) = host_with(STAINS_MEMORY).await;
    for _ in 0..8 {
        assert_eq!(run(&host, "Hostile").await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_loop_ends_at_its_deadline_and_delays_nobody() {
    // One thread for everything: the loop must give it up for the others to run at all.
    let (host, _directory) = host_with(LOOP).await;
    let deadline = Duration::from_millis(300);
    let looping = host.run(
        request("Hostile", "", &[]),
        memory(&[("kept", "1")]),
        deadline,
    );
    let beside = async {
        for _ in 0..10 {
            let storage = memory(&[]);
            let Ran { result, .. } = host
                .run(request("CounterOperator", "a", &[]), storage, PLENTY)
                .await;
            assert!(result.is_ok(), "{result:?}");
        }
    };
    let (
        Ran {
            result, storage, ..
        },
        (),
    ) = soon(Box::pin(async { tokio::join!(looping, beside) })).await;
    assert_eq!(
        result.unwrap_err().failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
    assert_eq!(records(storage).len(), 1, "the session comes back");
}

#[tokio::test]
async fn a_flood_of_log_lines_ends_at_its_deadline_and_delays_nobody() {
    let (host, _directory) = host_with(LOG_FLOOD).await;
    let deadline = Duration::from_millis(300);
    let flood = host.run(request("Hostile", "", &[]), memory(&[]), deadline);
    let beside = async {
        for _ in 0..20 {
            let running = host.run(request("CounterOperator", "a", &[]), memory(&[]), PLENTY);
            let Ran { result, .. } = running.await;
            assert!(result.is_ok(), "{result:?}");
        }
    };
    let (Ran { result, .. }, ()) = soon(Box::pin(async { tokio::join!(flood, beside) })).await;
    assert_eq!(
        result.unwrap_err().failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
}

#[tokio::test]
async fn dropping_the_future_stops_a_loop_and_frees_its_slot() {
    let (host, _directory) = host_with(LOOP).await;
    for _ in 0..4 {
        let looping = host.run(request("Hostile", "", &[]), memory(&[]), PLENTY);
        let cancelled = tokio::time::timeout(Duration::from_millis(30), looping).await;
        assert!(cancelled.is_err(), "a loop does not end by itself");
    }
    let storage = memory(&[]);
    let Ran { result, .. } =
        soon(host.run(request("CounterOperator", "a", &[]), storage, PLENTY)).await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn tasks_beyond_the_slots_wait_and_their_deadline_counts() {
    let (host, _directory) = host_with(LOOP).await;
    let task = |milliseconds| {
        let deadline = Duration::from_millis(milliseconds);
        host.run(
            request("Hostile", "", &[]),
            memory(&[("kept", "1")]),
            deadline,
        )
    };
    let ends = soon(async { tokio::join!(task(400), task(400), task(100)) }).await;
    let Ran {
        result: waiting,
        storage,
        ..
    } = ends.2;
    let deadline = Duration::from_millis(100);
    assert_eq!(
        waiting.unwrap_err().failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
    assert_eq!(records(storage).len(), 1, "the session comes back");
}

#[tokio::test]
async fn an_import_that_is_never_called_does_no_harm() {
    let (host, _directory) = host_with(NOTHING).await;
    assert_eq!(run(&host, "Hostile").await, Ok(vec![]));
}

#[tokio::test]
async fn busy_operators_leave_the_callers_threads_alone() {
    // What a worker does besides, its heartbeats above all, has only the one thread of this test.
    let (host, _directory) = host_with(LOOP).await;
    let looping = || {
        host.run(
            request("Hostile", "", &[]),
            memory(&[]),
            Duration::from_secs(1),
        )
    };
    let turns = async {
        let mut turns = 0;
        let end = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
        turns
    };
    let (_, _, turns) = soon(async { tokio::join!(looping(), looping(), turns) }).await;
    // Beside two loops that give up the thread every 10 ms, it has about 50.
    assert!(turns > 100, "{turns} turns in a second");
}
