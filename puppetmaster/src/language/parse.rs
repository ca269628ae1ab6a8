//! A text as statements, or every wrong line at once.

use super::arguments::Arguments;
use super::command::Command;
use super::table;
use common::diagnostic::{Diagnostic, Line, Word, did_you_mean, lines};

/// One command with the line that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub line: Line,
    pub command: Command,
}

/// What a text holds: its good statements, its errors, and notices about things that have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    pub statements: Vec<Statement>,
    pub errors: Vec<Diagnostic>,
    pub notices: Vec<Diagnostic>,
}

/// Reads a script; `file` is its name in diagnostics.
pub fn parse_script(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in lines(file, text) {
        let command = line
            .words()
            .and_then(|words| parse_command(&line, &words, &mut parsed.notices));
        match command {
            Ok(command) => parsed.statements.push(Statement { line, command }),
            Err(error) => parsed.errors.push(error),
        }
    }
    parsed
}

/// Reads one command from the words of a line.
pub(super) fn parse_command(
    line: &Line,
    words: &[Word],
    notices: &mut Vec<Diagnostic>,
) -> Result<Command, Diagnostic> {
    let Some((name, words)) = words.split_first() else {
        return Err(line.at_end("a command is missing here"));
    };
    let Some(entry) = table::find(&name.text) else {
        return Err(line
            .at(name, format!("unknown command `{}`", name.text))
            .hint("`help` lists the commands")
            .maybe_hint(did_you_mean(&name.text, table::names())));
    };
    let mut arguments = Arguments::new(line, entry, words, notices);
    let command = (entry.read)(&mut arguments)?;
    arguments.finish()?;
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::diagnostic::render_all;
    use expect_test::{Expect, expect};
    use std::fmt::Write as _;

    fn check(text: &str, expected: &Expect) {
        let parsed = parse_script("demo.pm", text);
        let mut found = String::new();
        for statement in parsed.statements {
            let _ = writeln!(found, "{:?}", statement.command);
        }
        found += &render_all(&[parsed.errors, parsed.notices].concat(), false);
        expected.assert_eq(&found);
    }

    #[test]
    fn every_example_of_the_table_is_read_as_its_own_command() {
        for entry in table::entries() {
            let parsed = parse_script("demo.pm", entry.example);
            assert_eq!(parsed.errors, [], "{}", entry.example);
            assert_eq!(parsed.statements.len(), 1, "{}", entry.example);
            for name in entry.names() {
                let found = table::find(&name.to_uppercase()).map(|entry| entry.name);
                assert_eq!(found, Some(entry.name));
            }
        }
    }

    #[test]
    fn the_courses_sample_is_read_unchanged() {
        check(
            "\u{feff}debug\r\nscheduler sc1 http://localhost:4000\r\nStorage s1 http://localhost:3000 0\r\nworker w1 http://localhost:4001 0\r\nWAIT 1000\r\nwait_interval 5\r\npopulate data\r\nclient 23 app\r\nstatus\r\nlistServer s1\r\nlistglobal\r\ncrash s1\r\n",
            &expect![[r#"
                Debug
                Create(NewNode { role: Scheduler, name: sc1, url: http://localhost:4000, address: Address { url: "http://localhost:4000", port: 4000 }, gossip_delay_ms: 0 })
                Create(NewNode { role: Storage, name: s1, url: http://localhost:3000, address: Address { url: "http://localhost:3000", port: 3000 }, gossip_delay_ms: 0 })
                Create(NewNode { role: Worker, name: w1, url: http://localhost:4001, address: Address { url: "http://localhost:4001", port: 4001 }, gossip_delay_ms: 0 })
                Wait { duration: 1s }
                Wait { duration: 5ms }
                Populate { file: data }
                Client(Submission { input: "23", application: app, key: None })
                Status
                ListServer { node: s1 }
                ListGlobal
                Crash { node: s1 }
            "#]],
        );
    }

    #[test]
    fn a_further_number_of_the_scheduler_is_ignored_with_a_notice() {
        check(
            "scheduler sc1 http://localhost:4000 100",
            &expect![[r#"
            Create(NewNode { role: Scheduler, name: sc1, url: http://localhost:4000, address: Address { url: "http://localhost:4000", port: 4000 }, gossip_delay_ms: 0 })
            notice: `100` is ignored: a scheduler has no gossip delay
             --> demo.pm:1:37
              |
            1 | scheduler sc1 http://localhost:4000 100
              |                                     ^^^
        "#]],
        );
    }

    #[test]
    fn storage_commands_take_versions_targets_and_absence() {
        check(
            "read a\nread a 7.2+1\nread a at s1\nread a 7.2 at s1\nwrite a \"two words\" at s2\nupdateIf a - b\nupdateIf a \"-\" b at s1\nexpect a -\nhistory a",
            &expect![[r#"
                Read { key: "a", version: None, at: None }
                Read { key: "a", version: Some(Version { number: 7, replica: 2, step: 1 }), at: None }
                Read { key: "a", version: None, at: Some(s1) }
                Read { key: "a", version: Some(Version { number: 7, replica: 2, step: 0 }), at: Some(s1) }
                Write { key: "a", value: "two words", at: Some(s2) }
                UpdateIf { key: "a", old: None, new: "b", at: None }
                UpdateIf { key: "a", old: Some("-"), new: "b", at: Some(s1) }
                Expect { key: "a", value: None, at: None }
                History { key: "a", at: None }
            "#]],
        );
    }

    #[test]
    fn commands_nest() {
        check(
            "repeat 3 expect-fail read x\necho  one   two # not this\necho\necho \"  # this\"",
            &expect![[r#"
                Repeat { count: 3, command: ExpectFail { command: Read { key: "x", version: None, at: None } } }
                Echo { text: "one   two" }
                Echo { text: "" }
                Echo { text: "  # this" }
            "#]],
        );
    }

    #[test]
    fn settings_are_typed() {
        check(
            "set replication 2\nset MAX_VERSIONS 3\nset durability majority\nset commit fail-stop\nset seed 7\nset timeout 5000\nset operators lib\nset native yes\nset native Isolated\nset slots 1",
            &expect![[r"
                Set(Replication(2))
                Set(MaxVersions(3))
                Set(Durability(Majority))
                Set(Commit(FailStop))
                Set(Seed(7))
                Set(Timeout(5s))
                Set(Operators(lib))
                Set(Native(InTheWorker))
                Set(Native(Isolated))
                Set(Slots(1))
            "]],
        );
    }

    #[test]
    fn runs_may_have_a_key() {
        check(
            "run 23 app key=order-7\nclient 23 app key=order-7\nrun 23 app key=\nrun 23 app key=ö\nrun 23 app order-7",
            &expect![[r#"
                Run(Submission { input: "23", application: app, key: Some("order-7") })
                Client(Submission { input: "23", application: app, key: Some("order-7") })
                error: a key has 1 to 128 visible ASCII characters
                 --> demo.pm:3:12
                  |
                3 | run 23 app key=
                  |            ^^^^
                  = hint: run INPUT APP_FILE [key=KEY]

                error: a key has 1 to 128 visible ASCII characters
                 --> demo.pm:4:12
                  |
                4 | run 23 app key=ö
                  |            ^^^^^
                  = hint: run INPUT APP_FILE [key=KEY]

                error: `order-7` is too much for `run`
                 --> demo.pm:5:12
                  |
                5 | run 23 app order-7
                  |            ^^^^^^^
                  = hint: run INPUT APP_FILE [key=KEY]
            "#]],
        );
    }

    #[test]
    fn loads_have_a_rate_and_a_time() {
        check(
            "load 15 5000 \"[1, 9]\" app",
            &expect![[r#"
            Load(Load { pace: Pace { rate: 15, duration_ms: 5000 }, input: "[1, 9]", application: app })
        "#]],
        );
        check(
            "load 0 5000 23 app\nload 1.5 5000 23 app\nload 15 0 23 app\nload 10000 100001 23 app\nload 15 5000 23",
            &expect![[r"
                error: `0` is not between 1 and 10000
                 --> demo.pm:1:6
                  |
                1 | load 0 5000 23 app
                  |      ^
                  = hint: load RATE MS INPUT APP_FILE

                error: `1.5` is not a whole number of runs per second
                 --> demo.pm:2:6
                  |
                2 | load 1.5 5000 23 app
                  |      ^^^
                  = hint: load RATE MS INPUT APP_FILE

                error: `0` is not between 1 and 86400000
                 --> demo.pm:3:9
                  |
                3 | load 15 0 23 app
                  |         ^
                  = hint: load RATE MS INPUT APP_FILE

                error: these are 1000010 runs, more than 1000000
                 --> demo.pm:4:12
                  |
                4 | load 10000 100001 23 app
                  |            ^^^^^^
                  = hint: load RATE MS INPUT APP_FILE

                error: `load` needs APP_FILE
                 --> demo.pm:5:17
                  |
                5 | load 15 5000 23
                  |                 ^
                  = hint: load RATE MS INPUT APP_FILE
            "]],
        );
    }

    #[test]
    fn faults_name_links_and_groups() {
        check(
            "partition s1,s2 | s3\npartition s1 s2|s3, s4 |s5\ncut a b\ndelay a b 20\nloss a b 30\nheal\nfreeze s1\nunfreeze s1",
            &expect![[r"
                Partition { groups: [[s1, s2], [s3]] }
                Partition { groups: [[s1, s2], [s3, s4], [s5]] }
                Fault { from: a, to: b, fault: Cut }
                Fault { from: a, to: b, fault: Delay { delay_ms: 20 } }
                Fault { from: a, to: b, fault: Loss { percent: 30 } }
                Heal
                Freeze { node: s1 }
                Unfreeze { node: s1 }
            "]],
        );
        check(
            "partition s1,s2\npartition |s1\npartition s1 | s/2,s3\ncut a\ndelay a b soon\nloss a b 101\nheal all",
            &expect![[r"
                error: `partition` needs two or more groups of nodes
                 --> demo.pm:1:11
                  |
                1 | partition s1,s2
                  |           ^^^^^
                  = hint: partition A,B | C,D

                error: `partition` needs two or more groups of nodes
                 --> demo.pm:2:11
                  |
                2 | partition |s1
                  |           ^^^
                  = hint: partition A,B | C,D

                error: `s/2` is not a node's name
                 --> demo.pm:3:16
                  |
                3 | partition s1 | s/2,s3
                  |                ^^^
                  = hint: a name is 1 to 64 letters, digits, `_`, `-` and `.`, and starts with a letter or digit

                error: `cut` needs B
                 --> demo.pm:4:7
                  |
                4 | cut a
                  |       ^
                  = hint: cut A B

                error: `soon` is not a whole number of milliseconds
                 --> demo.pm:5:11
                  |
                5 | delay a b soon
                  |           ^^^^
                  = hint: delay A B MS

                error: `101` is not between 0 and 100
                 --> demo.pm:6:10
                  |
                6 | loss a b 101
                  |          ^^^
                  = hint: loss A B PERCENT

                error: `all` is too much for `heal`
                 --> demo.pm:7:6
                  |
                7 | heal all
                  |      ^^^
                  = hint: heal
            "]],
        );
    }

    #[test]
    fn wrong_nodes_and_names_are_all_reported() {
        check(
            "storge s1 http://localhost:3000 0\nstorage s1 localhost:3000 0\nstorage s1 http://localhost:3000\nworker w/1 http://localhost:1 0\nwait soon\ncrash\ncrash a b\nread k 7\nread k at",
            &expect![[r#"
                Create(NewNode { role: Storage, name: s1, url: localhost:3000, address: Address { url: "http://localhost:3000", port: 3000 }, gossip_delay_ms: 0 })
                error: unknown command `storge`
                 --> demo.pm:1:1
                  |
                1 | storge s1 http://localhost:3000 0
                  | ^^^^^^
                  = hint: did you mean `storage`?

                error: `storage` needs GOSSIP_DELAY
                 --> demo.pm:3:34
                  |
                3 | storage s1 http://localhost:3000
                  |                                  ^
                  = hint: storage ID URL GOSSIP_DELAY

                error: `w/1` is not a node's name
                 --> demo.pm:4:8
                  |
                4 | worker w/1 http://localhost:1 0
                  |        ^^^
                  = hint: a name is 1 to 64 letters, digits, `_`, `-` and `.`, and starts with a letter or digit

                error: `soon` is not a whole number of milliseconds
                 --> demo.pm:5:6
                  |
                5 | wait soon
                  |      ^^^^
                  = hint: wait MS

                error: `crash` needs ID
                 --> demo.pm:6:7
                  |
                6 | crash
                  |       ^
                  = hint: crash ID

                error: `b` is too much for `crash`
                 --> demo.pm:7:9
                  |
                7 | crash a b
                  |         ^
                  = hint: crash ID

                error: `7` is not a version: expected NUMBER.REPLICA or NUMBER.REPLICA+STEP, such as 7.2 or 7.2+1
                 --> demo.pm:8:8
                  |
                8 | read k 7
                  |        ^
                  = hint: read KEY [NUMBER.REPLICA] [at ID]

                error: `at` needs the name of a storage node here
                 --> demo.pm:9:11
                  |
                9 | read k at
                  |           ^
                  = hint: read KEY [NUMBER.REPLICA] [at ID]
            "#]],
        );
    }

    #[test]
    fn wrong_settings_and_words_are_all_reported() {
        check(
            "set replicas 3\nset replication 0\nset commit maybe\nset native always\nawait peace\nexpect-fail raed x\nrepeat 2\nexpect-run one end\nwrite k \"open\nscheduler s http://localhost:4000 many",
            &expect![[r#"
                error: unknown setting `replicas`
                 --> demo.pm:1:5
                  |
                1 | set replicas 3
                  |     ^^^^^^^^
                  = hint: the settings are replication, max_versions, durability, commit, sync, seed, timeout, operators, native, slots, http, faults, value_bytes_max, record_id_bytes_max, record_updates_max, node_updates_max

                error: `0` is not between 1 and 1000000
                 --> demo.pm:2:17
                  |
                2 | set replication 0
                  |                 ^
                  = hint: `set replication` takes a number of storage nodes from 1

                error: `maybe` is no commit mode
                 --> demo.pm:3:12
                  |
                3 | set commit maybe
                  |            ^^^^^
                  = hint: `set commit` takes majority or fail-stop

                error: `always` is no way to run native libraries
                 --> demo.pm:4:12
                  |
                4 | set native always
                  |            ^^^^^^
                  = hint: `set native` takes yes or isolated

                error: `peace` is nothing to wait for
                 --> demo.pm:5:7
                  |
                5 | await peace
                  |       ^^^^^
                  = hint: await ready | runs | converged

                error: unknown command `raed`
                 --> demo.pm:6:13
                  |
                6 | expect-fail raed x
                  |             ^^^^
                  = hint: did you mean `read`?

                error: `repeat` needs COMMAND
                 --> demo.pm:7:10
                  |
                7 | repeat 2
                  |          ^
                  = hint: repeat N COMMAND

                error: `one` is not a whole number: runs are counted
                 --> demo.pm:8:12
                  |
                8 | expect-run one end
                  |            ^^^
                  = hint: expect-run N OUTPUT

                error: this quoted word has no end
                 --> demo.pm:9:9
                  |
                9 | write k "open
                  |         ^^^^^
                  = hint: a quoted word ends with `"` and is followed by a blank; inside, write `\"` for a quote

                error: `many` is too much for `scheduler`
                  --> demo.pm:10:35
                   |
                10 | scheduler s http://localhost:4000 many
                   |                                   ^^^^
                   = hint: scheduler ID URL [NUMBER]
            "#]],
        );
    }
}
