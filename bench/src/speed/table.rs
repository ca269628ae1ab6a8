//! Tables of figures, for people.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::measure::Figures;

/// What a column says of a measurement.
type Column = (&'static str, fn(&Figures) -> String);

const COLUMNS: [Column; 8] = [
    ("clients", |figures| figures.clients.to_string()),
    ("op/s", |figures| rate(figures.rate())),
    ("p50 ms", |figures| milliseconds(figures.percentile(0.5))),
    ("p99 ms", |figures| milliseconds(figures.percentile(0.99))),
    ("tries", |figures| {
        format!("{:.1}", figures.tries_per_operation())
    }),
    ("syncs/op", |figures| {
        format!("{:.2}", figures.syncs_per_operation())
    }),
    ("CPU µs/op", |figures| {
        format!("{:.0}", figures.cpu_us_per_operation())
    }),
    ("failed", |figures| figures.failures.len().to_string()),
];

/// A line for each measurement, after the words that name it.
pub struct Report(Table);

impl Report {
    pub fn new(names: &[&str]) -> Self {
        let columns = COLUMNS.iter().map(|(name, _)| *name);
        Self(table(names.iter().copied().chain(columns), names.len()))
    }

    pub fn add(&mut self, names: &[&str], figures: &Figures) {
        let names = names.iter().map(|name| (*name).to_owned());
        let cells = COLUMNS.iter().map(|(_, cell)| cell(figures));
        self.0.add_row(names.chain(cells).collect::<Vec<_>>());
    }

    pub fn print(&self) {
        println!("{}\n", self.0);
    }
}

/// All columns but the first are numbers.
fn table<'a>(header: impl Iterator<Item = &'a str>, names: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header.collect::<Vec<_>>());
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub fn rate(rate: f64) -> String {
    format!("{rate:.0}")
}

/// `-` when there is none.
pub fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| {
        format!("{:.2}", time.as_secs_f64() * 1e3)
    })
}
