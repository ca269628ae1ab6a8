//! The commands that end nodes and bring them back, and those that harm the network.

use super::{Argument, Entry, ID, Kind, required};
use crate::language::command::{Command, Fault};

const FROM: Argument = required("A", Kind::Node);
const TO: Argument = required("B", Kind::Node);

pub(super) static TABLE: &[Entry] = &[
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
        name: "freeze",
        aliases: &[],
        arguments: &[ID],
        help: "Stops a node's process where it is (SIGSTOP): it keeps its memory and is silent, until `unfreeze`.",
        example: "freeze s1",
        read: |a| Ok(Command::Freeze { node: a.node()? }),
    },
    Entry {
        name: "unfreeze",
        aliases: &[],
        arguments: &[ID],
        help: "Lets a frozen node go on (SIGCONT).",
        example: "unfreeze s1",
        read: |a| Ok(Command::Unfreeze { node: a.node()? }),
    },
    Entry {
        name: "partition",
        aliases: &[],
        arguments: &[required("A,B | C,D", Kind::Groups)],
        help: "Cuts all links between nodes of different groups, both ways; nodes that are not named reach all.",
        example: "partition s1,s2 | s3,s4,s5",
        read: |a| {
            Ok(Command::Partition {
                groups: a.groups()?,
            })
        },
    },
    Entry {
        name: "cut",
        aliases: &[],
        arguments: &[FROM, TO],
        help: "Loses whatever A sends to B, its answers too; what B sends to A arrives.",
        example: "cut s1 s2",
        read: |a| {
            Ok(Command::Fault {
                from: a.node()?,
                to: a.node()?,
                fault: Fault::Cut,
            })
        },
    },
    Entry {
        name: "delay",
        aliases: &[],
        arguments: &[FROM, TO, required("MS", Kind::Free)],
        help: "Delays whatever A sends to B by MS more milliseconds; 0: not at all.",
        example: "delay s1 s2 200",
        read: |a| {
            Ok(Command::Fault {
                from: a.node()?,
                to: a.node()?,
                fault: Fault::Delay {
                    delay_ms: a.link_delay_ms()?,
                },
            })
        },
    },
    Entry {
        name: "loss",
        aliases: &[],
        arguments: &[FROM, TO, required("PERCENT", Kind::Free)],
        help: "Loses so many of a hundred messages from A to B, by chance; 0: none.",
        example: "loss s1 s2 30",
        read: |a| {
            Ok(Command::Fault {
                from: a.node()?,
                to: a.node()?,
                fault: Fault::Loss {
                    percent: a.percent()?,
                },
            })
        },
    },
    Entry {
        name: "heal",
        aliases: &[],
        arguments: &[],
        help: "Ends all faults of `partition`, `cut`, `delay` and `loss`.",
        example: "heal",
        read: |_| Ok(Command::Heal),
    },
];
