//! Where the files that a script names are looked for: beside the script, then in the working directory.

use std::path::{Path, PathBuf};

/// A file that a script names is at most this large.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Reading of files, so that the check of a script can be tested without any.
pub trait Files {
    /// The text of a file; `None` when there is no such file.
    fn read(&self, path: &Path) -> Option<Result<String, String>>;
    fn is_file(&self, path: &Path) -> bool;
    fn is_directory(&self, path: &Path) -> bool;
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As it is named in diagnostics.
    pub path: String,
    pub text: String,
}

/// The places where `name`, written in the script `script`, may be.
fn candidates(script: &str, name: &str) -> Vec<PathBuf> {
    let beside = Path::new(script)
        .parent()
        .unwrap_or(Path::new(""))
        .join(name);
    let here = PathBuf::from(name);
    if beside == here {
        vec![here]
    } else {
        vec![beside, here]
    }
}

/// Looks for a file and reads it; the error says why it cannot be used.
pub fn find(files: &dyn Files, script: &str, name: &str) -> Result<Found, String> {
    for path in candidates(script, name) {
        if let Some(text) = files.read(&path) {
            let path = path.display().to_string();
            return text
                .map(|text| Found {
                    path: path.clone(),
                    text,
                })
                .map_err(|why| format!("cannot read {path}: {why}"));
        }
    }
    Err(format!(
        "there is no file `{name}` beside the script or in the working directory"
    ))
}

/// Looks for a file that is not read now.
pub fn find_path(files: &dyn Files, script: &str, name: &str) -> Result<PathBuf, String> {
    let candidates = candidates(script, name);
    if let Some(path) = candidates.iter().find(|path| files.is_file(path)) {
        return Ok(path.clone());
    }
    Err(if candidates.iter().any(|path| files.is_directory(path)) {
        format!("`{name}` is a directory")
    } else {
        format!("there is no file `{name}` beside the script or in the working directory")
    })
}

/// Looks for a directory.
pub fn find_directory(files: &dyn Files, script: &str, name: &str) -> Result<PathBuf, String> {
    candidates(script, name)
        .into_iter()
        .find(|path| files.is_directory(path))
        .ok_or_else(|| {
            format!("there is no directory `{name}` beside the script or in the working directory")
        })
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Option<Result<String, String>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(error.to_string())),
        };
        if metadata.is_dir() {
            return Some(Err("it is a directory".to_owned()));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Some(Err(format!(
                "it has {} bytes, more than {FILE_BYTES_MAX}",
                metadata.len()
            )));
        }
        let text = std::fs::read(path).map_err(|error| error.to_string());
        Some(text.and_then(utf8))
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

/// The text of a file's bytes, or the line in which it stops being UTF-8.
pub fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })
}
