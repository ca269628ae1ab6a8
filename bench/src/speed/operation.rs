//! What is measured, of whatever system.

use common::proto::Level;

use super::Result;
use super::keys::Keys;
use super::measure::{Figures, Servers, Span};

/// Records that one client updates in turn.
const OWN: u64 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write(Level),
    /// Compare-and-swap; no two clients update the same record.
    Update,
    /// Compare-and-swap; all clients update one record.
    HotUpdate,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write(Level::Unspecified | Level::One) => "write one",
            Self::Write(Level::Majority) => "write majority",
            Self::Write(Level::All) => "write all",
            Self::Update => "update",
            Self::HotUpdate => "update one record",
        }
    }

    /// What each of the clients touches of so many records.
    pub fn keys(self, records: u64, clients: u64) -> Vec<Keys> {
        match self {
            Self::HotUpdate => Keys::of_one_record(clients),
            _ => Keys::for_clients(records, clients, OWN),
        }
    }
}

/// A system under load.
pub trait System: Servers {
    fn name(&self) -> &'static str;

    /// Lets so many clients do this, with records `0..records` held.
    fn run(
        &mut self,
        operation: Operation,
        records: u64,
        clients: u64,
        span: Span,
    ) -> impl Future<Output = Result<Figures>>;
}
