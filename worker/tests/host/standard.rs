//! The standard operators: one table of expectations, for the component (the embedded one, or the one that
//! `MARIONETTE_STD_COMPONENT` names, which is how `scripts/check-operators` tests a fresh build) and for
//! the native library.

use std::any::Any;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use common::types::{Record, Version};
use worker::host::{
    MemoryStorage, OperatorFailure, OperatorHost, Ran, Source, StorageCalls, StorageError,
    UpdateError,
};

use crate::support::{PLENTY, host, memory, records, request};

/// Class, input, items of the stage before, records before; then the output, or the error's text; records after.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    Result<&'static str, &'static str>,
    &'static [(&'static str, &'static str)],
);

const CASES: &[Case] = &[
    (
        "AddOperator",
        "13",
        &[],
        &[("13", "1"), ("14", "x")],
        Ok("2"),
        &[("13", "2"), ("14", "x")],
    ),
    (
        "AddOperator",
        "13",
        &["old"],
        &[("13", " -1 "), ("14", "")],
        Ok("0"),
        &[("13", "0"), ("14", "")],
    ),
    (
        "AddOperator",
        "14",
        &[],
        &[("14", "one_ahead_of_13"), ("15", "1")],
        Ok("int_conversion_failed"),
        &[("14", "int_conversion_failed"), ("15", "1")],
    ),
    (
        "AddOperator",
        "13",
        &[],
        &[("13", "1")],
        Err("operator AddOperator in run 7: record \"14\": not found"),
        &[("13", "1")],
    ),
    (
        "AddOperator",
        "13",
        &[],
        &[],
        Err("operator AddOperator in run 7: record \"13\": not found"),
        &[],
    ),
    (
        "AddOperator",
        "x",
        &[],
        &[("x", "1")],
        Err(
            "operator AddOperator in run 7: invalid request: the input \"x\" is not an integer, so there is \
             no record one ahead of it",
        ),
        &[("x", "1")],
    ),
    (
        "UpdateAndChainOperator",
        "13",
        &["2"],
        &[("13", "2")],
        Ok("end"),
        &[("13", "success")],
    ),
    (
        "UpdateAndChainOperator",
        "13",
        &["2"],
        &[("13", "3")],
        Ok("end"),
        &[("13", "3")],
    ),
    (
        "UpdateAndChainOperator",
        "13",
        &[],
        &[("13", "3")],
        Ok("end"),
        &[("13", "3")],
    ),
    ("UpdateAndChainOperator", "13", &["2"], &[], Ok("end"), &[]),
    (
        "UpdateAndChainOperator",
        "13",
        &["2", "3"],
        &[],
        Err(
            "operator UpdateAndChainOperator in run 7: invalid request: the stage before returned 2 items; \
             this operator continues a chain of one",
        ),
        &[],
    ),
    ("IncrementOperator", "x", &[], &[], Ok("1"), &[("7", "1")]),
    ("SplitRange", "[10, 20]", &[], &[], Ok("10 20"), &[]),
    ("SumOfPrimes", "", &["10 20"], &[], Ok("60"), &[]),
    ("Sum", "", &["60", "-2"], &[], Ok("58"), &[]),
    ("SplitText", "a text", &[], &[], Ok("a text"), &[]),
    ("WordCount", "", &["a a", " a\n"], &[], Ok("3"), &[]),
    ("Collect", "", &["any"], &[], Ok("any"), &[]),
    (
        "SumByKey",
        "",
        &["1"],
        &[],
        Err("operator SumByKey in run 7: invalid request: an item has no key"),
        &[],
    ),
    (
        "IncrementOperator",
        "x",
        &[],
        &[("7", "41")],
        Ok("42"),
        &[("7", "42")],
    ),
    (
        "CounterOperator",
        "visits",
        &[],
        &[],
        Ok("1"),
        &[("visits", "1")],
    ),
    (
        "CounterOperator",
        "visits",
        &[],
        &[("visits", "9")],
        Ok("10"),
        &[("visits", "10")],
    ),
    (
        "CounterOperator",
        "visits",
        &[],
        &[("visits", "many")],
        Err("operator CounterOperator in run 7: record \"visits\" is not an integer"),
        &[("visits", "many")],
    ),
];

/// Runs the whole table.
pub async fn expect_table(host: &OperatorHost) {
    for (class, input, items, before, output, after) in CASES {
        let storage = memory(before);
        let Ran {
            result, storage, ..
        } = host
            .run(request(class, input, items), storage, PLENTY)
            .await;
        let result =
            result.map(|items| items.into_iter().map(|item| item.value).collect::<Vec<_>>());
        let place = format!("{class} on {input:?} with {before:?}");
        match (result, output) {
            (Ok(values), Ok(text)) => assert_eq!(values, [Bytes::from(*text)], "{place}"),
            (Err(error), Err(text)) => assert_eq!(error.to_string(), *text, "{place}"),
            (result, expected) => panic!("{place}: {result:?} instead of {expected:?}"),
        }
        let found: Vec<_> = records(storage)
            .into_iter()
            .map(|(id, record)| (id, record.value))
            .collect();
        let expected: Vec<_> = after
            .iter()
            .map(|(id, value)| ((*id).to_owned(), Bytes::from(*value)))
            .collect();
        assert_eq!(found, expected, "{place}");
    }
}

#[tokio::test]
async fn the_component_does_what_the_table_says() {
    let directory = tempfile::tempdir().unwrap();
    let fresh = std::env::var_os("MARIONETTE_STD_COMPONENT");
    if let Some(component) = &fresh {
        std::fs::copy(component, directory.path().join("std.wasm")).unwrap();
    }
    let host = host(directory.path(), false).await;
    for class in host.classes() {
        assert_eq!(
            class.source == Source::BuiltIn,
            fresh.is_none(),
            "{class:?}"
        );
    }
    expect_table(&host).await;
}

/// Answers nothing.
struct Silent(MemoryStorage);

#[async_trait]
impl StorageCalls for Silent {
    async fn read(&mut self, _: &str) -> Result<Record, StorageError> {
        std::future::pending().await
    }

    async fn write(&mut self, _: &str, _: Bytes) -> Result<Version, StorageError> {
        std::future::pending().await
    }

    async fn update_if_value_is(
        &mut self,
        _: &str,
        _: Option<Bytes>,
        _: Bytes,
    ) -> Result<Version, UpdateError> {
        std::future::pending().await
    }

    async fn update_if_version_is(
        &mut self,
        _: &str,
        _: Version,
        _: Bytes,
    ) -> Result<Version, UpdateError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_storage_that_is_silent_ends_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(Path::new(directory.path()), false).await;
    let deadline = std::time::Duration::from_millis(50);
    let storage = Box::new(Silent(MemoryStorage::of(&[("kept", "1")])));
    let Ran {
        result, storage, ..
    } = host
        .run(request("CounterOperator", "a", &[]), storage, deadline)
        .await;
    let error = result.unwrap_err();
    assert_eq!(
        error.failure,
        OperatorFailure::DeadlineExceeded { deadline }
    );
    assert!(
        error
            .to_string()
            .ends_with("exceeded its deadline of 50 ms"),
        "{error}"
    );
    let storage: Box<dyn Any> = storage;
    let Silent(kept) = *storage.downcast().unwrap();
    assert_eq!(kept.records.len(), 1, "the session comes back");
}

#[test]
fn what_can_pass_is_worth_another_attempt() {
    let storage = |error| OperatorFailure::Storage {
        id: "1".to_owned(),
        error,
    };
    assert!(storage(StorageError::Overloaded).is_worth_retrying());
    assert!(!storage(StorageError::NotFound).is_worth_retrying());
    assert!(!OperatorFailure::InvalidRequest(String::new()).is_worth_retrying());
}
