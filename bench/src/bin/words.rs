//! Counts the words of a file, to check what a cluster has counted: lines `word=count`, by word, as a run shows its items.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;

use bench::words;
use clap::Parser;

/// Counts the words of a file: one line `word=count` for each, in the order of the words
#[derive(Debug, Parser)]
struct Arguments {
    file: PathBuf,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let text = BufReader::with_capacity(1 << 20, File::open(arguments.file)?);
    let mut out = BufWriter::new(io::stdout().lock());
    for (word, count) in words::count(text)? {
        writeln!(out, "{word}={count}")?;
    }
    out.flush()
}
