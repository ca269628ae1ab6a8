//! Operators from a directory: found, preferred, refused, replaced.

use std::fs;

use worker::host::{HostConfig, OperatorFailure, OperatorHost, Source};

use crate::hostile_component::{ERROR, Guest, LOOP, NOTHING, TRAP, component};
use crate::support::{failure, host, run, soon};

fn guest(class: &str, run: &str) -> Vec<u8> {
    component(Guest {
        class,
        run,
        ..Guest::default()
    })
}

fn names(host: &OperatorHost) -> Vec<String> {
    host.classes().into_iter().map(|info| info.class).collect()
}

const BUILT_IN: [&str; 12] = [
    "AddOperator",
    "Collect",
    "CounterOperator",
    "IncrementOperator",
    "SplitRange",
    "SplitText",
    "Sum",
    "SumByKey",
    "SumOfPrimes",
    "Tally",
    "UpdateAndChainOperator",
    "WordCount",
];

#[tokio::test]
async fn without_a_directory_there_are_the_built_in_classes() {
    let host = OperatorHost::start(HostConfig::default()).await.unwrap();
    assert_eq!(names(&host), BUILT_IN);
    assert_eq!(host.problems(), []);
}

#[tokio::test]
async fn an_unknown_class_names_the_nearest() {
    let host = OperatorHost::start(HostConfig::default()).await.unwrap();
    let error = run(&host, "AddOperater").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "operator AddOperater in run 7: unknown class; did you mean AddOperator?"
    );
}

#[tokio::test]
async fn a_file_that_appears_later_is_found_when_its_class_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let host = host(directory.path(), false).await;
    assert!(matches!(
        failure(&host, "Late").await,
        OperatorFailure::UnknownClass { .. }
    ));
    fs::write(directory.path().join("late.wasm"), guest("Late", NOTHING)).unwrap();
    assert_eq!(host.knows("Late").await, Ok(()));
    assert_eq!(run(&host, "Late").await, Ok(vec![]));
}

#[tokio::test]
async fn a_file_beats_the_built_in_class_until_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.wasm");
    fs::write(&file, guest("AddOperator", ERROR)).unwrap();
    let host = host(directory.path(), false).await;
    let source = || {
        host.classes()
            .into_iter()
            .find(|info| info.class == "AddOperator")
            .unwrap()
            .source
    };
    assert_eq!(source(), Source::File(file.clone()));
    assert_eq!(
        failure(&host, "AddOperator").await,
        OperatorFailure::Failed("I am unwell".to_owned())
    );
    fs::remove_file(file).unwrap();
    host.rescan().await;
    assert_eq!(source(), Source::BuiltIn);
}

#[tokio::test]
async fn a_class_in_two_files_is_an_error_that_names_both() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["one.wasm", "two.wasm"] {
        fs::write(directory.path().join(name), guest("Twin", NOTHING)).unwrap();
    }
    let host = host(directory.path(), false).await;
    let error = run(&host, "Twin").await.unwrap_err().to_string();
    assert!(
        error.contains("one.wasm") && error.contains("two.wasm"),
        "{error}"
    );
    let problems: Vec<String> = host.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("one.wasm") && problems[0].contains("two.wasm"),
        "{problems:?}"
    );
    assert_eq!(names(&host), BUILT_IN, "the others are usable");
    fs::remove_file(directory.path().join("one.wasm")).unwrap();
    host.rescan().await;
    assert_eq!(run(&host, "Twin").await, Ok(vec![]));
}

#[tokio::test]
async fn broken_files_are_named_and_the_others_usable() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    put("empty.wasm", b"");
    put("module.wasm", &wat::parse_str("(module)").unwrap());
    put("nothing.wasm", &wat::parse_str("(component)").unwrap());
    put("notes.txt", b"not looked at");
    put("odd.wasm", &guest("Two Words", NOTHING));
    put(
        "trap.wasm",
        &component(Guest {
            class: "T",
            run: NOTHING,
            classes: TRAP,
            ..Guest::default()
        }),
    );
    put("fine.wasm", &guest("Fine", NOTHING));
    let host = host(directory.path(), false).await;
    let problems: Vec<String> = host
        .problems()
        .iter()
        .map(|problem| {
            format!(
                "{}: {}",
                problem.path.file_name().unwrap().display(),
                problem.reason
            )
        })
        .collect();
    let expected = [
        "empty.wasm: it is no operator component",
        "module.wasm: it is no operator component",
        "nothing.wasm: it is no operator component",
        "odd.wasm: its class name \"Two Words\" is not 1 to 128 bytes without space",
        "trap.wasm: asked for its classes, it trapped: wasm `unreachable` instruction executed",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}");
    }
    assert_eq!(run(&host, "Fine").await, Ok(vec![]));
    put("odd.wasm", &guest("Word", NOTHING));
    assert_eq!(
        run(&host, "Word").await,
        Ok(vec![]),
        "a repaired file is read again"
    );
}

#[tokio::test]
async fn a_file_that_never_names_its_classes_does_not_hold_up_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest {
        class: "L",
        run: NOTHING,
        classes: LOOP,
        ..Guest::default()
    };
    fs::write(directory.path().join("loop.wasm"), component(guest)).unwrap();
    let host = soon(host(directory.path(), false)).await;
    assert_eq!(
        host.problems()[0].reason,
        "it did not name its classes within 5s"
    );
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_a_problem_that_passes() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("operators");
    let host = host(&directory, false).await;
    assert!(
        host.problems()[0]
            .to_string()
            .contains("the directory cannot be read")
    );
    assert_eq!(names(&host), BUILT_IN);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("late.wasm"), guest("Late", NOTHING)).unwrap();
    assert_eq!(run(&host, "Late").await, Ok(vec![]));
    assert_eq!(host.problems(), []);
}
