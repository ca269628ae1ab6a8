//! The script language of the puppetmaster: pure, without I/O, clock or network.
//!
//! - [`command`]: what a line can say, as one closed enum.
//! - [`table`]: the one table of commands, from which parser messages, `help` and completion derive.
//! - [`arguments`]: reads the words of one line as typed arguments.
//! - [`parse`]: a text as statements, or every wrong line at once.
//! - [`load`]: when the runs of a load are due.
//! - [`check`]: what is wrong about statements although their syntax is right, before anything starts.
//! - [`data`]: data files. (Application files are read by `common::application`.)
//! - [`files`]: where files are looked for.
//! - [`complete`], [`help`]: what the prompt offers.
//!
//! Promise: a script that passes [`check::check_script`] holds no mistake that its text alone can show. The
//! interpreter checks every statement once more, against the cluster as it then is.

pub mod arguments;
pub mod check;
pub mod command;
pub mod complete;
pub mod data;
pub mod files;
pub mod help;
pub mod load;
pub mod parse;
pub mod setting;
pub mod table;

pub use command::{
    Command, Condition, Durability, Fault, Name, Native, NewNode, OfRun, Role, Submission, Target,
};
pub use parse::Statement;
pub use setting::{Faults, Setting};
