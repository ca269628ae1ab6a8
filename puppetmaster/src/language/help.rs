//! What `help` says, from the table of commands.

use super::table::{entries, find};
use common::diagnostic::did_you_mean;
use std::fmt::Write as _;

/// All commands, or one of them; the error is for a name that is none.
pub fn help(command: Option<&str>) -> Result<String, String> {
    match command {
        None => Ok(all()),
        Some(name) => one(name),
    }
}

fn all() -> String {
    let syntaxes: Vec<String> = entries().map(super::table::Entry::syntax).collect();
    let width = syntaxes.iter().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (entry, syntax) in entries().zip(&syntaxes) {
        let _ = writeln!(text, "{syntax:width$}  {}", entry.help);
    }
    text += "\nA comment starts with #, ; or //. A word with blanks is written in double quotes.";
    text
}

fn one(name: &str) -> Result<String, String> {
    let Some(entry) = find(name) else {
        let hint = did_you_mean(name, super::table::names());
        let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
        return Err(format!("there is no command `{name}`{hint}"));
    };
    let mut text = format!(
        "{}\n{}\nexample: {}",
        entry.syntax(),
        entry.help,
        entry.example
    );
    if !entry.aliases.is_empty() {
        let _ = write!(text, "\nalso: {}", entry.aliases.join(", "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn one_command_is_explained_whatever_its_case() {
        expect![[r"
            wait MS
            Sleeps for MS milliseconds.
            example: wait 1000
            also: wait_interval"]]
        .assert_eq(&help(Some("WAIT")).unwrap());
        expect!["there is no command `wiat`; did you mean `wait`?"]
            .assert_eq(&help(Some("wiat")).unwrap_err());
    }

    #[test]
    fn every_command_is_listed() {
        let text = help(None).unwrap();
        assert!(entries().all(|entry| text.contains(&entry.syntax()) && text.contains(entry.help)));
    }
}
