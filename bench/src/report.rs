//! Results as tables for people.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::client::Tallies;

/// Operations by kind and by how they ended.
pub fn operations(tallies: &Tallies) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "operation",
        "answered",
        "refused",
        "unknown",
    ]);
    for (name, tally) in tallies {
        table.add_row([
            (*name).to_owned(),
            tally.answered.to_string(),
            tally.refused.to_string(),
            tally.unknown.to_string(),
        ]);
    }
    table
}
