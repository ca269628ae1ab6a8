//! The one table of commands. Parser messages, `help` and completion all derive from it.

use super::arguments::Arguments;
use super::command::{Command, Role};
use common::diagnostic::Diagnostic;
use std::time::Duration;

/// What an argument is, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing can be offered for it.
    Free,
    /// The name of a node that was created.
    Node,
    /// `at` and the name of a storage node.
    AtNode,
    File,
    Setting,
    Condition,
    /// The name of a command.
    CommandName,
    /// A whole command.
    Command,
}

/// One argument of a command.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
    pub optional: bool,
}

/// One command: how it is called, what it takes, what it means, and how it is read.
pub struct Entry {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub arguments: &'static [Argument],
    pub help: &'static str,
    pub example: &'static str,
    pub(super) read: fn(&mut Arguments<'_>) -> Result<Command, Diagnostic>,
}

impl Entry {
    /// `storage ID URL GOSSIP_DELAY`; optional arguments in brackets.
    pub fn syntax(&self) -> String {
        let words = self.arguments.iter().map(|argument| {
            let name = argument.name;
            if argument.optional {
                format!(" [{name}]")
            } else {
                format!(" {name}")
            }
        });
        std::iter::once(self.name.to_owned()).chain(words).collect()
    }

    /// Every word by which the command can be called.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// The entry of the command called `name`, without regard to case.
pub fn find(name: &str) -> Option<&'static Entry> {
    TABLE
        .iter()
        .find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Every word by which any command can be called.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(Entry::names)
}

const fn required(name: &'static str, kind: Kind) -> Argument {
    Argument {
        name,
        kind,
        optional: false,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Argument {
    Argument {
        name,
        kind,
        optional: true,
    }
}

const ID: Argument = required("ID", Kind::Node);
const NEW_ID: Argument = required("ID", Kind::Free);
const URL: Argument = required("URL", Kind::Free);
const GOSSIP_DELAY: Argument = required("GOSSIP_DELAY", Kind::Free);
const INPUT: Argument = required("INPUT", Kind::Free);
const APP_FILE: Argument = required("APP_FILE", Kind::File);
const KEY: Argument = required("KEY", Kind::Free);
const AT: Argument = optional("at ID", Kind::AtNode);
const COMMAND: Argument = required("COMMAND", Kind::Command);

/// All commands: first the course's, then Marionette's own.
pub static TABLE: &[Entry] = &[
    Entry {
        name: "debug",
        aliases: &[],
        arguments: &[],
        help: "Every node sends a line per record or meta record that it outputs, which is printed here.",
        example: "debug",
        read: |_| Ok(Command::Debug),
    },
    Entry {
        name: "scheduler",
        aliases: &[],
        arguments: &[NEW_ID, URL, optional("NUMBER", Kind::Free)],
        help: "Creates the scheduler. A further number is accepted and ignored.",
        example: "scheduler sc1 http://localhost:4000",
        read: |a| Ok(Command::Create(a.new_node(Role::Scheduler)?)),
    },
    Entry {
        name: "storage",
        aliases: &[],
        arguments: &[NEW_ID, URL, GOSSIP_DELAY],
        help: "Creates a storage node, which delays every message to another storage node by GOSSIP_DELAY ms.",
        example: "storage s1 http://localhost:3000 0",
        read: |a| Ok(Command::Create(a.new_node(Role::Storage)?)),
    },
    Entry {
        name: "worker",
        aliases: &[],
        arguments: &[NEW_ID, URL, GOSSIP_DELAY],
        help: "Creates a worker, which delays every forwarded request by GOSSIP_DELAY ms.",
        example: "worker w1 http://localhost:4001 0",
        read: |a| Ok(Command::Create(a.new_node(Role::Worker)?)),
    },
    Entry {
        name: "client",
        aliases: &[],
        arguments: &[INPUT, APP_FILE],
        help: "Runs the application on INPUT without waiting; the outcome is printed when it comes.",
        example: "client 23 app",
        read: |a| {
            Ok(Command::Client {
                input: a.text()?,
                application: a.file()?,
            })
        },
    },
    Entry {
        name: "populate",
        aliases: &[],
        arguments: &[required("DATA_FILE", Kind::File)],
        help: "Writes a record for every line `id,value` of the file, to all replicas.",
        example: "populate data",
        read: |a| Ok(Command::Populate { file: a.file()? }),
    },
    Entry {
        name: "status",
        aliases: &[],
        arguments: &[],
        help: "Shows every node's state: who is present, who is presumed dead, load, versions, lag.",
        example: "status",
        read: |_| Ok(Command::Status),
    },
    Entry {
        name: "listServer",
        aliases: &[],
        arguments: &[ID],
        help: "Lists all records, with every version, on one storage node.",
        example: "listServer s1",
        read: |a| Ok(Command::ListServer { node: a.node()? }),
    },
    Entry {
        name: "listGlobal",
        aliases: &[],
        arguments: &[],
        help: "Lists all records of the system, with the nodes that hold each version.",
        example: "listGlobal",
        read: |_| Ok(Command::ListGlobal),
    },
    Entry {
        name: "crash",
        aliases: &[],
        arguments: &[ID],
        help: "Kills a node at once, without a goodbye.",
        example: "crash s1",
        read: |a| Ok(Command::Crash { node: a.node()? }),
    },
    Entry {
        name: "wait",
        aliases: &["wait_interval"],
        arguments: &[required("MS", Kind::Free)],
        help: "Sleeps for MS milliseconds.",
        example: "wait 1000",
        read: |a| {
            Ok(Command::Wait {
                duration: Duration::from_millis(a.milliseconds()?),
            })
        },
    },
    Entry {
        name: "set",
        aliases: &[],
        arguments: &[
            required("NAME", Kind::Setting),
            required("VALUE", Kind::Free),
        ],
        help: "Sets replication, max_versions, commit or operators (before the first node), durability, seed or timeout.",
        example: "set replication 2",
        read: |a| Ok(Command::Set(a.setting()?)),
    },
    Entry {
        name: "run",
        aliases: &[],
        arguments: &[INPUT, APP_FILE],
        help: "Runs the application on INPUT, waits for its outcome and prints it.",
        example: "run 23 app",
        read: |a| {
            Ok(Command::Run {
                input: a.text()?,
                application: a.file()?,
            })
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
        name: "stop",
        aliases: &[],
        arguments: &[ID],
        help: "Stops a node gracefully.",
        example: "stop s1",
        read: |a| Ok(Command::Stop { node: a.node()? }),
    },
    Entry {
        name: "start",
        aliases: &[],
        arguments: &[ID],
        help: "Starts a node again after `stop` or `crash`.",
        example: "start s1",
        read: |a| Ok(Command::Start { node: a.node()? }),
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
        arguments: &[required("FILE", Kind::File)],
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
