//! What hostile tasks leave behind in the worker's memory: nothing. A program of its own, because the memory of a process
//! is that of all its tests.

// Helpers outside of test functions fail a test in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "host/hostile_component.rs"]
mod hostile_component;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "host/support.rs"]
mod support;

use std::time::Duration;

use hostile_component::{
    AMPLIFIED_OUTPUT, BIG_OUTPUT, Guest, LOOP, MEMORY_HOG, STACK_OVERFLOW, TRAP, component,
};
use support::{PLENTY, host, memory, request, soon};
use worker::host::{OperatorHost, Ran};

/// Writes to nearly as much memory as it may have, then gives up.
const MEMORY_FILLER: &str = "(drop (memory.grow (i32.const 1000))) \
     (memory.fill (i32.const 4096) (i32.const 7) (i32.const 65000000)) (unreachable)";
const HOSTILE: [(&str, &str); 7] = [
    ("AmplifiedOutput", AMPLIFIED_OUTPUT),
    ("BigOutput", BIG_OUTPUT),
    ("Loop", LOOP),
    ("MemoryFiller", MEMORY_FILLER),
    ("MemoryHog", MEMORY_HOG),
    ("StackOverflow", STACK_OVERFLOW),
    ("Trap", TRAP),
];
/// What allocators and threads may keep besides.
const SLACK_BYTES: u64 = 8 << 20;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

async fn count(host: &OperatorHost) {
    let storage = memory(&[]);
    let Ran { result, .. } = host
        .run(request("CounterOperator", "a", &[]), storage, PLENTY)
        .await;
    result.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_hostile_tasks_the_memory_is_what_it_was() {
    let directory = tempfile::tempdir().unwrap();
    for (class, run) in HOSTILE {
        let guest = Guest {
            class,
            run,
            ..Guest::default()
        };
        let file = directory.path().join(class).with_extension("wasm");
        std::fs::write(file, component(guest)).unwrap();
    }
    let host = host(directory.path(), false).await;
    for _ in 0..100 {
        count(&host).await;
    }
    let before = resident_bytes();
    for _ in 0..5 {
        let tasks = HOSTILE.map(|(class, _)| {
            let deadline = Duration::from_secs(2);
            host.run(request(class, "", &[]), memory(&[]), deadline)
        });
        for Ran { result, .. } in soon(futures::future::join_all(tasks)).await {
            assert!(result.is_err());
        }
    }
    let bound = before + before / 5 + SLACK_BYTES;
    // The last of them may be giving back its memory.
    soon(async {
        while resident_bytes() > bound {
            count(&host).await;
        }
    })
    .await;
    println!("before {before} bytes, after {}", resident_bytes());
}
