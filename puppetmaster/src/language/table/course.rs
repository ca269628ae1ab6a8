//! The course's commands, whose syntax is fixed: what they take besides is optional.

use super::{APP_FILE, Entry, ID, INPUT, Kind, RUN_KEY, optional, required};
use crate::language::command::{Command, Role};
use std::time::Duration;

use super::Argument;

const NEW_ID: Argument = required("ID", Kind::Free);
const URL: Argument = required("URL", Kind::Free);
const GOSSIP_DELAY: Argument = required("GOSSIP_DELAY", Kind::Free);

pub(super) static TABLE: &[Entry] = &[
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
        help: "Creates a scheduler; of several, one leads. A further number is accepted and ignored.",
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
        arguments: &[INPUT, APP_FILE, RUN_KEY],
        help: "Runs the application on INPUT without waiting; the outcome is printed when it comes.",
        example: "client 23 app",
        read: |a| Ok(Command::Client(a.submission()?)),
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
];
