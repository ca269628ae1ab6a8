//! `marionette operator`: from the command line's arguments to the operator tool, and from its end to an exit status.

use std::process::ExitCode;

use crate::cli::Operator;
use crate::failure::Failure;

pub async fn run(command: Operator) -> Result<ExitCode, Failure> {
    match command {
        Operator::New(_) | Operator::Build(_) => {
            Err(Failure::other("SKELETON: engineer lang fills this in"))
        }
        Operator::Test(_) | Operator::Inspect(_) | Operator::Run(_) => {
            Err(Failure::other("SKELETON: engineer tool fills this in"))
        }
    }
}
