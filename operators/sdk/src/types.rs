//! Requests, items, records and versions: the types of `operators/wit/operator.wit`, for both ways of building.

#[cfg(not(target_family = "wasm"))]
use serde::{Deserialize, Serialize};

use crate::error::OperatorError;

/// What flows between stages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct Item {
    /// Groups items for `reduce` stages; `None` elsewhere.
    pub key: Option<String>,
    /// Any bytes.
    pub value: Vec<u8>,
}

impl Item {
    /// The value as text; another attempt would find the same bytes, hence an invalid request when they are
    /// not UTF-8.
    pub fn text(&self) -> Result<&str, OperatorError> {
        std::str::from_utf8(&self.value)
            .map_err(|_| OperatorError::InvalidRequest("an item is not UTF-8 text".to_owned()))
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Self {
        Self {
            key: None,
            value: text.into_bytes(),
        }
    }
}

/// One attempt at one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct Request {
    /// The number of the run, unique in the cluster.
    pub run: u64,
    /// The number of the stage within the application, from 0.
    pub stage: u32,
    /// The number of the task within the stage, from 0. A plain stage has one task.
    pub task: u32,
    /// The number of the attempt at this task, from 1.
    pub attempt: u32,
    /// The input that the run was submitted with.
    pub input: String,
    /// The options of the stage, as the application file gives them: name and value, in the order of their names.
    pub options: Vec<(String, String)>,
    /// What the stage before returned, or the task's part of it; empty for stage 0.
    pub items: Vec<Item>,
}

impl Request {
    /// An option of the stage; `None` when the application file does not give it.
    pub fn option(&self, name: &str) -> Option<&str> {
        let given = self.options.iter().find(|(option, _)| option == name);
        given.map(|(_, value)| value.as_str())
    }

    /// The one item of a plain chain.
    pub fn item(&self) -> Result<&Item, OperatorError> {
        match self.items.as_slice() {
            [item] => Ok(item),
            items => Err(OperatorError::InvalidRequest(format!(
                "one item expected of the stage before, found {}",
                items.len()
            ))),
        }
    }
}

/// Names one value of one record for ever. How versions are ordered is in the contract; an operator needs
/// equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct Version {
    /// Counts the plain writes of the record, from 1.
    pub number: u64,
    /// The storage node that accepted the write which this version stems from.
    pub replica: u32,
    /// How many updates in a row followed that write.
    pub step: u32,
}

/// One version of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub struct Record {
    /// Which version.
    pub version: Version,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl Record {
    /// The value as text, `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(Serialize, Deserialize))]
pub enum Level {
    /// For the author of the operator, while it is written.
    Debug,
    /// What the operator does.
    Info,
    /// What somebody may want to look into.
    Warn,
    /// What went wrong.
    Error,
}
