//! `check`: whether a history keeps the storage's promises.

use std::fs::File;
use std::io::BufReader;

use common::diagnostic::{Diagnostic, Line};
use history::{check, read};

use super::Interpreter;
use crate::language::Name;
use crate::language::files::{Disk, find_path};
use crate::outcome::Failure;
use crate::output::Event;
use crate::script::blocking;

impl Interpreter {
    pub(super) async fn check(&self, line: &Line, file: &Name) -> Result<(), Failure> {
        let path = find_path(&Disk, &line.file, file.text()).map_err(Failure::new)?;
        let judge = move || {
            let name = path.display().to_string();
            let opened = File::open(&path);
            let unreadable = |error| {
                vec![Diagnostic::of_file(
                    &name,
                    format!("cannot read it: {error}"),
                )]
            };
            let recorded = read(&name, BufReader::new(opened.map_err(unreadable)?))?;
            Ok(check(&recorded))
        };
        let judged = blocking(judge).await;
        let judged =
            judged.ok_or_else(|| Failure::new("the thread that checks the history has failed"))?;
        let verdict = judged.map_err(Failure::Wrong)?;
        let holds = verdict.holds();
        self.cluster.output.say(&Event::Checked {
            file: file.text().to_owned(),
            verdict,
        });
        if holds {
            return Ok(());
        }
        Err(Failure::Told {
            message: format!("not every property holds in `{file}`"),
        })
    }
}
