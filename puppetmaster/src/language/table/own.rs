//! Marionette's own commands, but for those that harm.

use super::{APP_FILE, Argument, Entry, INPUT, Kind, RUN_KEY, optional, required};
use crate::language::command::{Command, OfRun};
use crate::language::load::Load;

const KEY: Argument = required("KEY", Kind::Free);
const PREFIX: Argument = optional("PREFIX", Kind::Free);
const AT: Argument = optional("at ID", Kind::AtNode);
const FILE: Argument = required("FILE", Kind::File);
const COMMAND: Argument = required("COMMAND", Kind::Command);

pub(super) static TABLE: &[Entry] = &[
    Entry {
        name: "set",
        aliases: &[],
        arguments: &[
            required("NAME", Kind::Setting),
            required("VALUE", Kind::Free),
        ],
        help: "Sets replication, max_versions, commit, sync, operators, native, slots, http or a limit (before the first node), durability, seed or timeout.",
        example: "set replication 2",
        read: |a| Ok(Command::Set(a.setting()?)),
    },
    Entry {
        name: "run",
        aliases: &[],
        arguments: &[INPUT, APP_FILE, RUN_KEY],
        help: "Runs the application on INPUT, waits for its outcome and prints it; with the KEY of a known run, that one's.",
        example: "run 23 app key=order-7",
        read: |a| Ok(Command::Run(a.submission()?)),
    },
    Entry {
        name: "load",
        aliases: &[],
        arguments: &[
            required("RATE", Kind::Free),
            required("MS", Kind::Free),
            INPUT,
            APP_FILE,
        ],
        help: "Starts RATE runs per second for MS ms, however long they take, and shows how long each took from when it was due.",
        example: "load 15 5000 23 app",
        read: |a| {
            Ok(Command::Load(Load {
                pace: a.pace()?,
                input: a.text()?,
                application: a.file()?,
            }))
        },
    },
    Entry {
        name: "read",
        aliases: &[],
        arguments: &[KEY, optional("NUMBER.REPLICA", Kind::Free), AT],
        help: "Reads a record: its newest version or the one named (7.2, or 7.2+1 with a step), at any or at one node.",
        example: "read 23 7.2 at s1",
        read: |a| {
            Ok(Command::Read {
                key: a.key()?,
                version: a.optional_version()?,
                at: a.target()?,
            })
        },
    },
    Entry {
        name: "write",
        aliases: &[],
        arguments: &[KEY, required("VALUE", Kind::Free), AT],
        help: "Writes a record, held by as many replicas as `set durability` says before it is answered.",
        example: "write 23 11 at s1",
        read: |a| {
            Ok(Command::Write {
                key: a.key()?,
                value: a.value()?,
                at: a.target()?,
            })
        },
    },
    Entry {
        name: "updateIf",
        aliases: &[],
        arguments: &[
            KEY,
            required("OLD", Kind::Free),
            required("NEW", Kind::Free),
            AT,
        ],
        help: "Sets a record to NEW if its value is OLD; `-` as OLD: if there is no such record.",
        example: "updateIf 23 11 12",
        read: |a| {
            let (key, old) = (a.key()?, a.value_or_absent()?);
            Ok(Command::UpdateIf {
                key,
                old,
                new: a.value()?,
                at: a.target()?,
            })
        },
    },
    Entry {
        name: "history",
        aliases: &[],
        arguments: &[KEY, AT],
        help: "Shows every kept version of a record, newest first.",
        example: "history 23",
        read: |a| {
            Ok(Command::History {
                key: a.key()?,
                at: a.target()?,
            })
        },
    },
    Entry {
        name: "scan",
        aliases: &[],
        arguments: &[PREFIX, optional("limit=N", Kind::Free)],
        help: "Shows the records whose keys begin with PREFIX, in key order, the first N or all.",
        example: "scan user/ limit=10",
        read: |a| {
            Ok(Command::Scan {
                prefix: a.prefix()?,
                limit: a.limit()?,
            })
        },
    },
    Entry {
        name: "watch",
        aliases: &[],
        arguments: &[PREFIX],
        help: "From now on prints each change of a record whose key begins with PREFIX, until the script ends.",
        example: "watch user/",
        read: |a| {
            Ok(Command::Watch {
                prefix: a.prefix()?,
            })
        },
    },
    Entry {
        name: "backup",
        aliases: &[],
        arguments: &[FILE],
        help: "Copies all records into a file beside the script: each partition as one replica has it at one instant.",
        example: "backup records.bak",
        read: |a| Ok(Command::Backup { file: a.file()? }),
    },
    Entry {
        name: "restore",
        aliases: &[],
        arguments: &[FILE],
        help: "Takes over the records of a backup; refuses those that exist already otherwise. Can be repeated.",
        example: "restore records.bak",
        read: |a| Ok(Command::Restore { file: a.file()? }),
    },
    Entry {
        name: "check",
        aliases: &[],
        arguments: &[FILE],
        help: "Checks a history of storage operations in JSON lines, and shows the smallest part that breaks a property.",
        example: "check history.jsonl",
        read: |a| Ok(Command::Check { file: a.file()? }),
    },
    Entry {
        name: "deploy",
        aliases: &[],
        arguments: &[FILE],
        help: "Puts a component of operators into the storage: runs submitted from then on use it for its classes.",
        example: "deploy greet.wasm",
        read: |a| Ok(Command::Deploy { file: a.file()? }),
    },
    Entry {
        name: "rollback",
        aliases: &[],
        arguments: &[required("CLASS", Kind::Free)],
        help: "Goes back to the component that the class had before: for runs submitted from then on.",
        example: "rollback GreetOperator",
        read: |a| Ok(Command::Rollback { class: a.text()? }),
    },
    Entry {
        name: "operators",
        aliases: &[],
        arguments: &[],
        help: "Shows the deployed operators, and the runs in flight that have pinned them.",
        example: "operators",
        read: |_| Ok(Command::Operators),
    },
    Entry {
        name: "await",
        aliases: &[],
        arguments: &[
            required("ready|runs|converged", Kind::Condition),
            optional("MS", Kind::Free),
        ],
        help: "Waits until all nodes are ready, all runs have ended, or all replicas agree; fails when MS pass.",
        example: "await converged 5000",
        read: |a| {
            Ok(Command::Await {
                condition: a.condition()?,
                limit: a.optional_limit()?,
            })
        },
    },
    Entry {
        name: "expect",
        aliases: &[],
        arguments: &[KEY, required("VALUE", Kind::Free), AT],
        help: "Checks what a read of the record gives now; `-` as VALUE: that there is no such record.",
        example: "expect 23 12",
        read: |a| {
            Ok(Command::Expect {
                key: a.key()?,
                value: a.value_or_absent()?,
                at: a.target()?,
            })
        },
    },
    Entry {
        name: "expect-run",
        aliases: &[],
        arguments: &[required("N", Kind::Free), required("OUTPUT", Kind::Free)],
        help: "Waits for run N, counted from 1, and checks its output.",
        example: "expect-run 1 end",
        read: |a| {
            let (run, run_word) = a.run()?;
            Ok(Command::ExpectRun {
                run,
                run_word,
                output: a.text()?,
            })
        },
    },
    Entry {
        name: "expect-fail",
        aliases: &[],
        arguments: &[COMMAND],
        help: "Checks that a command fails.",
        example: "expect-fail read nobody",
        read: |a| {
            Ok(Command::ExpectFail {
                command: a.command()?,
            })
        },
    },
    Entry {
        name: "runs",
        aliases: &[],
        arguments: &[],
        help: "Lists the runs with their state, output, workers and times.",
        example: "runs",
        read: |_| Ok(Command::Runs),
    },
    Entry {
        name: "trace",
        aliases: &[],
        arguments: &[required("N", Kind::Free)],
        help: "Shows each task of run N that has ended: worker, attempt, times, and its storage calls with their versions.",
        example: "trace 1",
        read: |a| a.of_run(OfRun::Trace),
    },
    Entry {
        name: "why",
        aliases: &[],
        arguments: &[required("N", Kind::Free)],
        help: "Says what run N waits for.",
        example: "why 1",
        read: |a| a.of_run(OfRun::Why),
    },
    Entry {
        name: "cancel",
        aliases: &[],
        arguments: &[required("N", Kind::Free)],
        help: "Cancels run N, counted from 1: when it returns, nothing of the run starts any more.",
        example: "cancel 1",
        read: |a| a.of_run(OfRun::Cancel),
    },
    Entry {
        name: "repeat",
        aliases: &[],
        arguments: &[required("N", Kind::Free), COMMAND],
        help: "Executes a command N times.",
        example: "repeat 100 client 23 app",
        read: |a| {
            Ok(Command::Repeat {
                count: a.count()?,
                command: a.command()?,
            })
        },
    },
    Entry {
        name: "include",
        aliases: &[],
        arguments: &[FILE],
        help: "Executes the commands of another script.",
        example: "include cluster.pm",
        read: |a| Ok(Command::Include { file: a.file()? }),
    },
    Entry {
        name: "echo",
        aliases: &[],
        arguments: &[optional("TEXT", Kind::Free)],
        help: "Prints the text.",
        example: "echo and now the crash",
        read: |a| Ok(Command::Echo { text: a.rest()? }),
    },
    Entry {
        name: "help",
        aliases: &["?"],
        arguments: &[optional("COMMAND", Kind::CommandName)],
        help: "Lists the commands, or explains one.",
        example: "help storage",
        read: |a| {
            Ok(Command::Help {
                command: a.optional_text()?,
            })
        },
    },
    Entry {
        name: "exit",
        aliases: &["quit"],
        arguments: &[],
        help: "Ends the script here.",
        example: "exit",
        read: |_| Ok(Command::Exit),
    },
];
