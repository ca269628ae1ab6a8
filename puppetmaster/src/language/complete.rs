//! What can stand at the end of an unfinished line, from the table of commands.

use super::command::Condition;
use super::setting::Setting;
use super::table::{Argument, Entry, Kind, find, names};

/// What is offered for one place of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// One of these words.
    Words(Vec<String>),
    /// The name of a file or directory that starts like this.
    File(String),
    Nothing,
}

/// The byte where the word at the end of `line` starts, and what it can become. `nodes` are the names of all nodes.
pub fn complete(line: &str, nodes: &[String]) -> (usize, Offer) {
    let start = line.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let (before, word) = line.split_at(start);
    let before: Vec<&str> = before.split_whitespace().collect();
    (start, offer(&before, word, nodes))
}

fn offer(before: &[&str], word: &str, nodes: &[String]) -> Offer {
    let starting = |words: Vec<&str>| {
        let wanted = word.to_lowercase();
        let matching = words
            .into_iter()
            .filter(|known| known.to_lowercase().starts_with(&wanted));
        Offer::Words(matching.map(str::to_owned).collect())
    };
    let Some((command, arguments)) = before.split_first() else {
        return starting(names().collect());
    };
    let Some(entry) = find(command) else {
        return Offer::Nothing;
    };
    match kind_at(entry, arguments) {
        Place::Inner(inner) => offer(inner, word, nodes),
        Place::Node => starting(nodes.iter().map(String::as_str).collect()),
        Place::Argument(argument) => match argument.kind {
            Kind::Node => starting(nodes.iter().map(String::as_str).collect()),
            Kind::Groups => {
                let behind = word.rfind([',', '|']).map_or(0, |separator| separator + 1);
                let before = word.get(..behind).unwrap_or_default();
                let names: Vec<String> =
                    nodes.iter().map(|name| format!("{before}{name}")).collect();
                starting(names.iter().map(String::as_str).collect())
            }
            Kind::AtNode => starting(vec!["at"]),
            Kind::File => Offer::File(word.to_owned()),
            Kind::Setting => starting(Setting::NAMES.iter().map(|(name, _)| *name).collect()),
            Kind::Condition => starting(
                Condition::ALL
                    .iter()
                    .map(|condition| condition.name())
                    .collect(),
            ),
            Kind::CommandName | Kind::Command => starting(names().collect()),
            Kind::Free => Offer::Nothing,
        },
        Place::End => Offer::Nothing,
    }
}

/// What is expected behind the words so far.
enum Place<'a> {
    Argument(&'static Argument),
    /// The name behind `at`.
    Node,
    /// Inside of an inner command with these words.
    Inner(&'a [&'a str]),
    End,
}

fn kind_at<'a>(entry: &'static Entry, arguments: &'a [&'a str]) -> Place<'a> {
    if let Some(inner) = entry
        .arguments
        .iter()
        .position(|argument| argument.kind == Kind::Command)
        && let Some(words) = arguments.get(inner..).filter(|words| !words.is_empty())
    {
        return Place::Inner(words);
    }
    if let Some(groups) = entry
        .arguments
        .first()
        .filter(|first| first.kind == Kind::Groups)
    {
        return Place::Argument(groups);
    }
    let at = entry
        .arguments
        .iter()
        .position(|argument| argument.kind == Kind::AtNode);
    if let (Some(at), Some(last)) = (at, arguments.last()) {
        let required = entry
            .arguments
            .iter()
            .filter(|argument| !argument.optional)
            .count();
        if *last == "at" && arguments.len() > required {
            return Place::Node;
        }
        // Whatever optional argument stands before it may be left out.
        if arguments.len() >= required && arguments.len() <= at {
            return entry.arguments.get(at).map_or(Place::End, Place::Argument);
        }
    }
    entry
        .arguments
        .get(arguments.len())
        .map_or(Place::End, Place::Argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(line: &str, expected: &Expect) {
        let nodes = ["sc1", "s1", "s2"].map(str::to_owned);
        let (start, offer) = complete(line, &nodes);
        let found = match offer {
            Offer::Words(words) => words.join(" "),
            Offer::File(start) => format!("file {start}"),
            Offer::Nothing => String::new(),
        };
        expected.assert_eq(&format!("{start}: {found}"));
    }

    #[test]
    fn commands_are_completed_without_regard_to_case() {
        check("ST", &expect!["0: storage status stop start"]);
        check("expect-", &expect!["0: expect-run expect-fail"]);
        check("expect-fail cr", &expect!["12: crash"]);
        check("repeat 3 cl", &expect!["9: client"]);
        check("help lis", &expect!["5: listServer listGlobal"]);
    }

    #[test]
    fn arguments_are_completed_by_their_kind() {
        check("crash s", &expect!["6: sc1 s1 s2"]);
        check("repeat 3 crash ", &expect!["15: sc1 s1 s2"]);
        check("populate scripts/da", &expect!["9: file scripts/da"]);
        check("client 23 ap", &expect!["10: file ap"]);
        check("client ap", &expect!["7: "]);
        check("load 15 5000 23 ap", &expect!["16: file ap"]);
        check("set max", &expect!["4: max_versions"]);
        check("await ", &expect!["6: ready runs converged"]);
        check("read 23 a", &expect!["8: at"]);
        check("read 23 at s", &expect!["11: sc1 s1 s2"]);
        check("write 23 ", &expect!["9: "]);
        check("write 23 11 at ", &expect!["15: sc1 s1 s2"]);
        check("crash s1 ", &expect!["9: "]);
        check("cut s1 s", &expect!["7: sc1 s1 s2"]);
        check("partition s1,s", &expect!["10: s1,sc1 s1,s1 s1,s2"]);
        check("partition s1 | s", &expect!["15: sc1 s1 s2"]);
        check("nothing x", &expect!["8: "]);
    }
}
