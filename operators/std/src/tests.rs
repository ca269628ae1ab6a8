//! Each operator against a host in memory: `cargo test` in `operators/std`, no cluster, no WASM.

use std::collections::BTreeMap;

use marionette_sdk::testing::{MemoryHost, request};
use marionette_sdk::{BlobFault, Item, OperatorError};

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

const URL: &str = "file:///text";

fn with_blob(text: impl Into<Vec<u8>>) -> MemoryHost {
    let mut host = MemoryHost::default();
    host.blobs.insert(URL.to_owned(), text.into());
    host
}

/// What the items of a stage make of the items of the stage before.
fn stage(
    class: &str,
    items: Vec<Item>,
    options: &[(&str, &str)],
    host: &mut MemoryHost,
) -> Result<Vec<Item>, OperatorError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut request = request(URL, &[]);
    request.options = options.iter().map(owned).collect();
    request.items = items;
    marionette_sdk::run(crate::OPERATORS, class, &request, host)
}

fn split(host: &mut MemoryHost, chunk: usize) -> Vec<Item> {
    stage("SplitText", vec![], &[("chunk", &chunk.to_string())], host).unwrap()
}

type Counts = BTreeMap<String, u64>;

fn added(items: &[Item], counts: &mut Counts) {
    for item in items {
        let count: u64 = item.text().unwrap().parse().unwrap();
        *counts.entry(item.key.clone().unwrap()).or_default() += count;
    }
}

/// The words of a blob in parts of so many bytes, each counted by a task of its own.
fn counted(text: &[u8], chunk: usize) -> Counts {
    let mut host = with_blob(text);
    let mut counts = Counts::default();
    for part in split(&mut host, chunk) {
        let items = stage("WordCount", vec![part], &[], &mut host).unwrap();
        added(&items, &mut counts);
    }
    counts
}

/// The same in the simplest way.
fn expected(text: &[u8]) -> Counts {
    let mut counts = Counts::default();
    let words = text.split(|byte| *byte <= 32);
    for word in words.filter(|word| !word.is_empty()) {
        let word = String::from_utf8_lossy(word).into_owned();
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[test]
fn a_text_is_split_by_its_bytes() {
    let mut host = with_blob("hello world");
    let parts = split(&mut host, 4);
    let texts: Vec<&str> = parts.iter().map(|item| item.text().unwrap()).collect();
    assert_eq!(
        texts,
        ["file:///text 0 4", "file:///text 4 8", "file:///text 8 11"]
    );
    assert_eq!(split(&mut with_blob(""), 4), []);
    assert_eq!(split(&mut host, 11).len(), 1);
    let chunk = [("chunk", "1")];
    let mut large = with_blob(vec![b' '; 100_001]);
    let error = stage("SplitText", vec![], &chunk, &mut large).unwrap_err();
    assert!(error.to_string().contains("take a larger chunk"), "{error}");
    let error = stage("SplitText", vec![], &[], &mut MemoryHost::default()).unwrap_err();
    let OperatorError::Blob(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.url.as_str(), error.fault),
        (URL, BlobFault::NotGranted)
    );
}

#[test]
fn an_input_that_is_no_url_is_the_text_itself() {
    let text = "hello hello hello hello world world world";
    assert_eq!(all("SplitText", text, &[], &[]).unwrap(), [text]);
    let mut host = MemoryHost::default();
    let items = stage("WordCount", vec![Item::from(text)], &[], &mut host).unwrap();
    let items = stage("Collect", items, &[], &mut host).unwrap();
    let shown: Vec<_> = items
        .iter()
        .map(|item| (item.key.as_deref().unwrap(), item.text().unwrap()))
        .collect();
    assert_eq!(shown, [("hello", "4"), ("world", "3")]);
}

#[test]
fn no_word_is_cut_or_counted_twice_wherever_the_parts_meet() {
    let long = "x".repeat(1024);
    let texts = [
        "hello hello hello hello world world world".to_owned(),
        " \n leading and trailing  \r\n\t".to_owned(),
        "a b c d e f g h i j k l m n o p".to_owned(),
        "exactly8 exactly8 ninechars ninechars ninecharz exactly8".to_owned(),
        "größe größe 世界 世界 grö".to_owned(),
        format!("{long} {long} y {long}"),
        "sixteen-letters- sixteen-letterz- sixteen-letters- sixteen-letters-".to_owned(),
    ];
    for text in texts {
        let bytes = text.as_bytes();
        for chunk in (1..=20).chain([bytes.len(), bytes.len() + 1]) {
            let shown: String = text.chars().take(20).collect();
            assert_eq!(counted(bytes, chunk), expected(bytes), "{shown:?} {chunk}");
        }
    }
}

#[test]
fn a_text_of_many_pieces_is_counted_as_in_one() {
    // Words of 1 to 13 bytes, some of which each piece of 1 MiB ends in the middle of.
    let mut text = String::new();
    for number in 0_u64..400_000 {
        let number = number * number % 9973;
        text.push_str(&format!(
            "{number:0width$}\n",
            width = (number % 13) as usize
        ));
    }
    assert!(text.len() > 2 << 20);
    let expected = expected(text.as_bytes());
    for chunk in [text.len(), 1 << 20, (1 << 20) + 1, 99_999] {
        assert_eq!(counted(text.as_bytes(), chunk), expected, "{chunk}");
    }
}

#[test]
fn what_is_no_text_is_counted_or_refused_in_bounded_memory() {
    let bytes = [b"a \xff\xfe a \xff\xfe \0\0b".as_slice(), &[0xc3], b" "].concat();
    assert_eq!(counted(&bytes, 3), expected(&bytes));
    for wrong in [vec![b'x'; 5 << 20], vec![0xff; 1000]] {
        let mut host = with_blob(wrong);
        let parts = split(&mut host, 1 << 20);
        let mut results = parts
            .into_iter()
            .map(|part| stage("WordCount", vec![part], &[], &mut host));
        let error = results.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("has more than 1024 bytes"), "{error}");
        // The other parts are inside of that word, and begin none.
        assert!(results.all(|result| result == Ok(vec![])));
    }
}

#[test]
fn too_many_words_are_refused_with_advice() {
    let text: String = (0..300_001).map(|number| format!("{number} ")).collect();
    let mut host = with_blob(text.clone());
    let whole = vec![Item::from(URL)];
    let error = stage("WordCount", whole, &[], &mut host).unwrap_err();
    assert!(error.to_string().contains("take smaller chunks"), "{error}");
    assert_eq!(counted(text.as_bytes(), 1 << 20).len(), 300_001);
}

#[test]
fn all_parts_of_a_task_are_counted_together() {
    let mut host = with_blob("a b a b a");
    let items = ["file:///text 0 2", "file:///text 4 9", "a c"].map(Item::from);
    let items = stage("WordCount", items.to_vec(), &[], &mut host).unwrap();
    let mut counts = Counts::default();
    added(&items, &mut counts);
    let expected = [("a", 4), ("b", 1), ("c", 1)].map(|(word, count)| (word.to_owned(), count));
    assert_eq!(counts, expected.into());
    assert_eq!(items.len(), 3, "one item for each word");
}

#[test]
fn a_range_that_is_gone_is_the_blobs_error() {
    let mut host = with_blob("abc");
    let items = vec![Item::from("file:///other 0 3")];
    let error = stage("WordCount", items, &[], &mut host).unwrap_err();
    assert!(matches!(error, OperatorError::Blob(_)), "{error}");
}

fn keyed(items: &[(&str, &str)]) -> Vec<Item> {
    let item = |(key, value): &(&str, &str)| Item {
        key: Some((*key).to_owned()),
        ..Item::from(*value)
    };
    items.iter().map(item).collect()
}

#[test]
fn sums_are_one_for_each_key() {
    let sum = |items| stage("SumByKey", items, &[], &mut MemoryHost::default());
    let items = keyed(&[("a", "1"), ("a", "2"), ("a", "-4"), ("b", "5"), ("ä", "7")]);
    let sums = keyed(&[("a", "-1"), ("b", "5"), ("ä", "7")]);
    assert_eq!(sum(items), Ok(sums));
    assert_eq!(sum(vec![]), Ok(vec![]));
    for (wrong, reason) in [
        (vec![Item::from("1")], "has no key"),
        (keyed(&[("a", "x")]), "no whole number"),
        (keyed(&[("b", "1"), ("a", "1")]), "not sorted"),
        (
            keyed(&[("a", "9223372036854775807"), ("a", "1")]),
            "64 bits",
        ),
    ] {
        let error = sum(wrong).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn what_is_collected_is_sorted_by_key() {
    let mut host = MemoryHost::default();
    let items = keyed(&[("b", "1"), ("a", "2"), ("b", "0")]);
    let sorted = keyed(&[("a", "2"), ("b", "1"), ("b", "0")]);
    assert_eq!(stage("Collect", items, &[], &mut host), Ok(sorted));
    let plain = vec![Item::from("2"), Item::from("1")];
    assert_eq!(stage("Collect", plain.clone(), &[], &mut host), Ok(plain));
}

#[test]
fn runs_are_counted_and_entered() {
    let mut host = MemoryHost::default();
    for _ in 0..2 {
        assert_eq!(run("Tally", "n", &[], &mut host), Ok("n".to_owned()));
    }
    assert_eq!(host.text("n"), Some("2"));
    let log = host.text("n/log").unwrap();
    assert_eq!(log.split_whitespace().count(), 2, "{log}");
    let mut host = MemoryHost::with_records(&[("n", "x")]);
    let error = run("Tally", "n", &[], &mut host).unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
}
