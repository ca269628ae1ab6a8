//! A worker that starts again does not compile again.

use std::fs;
use std::path::Path;

use worker::host::{CodeCacheUse, HostConfig, OperatorHost};

use crate::hostile_component::{Guest, NOTHING, component};
use crate::support::run;

async fn started(operators: &Path, cache: &Path) -> OperatorHost {
    let config = HostConfig {
        directory: Some(operators.to_owned()),
        code_cache: Some(cache.to_owned()),
        ..HostConfig::default()
    };
    OperatorHost::start(config).await.unwrap()
}

fn usage(loaded: u64, compiled: u64) -> CodeCacheUse {
    CodeCacheUse { loaded, compiled }
}

#[tokio::test]
async fn what_one_host_has_compiled_the_next_one_loads() {
    let (operators, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let guest = Guest {
        class: "Mine",
        run: NOTHING,
        ..Guest::default()
    };
    fs::write(operators.path().join("mine.wasm"), component(guest)).unwrap();
    let first = started(operators.path(), cache.path()).await;
    assert_eq!(first.code_cache_use(), usage(0, 2), "it and the built-in");
    let beside = started(operators.path(), cache.path()).await;
    assert_eq!(beside.code_cache_use(), usage(2, 0));
    for host in [first, beside] {
        assert_eq!(run(&host, "Mine").await, Ok(vec![]));
    }
    for file in fs::read_dir(cache.path()).unwrap() {
        fs::write(file.unwrap().path(), "torn").unwrap();
    }
    let again = started(operators.path(), cache.path()).await;
    assert_eq!(again.code_cache_use(), usage(0, 2));
    assert_eq!(again.problems(), []);
    assert_eq!(run(&again, "Mine").await, Ok(vec![]));
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_costs_only_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let host = started(directory.path(), &file.join("cache")).await;
    assert_eq!(host.code_cache_use(), usage(0, 1));
    assert_eq!(host.problems(), []);
}
