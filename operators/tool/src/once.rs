//! `marionette operator run`: one operator once, on records in memory.

use std::io;
use std::path::Path;

use crate::compare::log_lines;
use crate::rehearse::{Outcome, Setup, Stand, kind};
use crate::show;
use crate::unusable::{Terminal, Unusable, Verdict};

/// Runs one attempt by the operators of a file, or by those that ship. Its items go to `terminal.out`, one in a line
/// (after its key and a tab where it has one); log, changed records and error to `terminal.err`. Errors: the file
/// cannot be used, or has no such class.
pub async fn run_once(
    file: Option<&Path>,
    allow_native: bool,
    setup: &Setup,
    terminal: &mut Terminal<'_>,
) -> Result<Verdict, Unusable> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(Unusable::new(format!(
            "there is no file {}",
            file.display()
        )));
    }
    let stand = Stand::load(file, allow_native).await?;
    stand.require(&setup.class)?;
    let outcome = stand.rehearse(setup).await;
    remarks(setup, &outcome, terminal)?;
    match &outcome.result {
        Ok(items) => {
            for item in items {
                let value = show::plain(&item.value);
                match &item.key {
                    Some(key) => {
                        let key = show::plain(key.as_bytes());
                        writeln!(terminal.out, "{key}\t{value}")?;
                    }
                    None => writeln!(terminal.out, "{value}")?,
                }
            }
            Ok(Verdict::Good)
        }
        Err(failure) => {
            let (class, kind) = (&setup.class, kind(failure));
            writeln!(terminal.err, "error: operator {class} ({kind}): {failure}")?;
            Ok(Verdict::Bad)
        }
    }
}

fn remarks(setup: &Setup, outcome: &Outcome, terminal: &mut Terminal<'_>) -> io::Result<()> {
    for line in log_lines(outcome) {
        writeln!(terminal.err, "log     {line}")?;
    }
    for (id, value) in &outcome.records {
        let before = setup.records.get(id);
        if before != Some(value) {
            let (before, after) = (show::found(before), show::quoted(value));
            let id = show::quoted(id.as_bytes());
            writeln!(terminal.err, "record  {id}: {before} -> {after}")?;
        }
    }
    Ok(())
}
