//! Why a build ends without a component.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use thiserror::Error;

use crate::language::Language;

/// Why a build ends without a component. What a compiler said is on standard error before.
#[derive(Debug, Error)]
pub enum BuildError {
    /// There is nothing at the path.
    #[error("there is no {}", .0.display())]
    NoSuchSource(PathBuf),
    /// The path is of no language known here, or of several.
    #[error("{}: {reason}", path.display())]
    UnknownSource {
        /// What was to be built.
        path: PathBuf,
        /// What is expected of it.
        reason: String,
    },
    /// Only Rust has native libraries.
    #[error("{0} operators have no native libraries: leave out --native")]
    NoNative(Language),
    /// The machine lacks something; the text says what to install.
    #[error("no toolchain for {target}: {missing} is missing")]
    NoToolchain {
        /// What was to be built.
        target: &'static str,
        /// What was not found.
        missing: String,
        /// How to get it, on each kind of machine.
        install: &'static str,
    },
    /// A program of the toolchain failed, and said why.
    #[error("{program} failed ({status})")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// What the compiler made cannot become a component.
    #[error("{0}")]
    NoComponent(String),
    /// A file cannot be read or written, or a program not be started.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl BuildError {
    /// What the author can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoToolchain { install, .. } => Some(install),
            Self::NoSuchSource(_) | Self::UnknownSource { .. } => {
                Some("`marionette operator new NAME --lang LANGUAGE` makes a directory that builds")
            }
            _ => None,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
