//! Tables of cases: what is wrong with one is told all at once, each with place and hint.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::path::Path;

use common::diagnostic::render_all;
use expect_test::{Expect, expect};
use operator_tool::cases;

fn read(text: &str, classes: &[&str]) -> Result<Vec<cases::Case>, String> {
    let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
    let read = cases::read(Path::new("cases.toml"), text, &classes);
    read.map_err(|wrong| render_all(&wrong, false))
}

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&read(text, &["AddOperator", "CounterOperator"]).unwrap_err());
}

#[test]
fn every_wrong_entry_is_told_with_its_place() {
    check(
        r#"[[case]]
nmae = "no name"
class = "AddOperater"
input = ["a"]
attempt = 0
records = { a = true, b = { hex = "0" }, c = { file = "none" }, d = {} }
blobs = { "no url" = "x" }
"#,
        &expect![[r#"
            error: a case has a `name`
             --> cases.toml:1:1
              |
            1 | [[case]]
              | ^^^^^^^^

            error: unknown key `nmae` in a case
             --> cases.toml:2:1
              |
            2 | nmae = "no name"
              | ^^^^
              = hint: did you mean `name`?

            error: the component has no class `AddOperater`
             --> cases.toml:3:9
              |
            3 | class = "AddOperater"
              |         ^^^^^^^^^^^^^
              = hint: did you mean `AddOperator`?

            error: `input` is a text, not a list
             --> cases.toml:4:9
              |
            4 | input = ["a"]
              |         ^^^^^

            error: `attempt` is a whole number from 1 on
             --> cases.toml:5:11
              |
            5 | attempt = 0
              |           ^

            error: `a` is a text, not true or false
             --> cases.toml:6:17
              |
            6 | records = { a = true, b = { hex = "0" }, c = { file = "none" }, d = {} }
              |                 ^^^^

            error: `hex` has two hexadecimal digits for each byte
             --> cases.toml:6:35
              |
            6 | records = { a = true, b = { hex = "0" }, c = { file = "none" }, d = {} }
              |                                   ^^^

            error: none cannot be read: No such file or directory (os error 2)
             --> cases.toml:6:55
              |
            6 | records = { a = true, b = { hex = "0" }, c = { file = "none" }, d = {} }
              |                                                       ^^^^^^

            error: `d` has either `hex` or `file`
             --> cases.toml:6:69
              |
            6 | records = { a = true, b = { hex = "0" }, c = { file = "none" }, d = {} }
              |                                                                     ^^

            error: `no url` is not a URL: relative URL without a base
             --> cases.toml:7:11
              |
            7 | blobs = { "no url" = "x" }
              |           ^^^^^^^^
        "#]],
    );
}

#[test]
fn wrong_faults_names_and_expectations_are_told_with_their_places() {
    check(
        r#"[[case]]
name = "twice"
items = [1, 1.5]
faults = [{ call = "raed", id = "x", error = "timeot" }, { lose_update = "x" }]

[[case]]
name = "twice"
class = "Nobody"
[case.expect]
output = ["a"]
error = "b"
kind = "traps"
other_records = "some"
"#,
        &expect![[r#"
            error: which `class`? The component has more than one
             --> cases.toml:1:1
              |
            1 | [[case]]
              | ^^^^^^^^
              = hint: it has: AddOperator, CounterOperator

            error: `item` is a text, not a number with a fraction
             --> cases.toml:3:13
              |
            3 | items = [1, 1.5]
              |             ^^^

            error: `call` is one of read, write, update, not `raed`
             --> cases.toml:4:20
              |
            4 | faults = [{ call = "raed", id = "x", error = "timeot" }, { lose_update = "x" }]
              |                    ^^^^^^
              = hint: did you mean `read`?

            error: `error` is one of not-found, discarded, too-large, overloaded, unavailable, timeout, cancelled, limit-exceeded, other, not `timeot`
             --> cases.toml:4:46
              |
            4 | faults = [{ call = "raed", id = "x", error = "timeot" }, { lose_update = "x" }]
              |                                              ^^^^^^^^
              = hint: did you mean `timeout`?

            error: a fault has `call`, `id` and `error`, or `lose_update` and `to`
             --> cases.toml:4:58
              |
            4 | faults = [{ call = "raed", id = "x", error = "timeot" }, { lose_update = "x" }]
              |                                                          ^^^^^^^^^^^^^^^^^^^^^

            error: the case in line 1 has this name, too
             --> cases.toml:7:8
              |
            7 | name = "twice"
              |        ^^^^^^^

            error: the component has no class `Nobody`
             --> cases.toml:8:9
              |
            8 | class = "Nobody"
              |         ^^^^^^^^
              = hint: it has: AddOperator, CounterOperator

            error: a case expects either `output` or an error
              --> cases.toml:10:10
               |
            10 | output = ["a"]
               |          ^^^^^

            error: `kind` is one of unknown-class, invalid-request, failed, storage, blob, trap, panic, deadline, memory, output, not `traps`
              --> cases.toml:12:8
               |
            12 | kind = "traps"
               |        ^^^^^^^
               = hint: did you mean `trap`?

            error: `other_records` is one of unchanged, any, not `some`
              --> cases.toml:13:17
               |
            13 | other_records = "some"
               |                 ^^^^^^
        "#]],
    );
}

#[test]
fn one_mistake_of_syntax_is_told_once() {
    check(
        "[[case]]\nname = \"a\nclass = \"b\"\ninput = [\n",
        &expect![[r#"
            error: invalid basic string, expected `"`
             --> cases.toml:2:10
              |
            2 | name = "a
              |          ^
        "#]],
    );
}

#[test]
fn a_table_without_cases_says_how_one_begins() {
    check(
        "",
        &expect![[r"
        error: the table has no case
         --> cases.toml:1:1
          |
        1 | 
          | ^
          = hint: a case begins with the line [[case]]
    "]],
    );
    check(
        "[case]\nname = \"a\"\n[cases]\n",
        &expect![[r"
        error: `case` is a list, not a table
         --> cases.toml:1:1
          |
        1 | [case]
          | ^^^^^^

        error: unknown key `cases` in the file
         --> cases.toml:3:2
          |
        3 | [cases]
          |  ^^^^^
          = hint: did you mean `case`?
    "]],
    );
}

#[test]
fn the_class_may_be_left_out_when_there_is_one() {
    let cases = read("[[case]]\nname = \"a\"\n", &["Only"]).unwrap();
    assert_eq!(cases[0].setup.class, "Only");
    assert_eq!(cases[0].line, 1);
}

#[test]
fn values_are_text_numbers_or_bytes() {
    let text = r#"
[[case]]
name = "values"
input = 7
items = ["a", 2, { hex = "00 ff" }, { key = "k", value = "v" }]
options = { chunk = 10 }
records = { n = -1, bytes = { hex = "C3a4" } }
"#;
    let setup = &read(text, &["Only"]).unwrap()[0].setup;
    assert_eq!(
        (setup.input.as_str(), setup.options["chunk"].as_str()),
        ("7", "10")
    );
    let items: Vec<&[u8]> = setup.items.iter().map(|item| item.value.as_ref()).collect();
    assert_eq!(items, [b"a".as_slice(), b"2", b"\x00\xff", b"v"]);
    assert_eq!(setup.items[3].key.as_deref(), Some("k"));
    assert_eq!(
        (setup.records["n"].as_ref(), setup.records["bytes"].as_ref()),
        (b"-1".as_slice(), "ä".as_bytes())
    );
}
