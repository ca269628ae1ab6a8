//! A storage in memory, and short ways to run an operator on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::types::{Item, Record};
use worker::host::{
    HostConfig, MemoryStorage, OperatorError, OperatorFailure, OperatorHost, OperatorRequest, Ran,
    StorageCalls,
};

/// Long enough never to be the reason of a failure.
pub const PLENTY: Duration = Duration::from_mins(1);

/// Each record written once.
pub fn memory(records: &[(&str, &str)]) -> Box<dyn StorageCalls> {
    Box::new(MemoryStorage::of(records))
}

/// The storage that came back with a result, to look into.
pub fn records(storage: Box<dyn StorageCalls>) -> BTreeMap<String, Record> {
    MemoryStorage::back(storage).unwrap_or_default().records
}

pub fn request(class: &str, input: &str, items: &[&str]) -> OperatorRequest {
    OperatorRequest {
        class: class.to_owned(),
        run: 7,
        attempt: 1,
        input: input.to_owned(),
        items: items
            .iter()
            .map(|text| Item::plain((*text).to_owned()))
            .collect(),
        ..OperatorRequest::default()
    }
}

pub async fn host(directory: &Path, allow_native: bool) -> OperatorHost {
    let config = HostConfig {
        directory: Some(directory.to_owned()),
        allow_native,
        slots: 2,
        ..HostConfig::default()
    };
    OperatorHost::start(config).await.expect("the host starts")
}

/// Runs on no records, with plenty of time.
pub async fn run(host: &OperatorHost, class: &str) -> Result<Vec<Item>, OperatorError> {
    let Ran { result, .. } = host.run(request(class, "", &[]), memory(&[]), PLENTY).await;
    result
}

pub async fn failure(host: &OperatorHost, class: &str) -> OperatorFailure {
    run(host, class).await.expect_err("the task fails").failure
}

/// Ends the test when something that must not wait does.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PLENTY, future)
        .await
        .expect("it ends in bounded time")
}
