//! `storage verify`: prints what a data directory holds, or what is wrong with it.

use std::process::ExitCode;

use serde_json::{Value, json};
use storage::verify::{Owner, Report, VerifyError, verify};

use crate::cli::{OutputFormat, Verify};
use crate::failure::Failure;

pub fn run(arguments: &Verify) -> Result<ExitCode, Failure> {
    let report = verify(&arguments.directory).map_err(failure)?;
    match arguments.output {
        OutputFormat::Text => print!("{}", text(&report)),
        OutputFormat::Json => println!("{}", object(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn failure(error: VerifyError) -> Failure {
    match error {
        VerifyError::Damaged(why) => Failure::other(format!("damaged: {why}")).hint(
            "start the node with an empty directory and --replace: it copies what the others have",
        ),
        VerifyError::NoData(_) | VerifyError::Unreadable(_) => Failure::usage(error.to_string()),
    }
}

fn text(report: &Report) -> String {
    let mut lines = owned(&report.owner).to_vec();
    let torn = report.torn.as_ref().map_or("none".to_owned(), |torn| {
        format!(
            "{} bytes from offset {} of {}, never synced: the next start cuts them off",
            torn.bytes, torn.offset, torn.file
        )
    });
    lines.extend([
        (
            "records",
            format!("{}, {} versions", report.records, report.versions),
        ),
        (
            "reserved",
            format!("{} of runs, operators and the lease", report.reserved),
        ),
        (
            "undecided",
            match report.undecided.as_slice() {
                [] => "none".to_owned(),
                records => format!("{}: {}", records.len(), records.join(" ")),
            },
        ),
        (
            "table",
            format!(
                "{} keys, all changes up to {}",
                report.table_keys, report.covers
            ),
        ),
        (
            "log",
            format!(
                "{} segments of {} bytes, changes up to {}",
                report.log_segments, report.log_bytes, report.changes
            ),
        ),
        ("torn tail", torn),
    ]);
    let lines = lines
        .into_iter()
        .map(|(name, value)| format!("{name:<10} {value}\n"));
    lines.chain(["sound\n".to_owned()]).collect()
}

fn owned(owner: &Owner) -> [(&'static str, String); 4] {
    let member = if owner.joined {
        ""
    } else {
        ", not yet a member"
    };
    [
        (
            "node",
            format!("{}, replica {}{member}", owner.node, owner.replica),
        ),
        ("ring", owner.ring.clone()),
        ("settings", owner.settings.clone()),
        ("disk", format!("{:016x}", owner.disk)),
    ]
}

fn object(report: &Report) -> Value {
    let owner = &report.owner;
    let owner = json!({
        "node": owner.node, "replica": owner.replica, "ring": owner.ring, "settings": owner.settings,
        "disk": format!("{:016x}", owner.disk), "joined": owner.joined,
    });
    let torn = report
        .torn
        .as_ref()
        .map(|torn| json!({"file": torn.file, "offset": torn.offset, "bytes": torn.bytes}));
    json!({
        "owner": owner, "records": report.records, "versions": report.versions, "reserved": report.reserved, "undecided": report.undecided,
        "changes": report.changes, "table_keys": report.table_keys, "covers": report.covers,
        "log_segments": report.log_segments, "log_bytes": report.log_bytes, "torn": torn,
    })
}
