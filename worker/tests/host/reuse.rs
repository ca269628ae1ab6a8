//! Instances that an application lets its tasks share.

use std::time::Duration;

use common::types::Item;
use worker::host::{OperatorError, OperatorFailure, OperatorHost, OperatorRequest};

use crate::hostile_component::{
    GROWS_LATER, Guest, MINDS_COMPANY, RETURNS_ONCE, STAINS_MEMORY, component,
};
use crate::support::{PLENTY, host, memory, request, run, soon};

async fn host_with(run: &str) -> (OperatorHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for class in ["One", "Two", "Three"] {
        let guest = Guest {
            class,
            run,
            ..Guest::default()
        };
        let file = directory.path().join(class).with_extension("wasm");
        std::fs::write(file, component(guest)).unwrap();
    }
    (host(directory.path(), false).await, directory)
}

fn reusing(class: &str) -> OperatorRequest {
    let mut request = request(class, "", &[]);
    request.options.insert("reuse".into(), "yes".into());
    request
}

async fn reuse_within(
    host: &OperatorHost,
    class: &str,
    deadline: Duration,
) -> Result<Vec<Item>, OperatorError> {
    let running = host.run(reusing(class), memory(&[]), deadline);
    soon(running).await.result
}

async fn reuse(host: &OperatorHost, class: &str) -> Result<Vec<Item>, OperatorError> {
    reuse_within(host, class, PLENTY).await
}

#[tokio::test]
async fn tasks_share_memory_if_they_say_so_and_none_after_a_trap() {
    let (host, _directory) = host_with(STAINS_MEMORY).await;
    for _ in 0..3 {
        assert_eq!(reuse(&host, "One").await, Ok(vec![]));
        assert_eq!(run(&host, "One").await, Ok(vec![]), "it did not ask for it");
        assert_eq!(reuse(&host, "Two").await, Ok(vec![]), "another component");
        for class in ["One", "Two"] {
            let stained = reuse(&host, class).await.unwrap_err().failure;
            assert!(matches!(stained, OperatorFailure::Trap { .. }), "{stained}");
        }
    }
}

#[tokio::test]
async fn an_instance_is_discarded_after_its_deadline_and_when_the_run_is_cancelled() {
    let (host, _directory) = host_with(RETURNS_ONCE).await;
    let deadline = Duration::from_millis(30);
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
    let exceeded = reuse_within(&host, "One", deadline).await.unwrap_err();
    assert_eq!(
        exceeded.failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
    let cancelled = tokio::time::timeout(deadline, reuse(&host, "One")).await;
    assert!(cancelled.is_err());
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
}

#[tokio::test]
async fn an_instance_that_met_its_memory_limit_is_discarded_even_if_it_ends_well() {
    let (host, _directory) = host_with(GROWS_LATER).await;
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
    let limit = reuse(&host, "One").await.unwrap_err().failure;
    assert!(
        matches!(limit, OperatorFailure::MemoryLimit { .. }),
        "{limit}"
    );
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
}

#[tokio::test]
async fn what_was_quick_and_is_not_any_more_leaves_its_callers_thread() {
    let (host, _directory) = host_with(RETURNS_ONCE).await;
    // Often enough for the host to take the component for quick, and to begin its tasks on this thread.
    for _ in 0..20 {
        assert_eq!(run(&host, "One").await, Ok(vec![]));
    }
    assert_eq!(reuse(&host, "One").await, Ok(vec![]));
    let deadline = Duration::from_millis(500);
    let looping = reuse_within(&host, "One", deadline);
    let beside = async {
        for _ in 0..20 {
            assert_eq!(run(&host, "Two").await, Ok(vec![]));
        }
    };
    let (looped, ()) = soon(Box::pin(async { tokio::join!(looping, beside) })).await;
    assert_eq!(
        looped.unwrap_err().failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
}

#[tokio::test]
async fn idle_instances_are_bounded_and_starve_nobody() {
    let (host, _directory) = host_with(STAINS_MEMORY).await;
    // Three components, two slots: the first to become idle has gone when it is wanted again.
    for _ in 0..4 {
        for class in ["One", "Two", "Three"] {
            assert_eq!(reuse(&host, class).await, Ok(vec![]));
        }
        let (one, two) = tokio::join!(run(&host, "One"), run(&host, "Two"));
        assert_eq!((one, two), (Ok(vec![]), Ok(vec![])));
    }
}

#[tokio::test]
async fn two_tasks_are_never_in_one_instance() {
    let (host, _directory) = host_with(MINDS_COMPANY).await;
    let tasks = (0..8).map(|_| reuse(&host, "One"));
    for result in futures::future::join_all(tasks).await {
        assert_eq!(result, Ok(vec![]));
    }
}
