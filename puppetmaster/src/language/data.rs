//! Data files: one record on each line, `id,value`.

use common::diagnostic::{Diagnostic, Line, lines};
use common::types::{RECORD_ID_BYTES_MAX, VALUE_BYTES_MAX};

/// A record of a data file.
pub type Entry = (String, String);

/// Reads a data file; `file` is its name in diagnostics. Every wrong line is reported.
pub fn parse(file: &str, text: &str) -> Result<Vec<Entry>, Vec<Diagnostic>> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for line in lines(file, text) {
        match parse_line(&line) {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(errors)
    }
}

fn parse_line(line: &Line) -> Result<Entry, Diagnostic> {
    let content = line.content().trim_end();
    let start = content.chars().take_while(|c| c.is_whitespace()).count();
    let content = content.trim_start();
    let hint = "a line of a data file is `id,value`, and neither holds a comma or a space";
    let at = |offset: usize, length: usize, message: String| {
        line.at_columns(start + offset + 1, length, message)
            .hint(hint)
    };
    let Some((id, value)) = content.split_once(',') else {
        return Err(at(
            0,
            content.chars().count(),
            "this line has no comma".to_owned(),
        ));
    };
    let id_chars = id.chars().count();
    if let Some(comma) = value.chars().position(|c| c == ',') {
        return Err(at(
            id_chars + 1 + comma,
            1,
            "this line has a second comma".to_owned(),
        ));
    }
    if let Some(blank) = content.chars().position(char::is_whitespace) {
        return Err(at(blank, 1, "this line holds a space".to_owned()));
    }
    if id.is_empty() || id.len() > RECORD_ID_BYTES_MAX {
        let message = format!(
            "an id has 1 to {RECORD_ID_BYTES_MAX} bytes, not {}",
            id.len()
        );
        return Err(at(0, id_chars, message));
    }
    if value.len() > VALUE_BYTES_MAX {
        let message = format!(
            "a value has at most {VALUE_BYTES_MAX} bytes, not {}",
            value.len()
        );
        return Err(at(id_chars + 1, value.chars().count(), message));
    }
    Ok((id.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::diagnostic::render_all;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: &Expect) {
        let found = match parse("data", text) {
            Ok(entries) => {
                let lines = entries.iter().map(|(id, value)| format!("{id} = {value}"));
                lines.collect::<Vec<_>>().join("\n") + "\n"
            }
            Err(errors) => render_all(&errors, false),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn comments_blank_lines_and_windows_line_ends_are_accepted() {
        check(
            "\u{feff}13,1\r\n\r\n# fourteen\r\n14,one_ahead_of_13 // here\r\n 15,http://x \r\n16,\r\n",
            &expect![[r"
                13 = 1
                14 = one_ahead_of_13
                15 = http://x
                16 = 
            "]],
        );
    }

    #[test]
    fn every_wrong_line_is_reported() {
        check(
            "13 1\n 1,2,3\n14,a b\n,x\n",
            &expect![[r"
            error: this line has no comma
             --> data:1:1
              |
            1 | 13 1
              | ^^^^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space

            error: this line has a second comma
             --> data:2:5
              |
            2 |  1,2,3
              |     ^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space

            error: this line holds a space
             --> data:3:5
              |
            3 | 14,a b
              |     ^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space

            error: an id has 1 to 16384 bytes, not 0
             --> data:4:1
              |
            4 | ,x
              | ^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space
        "]],
        );
    }
}
