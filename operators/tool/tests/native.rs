//! Native libraries: the standard operators built as one, by cargo.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use marionette_sdk::native::{ABI_VERSION, FINGERPRINT};
use operator_tool::inspect::{Kind, inspect};
use operator_tool::once::run_once;
use operator_tool::rehearse::Setup;
use operator_tool::unusable::Verdict;
use support::{directory, file, said};

/// The library, built by the compiler that builds this test.
fn library() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = repository.join("target/operators/native-tests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--manifest-path"])
        .arg(repository.join("operators/std/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    target.join("debug/libmarionette_std.so")
}

/// The bytes with another text of the same length where the one stands.
fn changed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut changed = bytes.to_vec();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, found)| (found == from.as_bytes()).then_some(at))
        .collect();
    for at in places {
        changed.splice(at..at + from.len(), to.bytes());
    }
    changed
}

#[tokio::test]
async fn a_library_is_told_from_its_bytes_and_its_classes_on_request() {
    let library = library();
    let report = inspect(&library, false).await.unwrap();
    assert_eq!(report.reasons, Vec::<String>::new());
    assert!(report.warnings[0].contains("--allow-native"), "{report:?}");
    assert_eq!(report.classes, Vec::<String>::new());
    let Kind::Library(Some(found)) = &report.kind else {
        panic!("{report:?}")
    };
    assert_eq!(found.abi_version, ABI_VERSION);
    assert_eq!(found.fingerprint, FINGERPRINT);
    let asked = inspect(&library, true).await.unwrap();
    assert_eq!(asked.classes[0], "AddOperator");
    assert_eq!(asked.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_library_of_another_compiler_is_refused_with_both_fingerprints() {
    let theirs = FINGERPRINT.replacen("rustc", "other", 1);
    let bytes = changed(&std::fs::read(library()).unwrap(), FINGERPRINT, &theirs);
    let directory = directory(&[("it.so", &bytes)]);
    // Also when it may run: nothing of it does.
    for allow_native in [false, true] {
        let report = inspect(&file(&directory, "it.so"), allow_native).await;
        let reasons = report.unwrap().reasons.join("\n");
        assert!(reasons.contains(&format!("by \"{theirs}\"")), "{reasons}");
        assert!(
            reasons.contains(&format!("by \"{FINGERPRINT}\"")),
            "{reasons}"
        );
    }
}

#[tokio::test]
async fn one_shot_runs_a_library_only_when_that_is_allowed() {
    let library = library();
    let setup = Setup {
        class: "CounterOperator".to_owned(),
        input: "k".to_owned(),
        ..Setup::default()
    };
    let refused = said(async |terminal| run_once(Some(&library), false, &setup, terminal).await);
    assert!(
        refused
            .await
            .refusal()
            .contains("not loaded without --allow-native")
    );
    let ran = said(async |terminal| run_once(Some(&library), true, &setup, terminal).await).await;
    assert_eq!(ran.verdict.unwrap(), Verdict::Good);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("1\n", "record  \"k\": nothing -> \"1\"\n")
    );
}
