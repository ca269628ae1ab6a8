//! Each operator against a host in memory: `cargo test` in `operators/std`, no cluster, no WASM.

use marionette_sdk::OperatorError;
use marionette_sdk::testing::{MemoryHost, request};

fn run(
    class: &str,
    input: &str,
    items: &[&str],
    host: &mut MemoryHost,
) -> Result<String, OperatorError> {
    let items = marionette_sdk::run(crate::OPERATORS, class, &request(input, items), host)?;
    let [item] = items.as_slice() else {
        panic!("one item expected, found {items:?}")
    };
    Ok(item.text()?.to_owned())
}

#[test]
fn add_writes_and_returns_the_sum() {
    let mut host = MemoryHost::with_records(&[("13", "1"), ("14", "one_ahead_of_13")]);
    assert_eq!(run("AddOperator", "13", &[], &mut host), Ok("2".to_owned()));
    assert_eq!(host.text("13"), Some("2"));
    assert_eq!(host.text("14"), Some("one_ahead_of_13"));
}

#[test]
fn add_makes_a_text_of_what_is_no_integer() {
    let mut host = MemoryHost::with_records(&[("14", "one_ahead_of_13"), ("15", "")]);
    let sum = run("AddOperator", "14", &[], &mut host);
    assert_eq!(sum, Ok("int_conversion_failed".to_owned()));
    assert_eq!(host.text("14"), Some("int_conversion_failed"));
}

#[test]
fn add_names_the_missing_record_and_writes_nothing() {
    let mut host = MemoryHost::with_records(&[("13", "1")]);
    let error = run("AddOperator", "13", &[], &mut host).expect_err("14 is missing");
    assert_eq!(error.to_string(), "record \"14\": not found");
    let error = run("AddOperator", "1", &[], &mut host).expect_err("1 is missing");
    assert_eq!(error.to_string(), "record \"1\": not found");
    assert_eq!(host.text("13"), Some("1"));
}

#[test]
fn add_needs_an_input_with_a_successor() {
    let mut host = MemoryHost::with_records(&[("x", "1"), ("7", "9223372036854775807"), ("8", "")]);
    let error = run("AddOperator", "x", &[], &mut host).expect_err("no number");
    assert!(matches!(error, OperatorError::InvalidRequest(_)), "{error}");
    let error = run("AddOperator", "7", &[], &mut host).expect_err("too great");
    assert!(matches!(error, OperatorError::InvalidRequest(_)), "{error}");
}

#[test]
fn update_and_chain_updates_once() {
    let mut host = MemoryHost::with_records(&[("13", "2")]);
    let output = run("UpdateAndChainOperator", "13", &["2"], &mut host);
    assert_eq!(output, Ok("end".to_owned()));
    assert_eq!(host.text("13"), Some("success"));
    assert_eq!(host.records["13"].version.step, 1);
}

#[test]
fn update_and_chain_leaves_another_value_alone() {
    for (value, items) in [("7", &["2"][..]), ("7", &[][..])] {
        let mut host = MemoryHost::with_records(&[("13", value)]);
        let output = run("UpdateAndChainOperator", "13", items, &mut host);
        assert_eq!(output, Ok("end".to_owned()));
        assert_eq!(host.text("13"), Some(value));
    }
}

#[test]
fn update_and_chain_refuses_several_items() {
    let error = run(
        "UpdateAndChainOperator",
        "13",
        &["1", "2"],
        &mut MemoryHost::default(),
    );
    assert!(matches!(error, Err(OperatorError::InvalidRequest(_))));
}

#[test]
fn counters_start_at_zero_and_count_their_own_record() {
    let mut host = MemoryHost::default();
    for expected in ["1", "2", "3"] {
        assert_eq!(
            run("CounterOperator", "visits", &[], &mut host),
            Ok(expected.to_owned())
        );
        assert_eq!(
            run("IncrementOperator", "visits", &[], &mut host),
            Ok(expected.to_owned())
        );
    }
    assert_eq!(host.text("visits"), Some("3"));
    assert_eq!(
        host.text("1"),
        Some("3"),
        "the record named by the run's id, 1"
    );
}

#[test]
fn counters_refuse_a_record_that_is_no_integer() {
    let mut host = MemoryHost::with_records(&[("visits", "many")]);
    let error = run("CounterOperator", "visits", &[], &mut host).expect_err("no integer");
    assert_eq!(
        error,
        OperatorError::Failed("record \"visits\" is not an integer".to_owned())
    );
    assert_eq!(host.text("visits"), Some("many"));
}

#[test]
fn an_unknown_class_is_an_error() {
    let outcome = run("NoOperator", "", &[], &mut MemoryHost::default());
    assert_eq!(outcome, Err(OperatorError::UnknownClass));
}

/// All items, as text.
fn all(
    class: &str,
    input: &str,
    items: &[&str],
    options: &[(&str, &str)],
) -> Result<Vec<String>, OperatorError> {
    let mut request = request(input, items);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    request.options = options.iter().map(owned).collect();
    let mut host = MemoryHost::default();
    let items = marionette_sdk::run(crate::OPERATORS, class, &request, &mut host)?;
    items
        .iter()
        .map(|item| Ok(item.text()?.to_owned()))
        .collect()
}

#[test]
fn a_range_is_split_without_gaps() {
    let parts = all("SplitRange", "[10, 3700000]", &[], &[]).unwrap();
    assert_eq!(parts, ["10 2500010", "2500011 3700000"]);
    let parts = all("SplitRange", "1,7", &[], &[("chunk", "2")]).unwrap();
    assert_eq!(parts, ["1 3", "4 6", "7 7"]);
    assert_eq!(all("SplitRange", "5 5", &[], &[]).unwrap(), ["5 5"]);
}

#[test]
fn what_is_no_range_or_too_many_parts_is_refused() {
    for wrong in ["", "1", "2 1", "1 2 3", "a b", "-1 2", "0 100000000000001"] {
        let error = all("SplitRange", wrong, &[], &[]).unwrap_err();
        assert!(error.to_string().contains("is no range"), "{error}");
    }
    let error = all("SplitRange", "1 1000000", &[], &[("chunk", "1")]).unwrap_err();
    assert!(error.to_string().contains("take a larger chunk"), "{error}");
    let error = all("SplitRange", "1 2", &[], &[("chunk", "0")]).unwrap_err();
    assert!(error.to_string().contains("the option chunk"), "{error}");
}

/// By division, which is slow and simple.
fn is_prime(number: u64) -> bool {
    number > 1 && !(2..=number.isqrt()).any(|divisor| number.is_multiple_of(divisor))
}

#[test]
fn primes_are_summed_as_by_division() {
    for (first, last) in [
        (0, 0),
        (0, 1),
        (0, 2),
        (2, 2),
        (1, 3),
        (4, 4),
        (8, 10),
        (9, 9),
        (24, 29),
        (0, 3000),
        (25, 49),
        (999_000, 1_001_000),
    ] {
        let expected: u64 = (first..=last).filter(|number| is_prime(*number)).sum();
        let sums = all("SumOfPrimes", &format!("{first} {last}"), &[], &[]);
        assert_eq!(sums.unwrap(), [expected.to_string()], "{first} {last}");
    }
    let halves = all("SumOfPrimes", "", &["10 1000000", "1000001 2000000"], &[]).unwrap();
    let halves: Vec<&str> = halves.iter().map(String::as_str).collect();
    assert_eq!(all("Sum", "", &halves, &[]).unwrap(), ["142913828905"]);
}

#[test]
fn numbers_are_summed_whatever_their_sign() {
    assert_eq!(all("Sum", "", &["1", "-3", " 40 "], &[]).unwrap(), ["38"]);
    assert_eq!(all("Sum", "", &[], &[]).unwrap(), ["0"]);
    assert!(all("Sum", "", &["one"], &[]).is_err());
}
