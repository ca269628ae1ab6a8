//! The example that authors copy: as the component that `MARIONETTE_HELLO_COMPONENT` names (which is how
//! `scripts/check-operators` tests a fresh build), otherwise as a native library.

use bytes::Bytes;
use worker::host::Ran;

use crate::native::install;
use crate::support::{PLENTY, host, memory, request};

#[tokio::test]
async fn the_example_greets_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    install(
        "MARIONETTE_HELLO_COMPONENT",
        "operators/examples/rust",
        "hello",
        directory.path(),
    );
    let host = host(directory.path(), true).await;
    let mut storage = memory(&[]);
    for greeting in ["Hello, Ada! (1)", "Hello, Ada! (2)"] {
        let Ran {
            result,
            storage: returned,
            ..
        } = host
            .run(request("HelloOperator", "Ada", &[]), storage, PLENTY)
            .await;
        storage = returned;
        assert_eq!(result.unwrap()[0].value, Bytes::from(greeting));
    }
    let Ran { result, .. } = host
        .run(request("HelloOperator", " ", &[]), storage, PLENTY)
        .await;
    assert_eq!(
        result.unwrap_err().to_string(),
        "operator HelloOperator in run 7: invalid request: nobody to greet: the input is empty"
    );
}
