//! Operators in Rust that misbehave (`operators/hostile`): as the component that `MARIONETTE_HOSTILE_COMPONENT`
//! names (`scripts/check-operators`), otherwise as a native library.

use std::fs;
use std::time::Duration;

use worker::host::{OperatorFailure, OperatorHost, Ran};

use crate::native::{install, library};
use crate::support::{PLENTY, failure, host, memory, records, request, run, soon};

async fn guests() -> (OperatorHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    install(
        "MARIONETTE_HOSTILE_COMPONENT",
        "operators/hostile",
        "hostile",
        directory.path(),
    );
    let host = host(directory.path(), true).await;
    assert_eq!(host.problems(), []);
    (host, directory)
}

#[tokio::test]
async fn a_panic_says_what_and_where() {
    let (host, _directory) = guests().await;
    // Twice: the first must not cost the second anything.
    for _ in 0..2 {
        let (OperatorFailure::Panic { reason } | OperatorFailure::Trap { reason }) =
            failure(&host, "Panics").await
        else {
            panic!("neither panic nor trap")
        };
        assert!(reason.contains("no idea what to do with \"\""), "{reason}");
        assert!(reason.contains("src/lib.rs:"), "{reason}");
    }
}

#[tokio::test]
async fn an_operator_that_is_busy_for_ever_ends_at_its_deadline() {
    let (host, _directory) = guests().await;
    // More often than there are slots: each must be given back.
    for _ in 0..4 {
        let deadline = Duration::from_millis(50);
        let storage = memory(&[("any", "1")]);
        let Ran {
            result, storage, ..
        } = soon(host.run(request("Busy", "", &[]), storage, deadline)).await;
        assert_eq!(
            result.unwrap_err().failure,
            OperatorFailure::DeadlineExceeded { deadline }
        );
        assert_eq!(records(storage).len(), 1, "the session comes back");
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_does_not_fail_the_task() {
    let (host, _directory) = guests().await;
    assert_eq!(run(&host, "Chatters").await, Ok(vec![]));
}

#[tokio::test]
async fn the_output_is_bounded_to_the_byte() {
    let (host, _directory) = guests().await;
    let fill = async |bytes: usize| {
        let request = request("Fills", &bytes.to_string(), &[]);
        host.run(request, memory(&[]), PLENTY).await.result
    };
    let bytes_max = 16 << 20;
    assert_eq!(
        fill(bytes_max).await.map(|items| items[0].value.len()),
        Ok(bytes_max)
    );
    let failure = fill(bytes_max + 1).await.unwrap_err().failure;
    assert_eq!(failure, OperatorFailure::OutputTooLarge { bytes_max });
}

#[tokio::test]
async fn a_library_of_another_build_is_refused_with_both_fingerprints() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(library("operators/hostile", "hostile")).unwrap();
    let (sdk, other) = (b"marionette-sdk 0.1.0, ABI", b"marionette-sdk 9.9.9, ABI");
    let place = bytes
        .windows(sdk.len())
        .position(|window| window == sdk)
        .unwrap();
    bytes[place..place + other.len()].copy_from_slice(other);
    fs::write(directory.path().join("other.so"), bytes).unwrap();
    let host = host(directory.path(), true).await;
    let problem = host.problems()[0].to_string();
    for part in [
        "other.so",
        "rustc 1.",
        "marionette-sdk 9.9.9",
        "marionette-sdk 0.1.0",
        "build it again",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
}
