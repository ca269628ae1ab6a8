//! Scripts with other ports than those that are written in them.

use std::collections::BTreeMap;

/// The ports of `http://localhost:PORT` in a script, and a free one for each.
pub fn free_ports_for(text: &str) -> BTreeMap<String, String> {
    let ports = text.split("http://localhost:").skip(1).map(|rest| {
        let [free] = super::free_ports();
        let port = rest.chars().take_while(char::is_ascii_digit).collect();
        (port, free.to_string())
    });
    ports.collect()
}

/// In one pass: a free port may begin with another one's digits.
pub fn replace_ports(text: &str, ports: &BTreeMap<String, String>) -> String {
    let mut pieces = text.split("localhost:");
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.chars().take_while(char::is_ascii_digit).count();
        let (port, rest) = piece.split_at(digits);
        replaced.extend([
            "localhost:",
            ports.get(port).map_or(port, String::as_str),
            rest,
        ]);
    }
    replaced
}

pub fn inverse(ports: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    ports
        .iter()
        .map(|(port, free)| (free.clone(), port.clone()))
        .collect()
}
