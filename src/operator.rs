//! `marionette operator`: from the command line's arguments to the operator tool, and from its end to an exit status.

mod author;

use std::collections::BTreeMap;
use std::io::{stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use common::types::{BlobUrl, Item};
use operator_tool::inspect::inspect;
use operator_tool::once::run_once;
use operator_tool::rehearse::Setup;
use operator_tool::test::test;
use operator_tool::unusable::{Terminal, Unusable, Verdict};

use crate::cli::{Inspect, Once, Operator, OutputFormat};
use crate::failure::Failure;
use crate::terminal::is_coloured;

pub async fn run(command: Operator) -> Result<ExitCode, Failure> {
    let (mut out, mut err) = (stdout(), stderr());
    let mut terminal = Terminal {
        colour: is_coloured(&out),
        out: &mut out,
        err: &mut err,
    };
    let ended = match command {
        Operator::New(arguments) => return author::create(&arguments),
        Operator::Build(arguments) => return author::compile(arguments),
        Operator::Test(arguments) => {
            let only = arguments.only.as_deref();
            test(&arguments.directory, only, &mut terminal).await
        }
        Operator::Inspect(arguments) => report(&arguments, &mut terminal).await,
        Operator::Run(arguments) => once(arguments, &mut terminal).await,
    };
    match ended {
        Ok(Verdict::Good) => Ok(ExitCode::SUCCESS),
        Ok(Verdict::Bad) => Ok(ExitCode::FAILURE),
        Err(unusable) => Err(failure(&unusable)),
    }
}

async fn report(arguments: &Inspect, terminal: &mut Terminal<'_>) -> Result<Verdict, Unusable> {
    let report = inspect(&arguments.file, arguments.allow_native).await?;
    match arguments.output {
        OutputFormat::Text => write!(terminal.out, "{}", report.text())?,
        OutputFormat::Json => writeln!(terminal.out, "{}", report.json())?,
    }
    Ok(if report.reasons.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

async fn once(arguments: Once, terminal: &mut Terminal<'_>) -> Result<Verdict, Unusable> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.unwrap_or_default().as_millis();
    let records = arguments.records.into_iter();
    let setup = Setup {
        class: arguments.class,
        input: arguments.input,
        submitted_unix_ms: u64::try_from(now_ms).unwrap_or(u64::MAX),
        options: arguments.options.into_iter().collect(),
        items: arguments.items.into_iter().map(Item::plain).collect(),
        records: records.map(|(id, value)| (id, value.into())).collect(),
        blobs: blobs(arguments.blobs)?,
        ..Setup::default()
    };
    let file = arguments.file.as_deref();
    run_once(file, arguments.allow_native, &setup, terminal).await
}

fn blobs<B: From<Vec<u8>>>(
    files: Vec<(BlobUrl, PathBuf)>,
) -> Result<BTreeMap<String, B>, Unusable> {
    let read = files.into_iter().map(|(url, file)| {
        let bytes = std::fs::read(&file).map_err(|error| {
            Unusable::new(format!("{} cannot be read: {error}", file.display()))
        })?;
        Ok((url.to_string(), bytes.into()))
    });
    read.collect()
}

/// Prints what is wrong in a file; the rest is for the end of the process.
fn failure(unusable: &Unusable) -> Failure {
    let diagnostics = unusable.rendered(is_coloured(&stderr()));
    if !diagnostics.is_empty() {
        eprintln!("{diagnostics}");
    }
    let failure = Failure::usage(unusable.message.clone());
    match &unusable.hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure,
    }
}
