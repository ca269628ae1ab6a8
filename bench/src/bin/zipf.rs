//! Writes a text by Zipf's law into a file, or to standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bench::zipf::Zipf;
use clap::Parser;

/// Writes a text with 100,000 different words, the frequent ones far more often than the rare ones
#[derive(Debug, Parser)]
struct Arguments {
    /// How much, such as 1G, 64M or 1000
    #[arg(long, value_parser = bytes)]
    bytes: u64,
    /// Of chance: the same seed makes the same text
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where it goes [default: standard output]
    file: Option<PathBuf>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let out: Box<dyn Write> = match &arguments.file {
        Some(file) => Box::new(File::create(file)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    Zipf::new(arguments.seed).write(arguments.bytes, &mut out)?;
    out.flush()
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.strip_prefix(digits).unwrap_or_default() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        unit => return Err(format!("`{unit}` is none of K, M and G")),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("`{text}` is no number of bytes"))
}
