//! Just enough of Rust's syntax to tell code from comments, literals and tests, and to find functions.

use std::collections::BTreeMap;

/// True when `word` is in `text`, not as a part of a longer one.
pub fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let joins_before = word.starts_with(is_part) && text[..start].ends_with(is_part);
        let joins_after =
            word.ends_with(is_part) && text[start + word.len()..].starts_with(is_part);
        !joins_before && !joins_after
    })
}

pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Stands for a line that belongs to tests.
pub const SKIPPED: &str = "//";

/// The text with every `#[cfg(test)]` item replaced, line by line.
pub fn without_tests(text: &str) -> String {
    let code = code_only(text);
    let mut kept = Vec::new();
    let mut depth_to_skip: Option<i64> = None;
    for (line, code) in text.lines().zip(code.lines()) {
        if code.trim() == "#[cfg(test)]" && depth_to_skip.is_none() {
            depth_to_skip = Some(0);
            kept.push(SKIPPED);
        } else if let Some(depth) = depth_to_skip {
            let depth = depth
                + code
                    .chars()
                    .map(|c| i64::from(c == '{') - i64::from(c == '}'))
                    .sum::<i64>();
            let ends = depth == 0 && (code.trim_end().ends_with(';') || code.contains('}'));
            depth_to_skip = (!ends).then_some(depth);
            kept.push(SKIPPED);
        } else {
            kept.push(line);
        }
    }
    kept.join("\n")
}

pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// All functions with a body, nested ones as well.
pub fn functions(code: &str) -> Vec<Function> {
    let starts = code
        .match_indices("fn ")
        .filter(|(start, _)| !code[..*start].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    starts
        .filter_map(|(start, _)| {
            let end = body_end(&code[start..])?;
            let name = code[start + 3..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let lines = code[start..start + end].matches('\n').count() + 1;
            Some(Function {
                name,
                line: line_of(code, start),
                lines,
            })
        })
        .collect()
}

/// Where the body ends that follows a signature; none when a `;` comes first.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return (braces == 0).then_some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text with comments and the contents of strings and characters replaced by spaces, line for line.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let Some(end) = blank_end(&chars, at) else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.extend(
            chars[at..end]
                .iter()
                .map(|&c| if c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    code
}

/// Where the comment or the literal ends that starts here, if one does.
fn blank_end(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let find = |from: usize, what: &[char]| {
        let found = rest[from..]
            .windows(what.len())
            .position(|window| window == what);
        at + found.map_or(rest.len(), |position| from + position + what.len())
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => Some(find(2, &['\n']) - usize::from(rest.contains(&'\n'))),
        ['/', '*', ..] => Some(find(2, &['*', '/'])),
        ['r', '#' | '"', ..] | ['b', 'r', '#' | '"', ..] if !in_word => {
            let hashes = rest
                .iter()
                .skip_while(|c| **c == 'b' || **c == 'r')
                .take_while(|c| **c == '#')
                .count();
            let open = rest.iter().position(|c| *c == '#' || *c == '"')? + hashes;
            let close: Vec<char> = std::iter::once('"')
                .chain(std::iter::repeat_n('#', hashes))
                .collect();
            (rest.get(open) == Some(&'"')).then(|| find(open + 1, &close))
        }
        ['"', ..] => Some(at + quoted_length(rest, '"')),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => Some(at + quoted_length(rest, '\'')),
        _ => None,
    }
}

/// The length of a literal with its quotes; a backslash hides the quote behind it.
fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

#[test]
fn comments_and_literals_are_not_code() {
    let cases: BTreeMap<&str, &str> = [
        ("a // b", "a     "),
        ("a /* b\n */ c", "a     \n    c"),
        ("f(\"x\\\"y\") z", "f(      ) z"),
        ("r#\"a\"b\"# c", "         c"),
        ("'{' 'static", "    'static"),
        ("'\\'' x", "     x"),
        ("br\"{\" x", "      x"),
    ]
    .into();
    for (text, code) in cases {
        assert_eq!(code_only(text), code, "{text}");
    }
}
