//! `inspect`: what it tells of files that a worker would take, and of others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

#[path = "../../../worker/tests/host/hostile_component.rs"]
#[allow(dead_code, reason = "only some ways to misbehave are shown here")]
mod hostile_component;
mod support;

use std::path::Path;

use hostile_component::{Guest, NOTHING, component};
use operator_tool::inspect::component::{INTERFACES, Memory};
use operator_tool::inspect::{Kind, Report, inspect};
use support::{STANDARD, directory, file};

async fn look(name: &str, content: &[u8]) -> Report {
    let directory = directory(&[(name, content)]);
    inspect(&file(&directory, name), false).await.unwrap()
}

async fn reasons(content: &[u8]) -> String {
    look("it.wasm", content).await.reasons.join("\n")
}

#[tokio::test]
async fn the_operators_that_ship_are_told_and_accepted() {
    let report = look("std.wasm", STANDARD).await;
    assert_eq!((&report.reasons, &report.warnings), (&vec![], &vec![]));
    assert_eq!(report.bytes, STANDARD.len() as u64);
    assert_eq!(report.sha256.len(), 64);
    let text = report.text();
    for line in [
        "kind       component\n",
        "language   Rust\n",
        "import     marionette:operator/clock@1.0.0 (now)\n",
        "exports    classes run\n",
        "classes    AddOperator Collect CounterOperator IncrementOperator SplitRange SplitText Sum SumByKey SumOfPrimes Tally UpdateAndChainOperator WordCount\n",
        " bytes at first, no maximum of its own\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert!(text.ends_with("\naccepted\n"), "{text}");
    let json = report.json();
    assert_eq!(json["accepted"], true);
    assert_eq!(json["language"], "Rust");
    assert_eq!(json["imports"][1]["functions"][0], "read");
}

#[tokio::test]
async fn imports_that_no_worker_has_are_warned_of() {
    let guest = Guest {
        class: "A",
        run: NOTHING,
        imports_clock: true,
        ..Guest::default()
    };
    let report = look("it.wasm", &component(guest)).await;
    assert_eq!(report.reasons, Vec::<String>::new());
    let told = "it imports acme:clock/wall@1.0.0, which no worker has: it traps when called";
    assert_eq!(report.warnings, [told]);
}

#[tokio::test]
async fn a_class_name_with_a_space_is_a_reason() {
    let guest = Guest {
        class: "A B",
        run: NOTHING,
        ..Guest::default()
    };
    let reasons = reasons(&component(guest)).await;
    assert!(
        reasons.contains("its class name \"A B\" is not 1 to 128 bytes"),
        "{reasons}"
    );
}

#[tokio::test]
async fn all_reasons_are_told_at_once() {
    let text = r#"(component
        (import "marionette:operator/clock@2.0.0" (instance (export "now" (func (result u64)))))
        (core module (memory 1)) (core module (memory 2 3)) (core module (memory 1024)))"#;
    let report = look("it.wasm", &wat::parse_str(text).unwrap()).await;
    let reasons = report.reasons.join("\n");
    for reason in [
        "it does not export `classes`",
        "it does not export `run`",
        "it was built for version 2.0.0 of the contract, this worker has 1.0.0",
        "it has 3 memories; a worker gives it at most 2",
        "its memory begins with 67305472 bytes; a task has at most 67108864",
        "it is no operator component",
    ] {
        assert!(reasons.contains(reason), "{reason:?} is not in {reasons}");
    }
    let Kind::Component(component) = &report.kind else {
        panic!("{:?}", report.kind)
    };
    let maxima: Vec<_> = component
        .memories
        .iter()
        .map(|memory: &Memory| memory.maximum_bytes)
        .collect();
    assert_eq!(maxima, [None, Some(3 << 16), None]);
    assert!(report.text().contains("\nnot accepted:\n- "));
}

#[tokio::test]
async fn files_of_another_kind_are_named() {
    let module = wat::parse_str("(module)").unwrap();
    assert!(
        reasons(&module)
            .await
            .contains("core module, not a component")
    );
    assert!(
        reasons(b"text")
            .await
            .contains("neither a WebAssembly component nor")
    );
    assert!(
        reasons(b"\0asm\x0d\0\x01\0\xff")
            .await
            .contains("it is damaged: ")
    );
    assert!(
        reasons(b"\x7fELF")
            .await
            .contains("no native library of this machine")
    );
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(
        reasons(&program)
            .await
            .contains("it has no marionette_operators")
    );
    let missing = inspect(Path::new("/no/such/file"), false)
        .await
        .unwrap_err();
    assert!(missing.message.contains("/no/such/file cannot be read"));
}

#[test]
fn the_known_interfaces_are_those_of_the_contract() {
    let contract = include_str!("../../wit/operator.wit");
    for (interface, functions) in INTERFACES {
        let (_, body) = contract
            .split_once(&format!("\ninterface {interface} {{"))
            .unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        assert_eq!(
            body.matches(": func(").count(),
            functions.len(),
            "{interface}"
        );
        for function in functions {
            let name = function.rsplit('.').next().unwrap();
            assert!(
                body.contains(&format!("{name}: func(")),
                "{interface} {function}"
            );
        }
    }
    assert_eq!(contract.matches("\ninterface ").count(), INTERFACES.len());
}
