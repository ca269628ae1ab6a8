//! Native operators in processes of their own: `operators/hostile`, run by this test program itself.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::node::PARENT_VARIABLE;
use common::types::{Item, Record, Version};
use tokio::sync::Barrier;
use worker::host::{
    ChildCommand, HostConfig, OperatorFailure, OperatorHost, Ran, StorageCalls, StorageError,
    UpdateError, serve_native_tasks,
};

use crate::native::library;
use crate::support::{PLENTY, failure, memory, records, request, run, soon};

/// What the children of the other tests run. As a test, it is nothing.
#[test]
fn child() {
    if std::env::var_os(PARENT_VARIABLE).is_some() {
        pcs::die_with_parent().unwrap();
        serve_native_tasks().unwrap();
    }
}

/// A host whose children have `mark` on their command lines.
async fn guests(mark: &str) -> (OperatorHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(
        library("operators/hostile", "hostile"),
        directory.path().join("hostile.so"),
    )
    .unwrap();
    let arguments = ["isolated::child", "--exact", mark];
    let config = HostConfig {
        directory: Some(directory.path().to_owned()),
        allow_native: true,
        native_isolated: Some(ChildCommand {
            program: "/proc/self/exe".into(),
            arguments: arguments.map(Into::into).to_vec(),
        }),
        slots: 2,
        ..HostConfig::default()
    };
    let host = OperatorHost::start(config).await.unwrap();
    assert_eq!(host.problems(), []);
    (host, directory)
}

fn children(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let command_lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    command_lines
        .filter(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == mark.as_bytes())
        })
        .count()
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The process that a task ran in, and how many it has had.
async fn counted(host: &OperatorHost) -> (String, String) {
    let storage = memory(&[]);
    let Ran {
        result, storage, ..
    } = host
        .run(request("CountsTasks", "", &[]), storage, PLENTY)
        .await;
    assert!(records(storage).contains_key("kept"), "its calls arrive");
    process_and_count(&result.unwrap())
}

fn process_and_count(items: &[Item]) -> (String, String) {
    let text = String::from_utf8(items.first().unwrap().value.to_vec()).unwrap();
    let (process, tasks) = text.split_once(' ').unwrap();
    (process.to_owned(), tasks.to_owned())
}

/// A storage in which a write ends when there are as many as the barrier waits for.
struct Meeting(Arc<Barrier>);

#[async_trait]
impl StorageCalls for Meeting {
    async fn read(&mut self, _: &str) -> Result<Record, StorageError> {
        Err(StorageError::NotFound)
    }

    async fn write(&mut self, _: &str, _: Bytes) -> Result<Version, StorageError> {
        self.0.wait().await;
        Ok(Version::NULL)
    }

    async fn update_if_value_is(
        &mut self,
        _: &str,
        _: Option<Bytes>,
        _: Bytes,
    ) -> Result<Version, UpdateError> {
        Err(UpdateError::Storage(StorageError::NotFound))
    }

    async fn update_if_version_is(
        &mut self,
        _: &str,
        _: Version,
        _: Bytes,
    ) -> Result<Version, UpdateError> {
        Err(UpdateError::Storage(StorageError::NotFound))
    }
}

#[tokio::test]
async fn tasks_run_in_a_process_that_is_kept() {
    let (host, _directory) = guests("kept").await;
    let (process, first) = counted(&host).await;
    assert_ne!(process, std::process::id().to_string());
    assert_eq!(first, "1");
    assert_eq!(counted(&host).await, (process, "2".to_owned()));
    let barrier = Arc::new(Barrier::new(2));
    let at_once = || {
        let meeting = Box::new(Meeting(barrier.clone()));
        host.run(request("CountsTasks", "", &[]), meeting, PLENTY)
    };
    let (one, other) = tokio::join!(at_once(), at_once());
    let process = |ran: Ran| process_and_count(&ran.result.unwrap()).0;
    assert_ne!(process(one), process(other), "one task at a time");
    assert!(children("kept") <= 2);
}

#[tokio::test]
async fn a_segmentation_fault_costs_one_task() {
    let (host, _directory) = guests("segfault").await;
    let before = counted(&host).await;
    for _ in 0..3 {
        let reason = "signal SIGSEGV".to_owned();
        let crashed = soon(failure(&host, "Segfaults")).await;
        assert_eq!(crashed, OperatorFailure::Crash { reason });
        assert_eq!(crashed.to_string(), "crashed: signal SIGSEGV");
    }
    let after = counted(&host).await;
    assert_ne!(before.0, after.0, "the child is replaced");
    assert_eq!(after.1, "1");
}

#[tokio::test]
async fn a_panic_is_said_as_in_the_worker_and_ends_no_process() {
    let (host, _directory) = guests("panic").await;
    let (process, _) = counted(&host).await;
    let OperatorFailure::Panic { reason } = failure(&host, "Panics").await else {
        panic!("no panic")
    };
    assert!(reason.contains("no idea what to do with \"\""), "{reason}");
    assert_eq!(counted(&host).await.0, process);
}

#[tokio::test]
async fn the_deadline_ends_what_nothing_else_can() {
    let (host, _directory) = guests("deadline").await;
    let deadline = Duration::from_millis(100);
    // More often than there are slots: each must be given back.
    for class in ["Spins", "Busy", "Spins", "Busy", "Spins"] {
        let running = host.run(request(class, "", &[]), memory(&[]), deadline);
        let Ran { result, .. } = soon(running).await;
        assert_eq!(
            result.unwrap_err().failure,
            OperatorFailure::DeadlineExceeded { deadline }
        );
    }
    assert_eq!(counted(&host).await.1, "1", "who was stopped is not kept");
    until(|| children("deadline") == 1).await;
}

#[tokio::test]
async fn an_output_beyond_the_limit_is_refused() {
    let (host, _directory) = guests("output").await;
    let bytes_max = 16 << 20;
    let request = request("Fills", &(bytes_max + 1).to_string(), &[]);
    let running = host.run(request, memory(&[]), PLENTY);
    let failure = soon(running).await.result.unwrap_err().failure;
    assert_eq!(failure, OperatorFailure::OutputTooLarge { bytes_max });
    assert!(run(&host, "Chatters").await.is_ok());
}

#[tokio::test]
async fn an_output_that_no_message_holds_is_not_even_read() {
    let (host, _directory) = guests("flood").await;
    let process = counted(&host).await.0;
    let request = request("FillsNatively", &(300_u32 << 20).to_string(), &[]);
    let running = host.run(request, memory(&[]), PLENTY);
    let failure = soon(running).await.result.unwrap_err().failure;
    let bytes_max = 16 << 20;
    assert_eq!(failure, OperatorFailure::OutputTooLarge { bytes_max });
    assert_ne!(counted(&host).await.0, process, "its memory goes with it");
}

#[tokio::test]
async fn no_child_outlives_its_host() {
    let (host, directory) = guests("outlives").await;
    counted(&host).await;
    let running = host.run(request("Spins", "", &[]), memory(&[]), PLENTY);
    let stopped = tokio::time::timeout(Duration::from_millis(100), running).await;
    assert!(stopped.is_err());
    drop((host, directory));
    until(|| children("outlives") == 0).await;
}
