//! The one table of commands, by subject. Parser messages, `help` and completion all derive from it.

mod course;
mod faults;
mod own;

use super::arguments::Arguments;
use super::command::Command;
use common::diagnostic::Diagnostic;

/// What an argument is, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing can be offered for it.
    Free,
    /// The name of a node that was created.
    Node,
    /// Names of nodes in groups, to the end of the line.
    Groups,
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

/// All commands: first the course's, then Marionette's own.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [course::TABLE, own::TABLE, faults::TABLE]
        .into_iter()
        .flatten()
}

/// The entry of the command called `name`, without regard to case.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Every word by which any command can be called.
pub fn names() -> impl Iterator<Item = &'static str> {
    entries().flat_map(Entry::names)
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
const INPUT: Argument = required("INPUT", Kind::Free);
const APP_FILE: Argument = required("APP_FILE", Kind::File);
const RUN_KEY: Argument = optional("key=KEY", Kind::Free);
