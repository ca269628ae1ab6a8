//! `marionette operator inspect`: what a file of operators holds, and whether a worker would take it.
//!
//! Promises: the verdict is the worker's own: a component is loaded by its operator host, sandboxed as in a cluster.
//! Of a native library nothing is run unless that is allowed: what is told of it stands in its bytes.
//!
//! - [`component`]: sections of a component; - [`library`]: the table of a native library; - [`report`]: the words.

pub mod component;
pub mod library;
pub mod report;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use marionette_sdk::native::{ABI_VERSION, FINGERPRINT};
use sha2::{Digest, Sha256};
use worker::host::{FILE_BYTES_MAX, HostConfig, MEMORIES_MAX};

use crate::notes::read_bounded;
use crate::rehearse::Stand;
use crate::unusable::Unusable;
use component::Component;
use library::Library;

/// Why a worker takes no native library unasked.
const NOT_ALLOWED: &str = "a worker takes no native library without --allow-native";

/// All that is known of one file.
#[derive(Debug)]
pub struct Report {
    pub file: PathBuf,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    pub kind: Kind,
    /// Empty when they could not be asked for.
    pub classes: Vec<String>,
    /// Why a worker does not take it; empty: it does.
    pub reasons: Vec<String>,
    /// What may fail later.
    pub warnings: Vec<String>,
}

/// What kind of file it is, and what only that kind has.
#[derive(Debug)]
pub enum Kind {
    Component(Component),
    /// A native library; `None` when it has no table of operators.
    Library(Option<Library>),
    /// A core module of WebAssembly, which has no types and hence no contract.
    Module,
    Unknown,
}

/// Looks into a file; a native library is run only with `allow_native`. Errors: the file cannot be read.
pub async fn inspect(file: &Path, allow_native: bool) -> Result<Report, Unusable> {
    let unreadable =
        |reason: String| Unusable::new(format!("{} cannot be read: {reason}", file.display()));
    let (bytes, sha256) = hash(file).map_err(|error| unreadable(error.to_string()))?;
    let mut report = Report {
        file: file.to_owned(),
        bytes,
        sha256,
        kind: Kind::Unknown,
        classes: Vec::new(),
        reasons: Vec::new(),
        warnings: Vec::new(),
    };
    if bytes > FILE_BYTES_MAX {
        let reason = format!("it has {bytes} bytes; a worker takes at most {FILE_BYTES_MAX}");
        report.reasons.push(reason);
        return Ok(report);
    }
    let content = read_bounded(file, FILE_BYTES_MAX).map_err(unreadable)?;
    match content.as_slice() {
        [b'\0', b'a', b's', b'm', _, _, 1, _, ..] => of_component(&mut report, &content).await,
        [b'\0', b'a', b's', b'm', ..] => {
            report.kind = Kind::Module;
            let reason =
                "it is a core module, not a component: `marionette operator build` makes one of it";
            report.reasons.push(reason.to_owned());
        }
        [0x7f, b'E', b'L', b'F', ..] => of_library(&mut report, &content, allow_native).await,
        _ => {
            let reason =
                "it is neither a WebAssembly component nor a native library of this machine";
            report.reasons.push(reason.to_owned());
        }
    }
    Ok(report)
}

async fn of_component(report: &mut Report, content: &[u8]) {
    let component = match component::scan(content) {
        Ok(component) => component,
        Err(reason) => {
            report.reasons.push(format!("it is damaged: {reason}"));
            return;
        }
    };
    report.warnings = component.warnings();
    // What the worker says comes last: it stops at the first reason, which is often one of these in other words.
    match load(&report.file, false).await {
        Ok(classes) => report.classes = classes,
        Err(refusal) => {
            report.reasons = reasons(&component);
            report.reasons.push(refusal);
        }
    }
    report.kind = Kind::Component(component);
}

/// Why a worker does not take a component, as far as its sections tell.
fn reasons(component: &Component) -> Vec<String> {
    let mut reasons = component.contract_reasons();
    let memories = component.memories.len();
    if memories > MEMORIES_MAX as usize {
        reasons.push(format!(
            "it has {memories} memories; a worker gives it at most {MEMORIES_MAX}"
        ));
    }
    let bytes_max = HostConfig::default().memory_bytes_max as u64;
    let bytes = component.memories.iter().map(|memory| memory.initial_bytes);
    let bytes: u64 = bytes.fold(0, u64::saturating_add);
    if bytes > bytes_max {
        reasons.push(format!(
            "its memory begins with {bytes} bytes; a task has at most {bytes_max}"
        ));
    }
    reasons
}

async fn of_library(report: &mut Report, content: &[u8], allow_native: bool) {
    let library = match library::scan(content) {
        Ok(library) => library,
        Err(reason) => {
            report.reasons.push(reason);
            report.kind = Kind::Library(None);
            return;
        }
    };
    if library.abi_version != ABI_VERSION {
        let theirs = library.abi_version;
        report.reasons.push(format!(
            "it was built for native ABI {theirs}, this worker has {ABI_VERSION}: build it again"
        ));
    } else if library.fingerprint != FINGERPRINT {
        report.reasons.push(format!(
            "it was built by \"{}\", this worker by \"{FINGERPRINT}\": build it again with the worker's compiler and SDK",
            library.fingerprint
        ));
    }
    if report.reasons.is_empty() {
        if allow_native {
            match load(&report.file, true).await {
                Ok(classes) => report.classes = classes,
                Err(refusal) => report.reasons.push(refusal),
            }
        } else {
            report.warnings.push(format!(
                "{NOT_ALLOWED}; its classes are known only when it runs: --allow-native"
            ));
        }
    }
    report.kind = Kind::Library(Some(library));
}

/// The classes of a file, by the worker's own host, or why that refuses it.
async fn load(file: &Path, allow_native: bool) -> Result<Vec<String>, String> {
    let stand = Stand::load(Some(file), allow_native).await;
    let stand = stand.map_err(|refused| refused.message)?;
    Ok(stand.classes().to_vec())
}

/// Size and SHA-256 of a file, read piece by piece.
fn hash(file: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    let mut bytes = 0_u64;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
    let digits = hash.finalize();
    let digits = digits.iter().map(|byte| format!("{byte:02x}"));
    Ok((bytes, digits.collect()))
}
