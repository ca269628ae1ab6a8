//! `check`: whether a history keeps the properties of the storage.

use std::fs::File;
use std::io::{BufReader, stderr};
use std::process::ExitCode;

use history::{edn, read, verdict};

use crate::cli::{Check, OutputFormat};
use crate::failure::Failure;
use crate::terminal::is_coloured;

pub fn run(arguments: &Check) -> Result<ExitCode, Failure> {
    let name = arguments.history.display().to_string();
    let file = File::open(&arguments.history)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let recorded = match read(&name, BufReader::new(file)) {
        Ok(recorded) => recorded,
        Err(wrong) => {
            for diagnostic in wrong {
                eprint!("{}", diagnostic.render(is_coloured(&stderr())));
            }
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(path) = &arguments.edn {
        std::fs::write(path, edn::edn(&recorded))
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
    }
    let verdict = verdict::check(&recorded);
    match arguments.output {
        OutputFormat::Text => print!("{name}: {verdict}"),
        OutputFormat::Json => println!("{}", verdict.json(&name)),
    }
    Ok(ExitCode::from(u8::from(!verdict.holds())))
}
