//! The machine that builds: where its programs are, and where what is worth keeping goes.
//!
//! Everything that a build finds out about the machine comes through here, so that a test can take programs away.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use worker::host::user_cache;

/// Where programs are looked for, and the directory for what is kept between builds.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Directories of programs, as in `PATH`.
    pub path: OsString,
    /// What is kept between builds, of all projects: compiled libraries, tools, the kit. May be deleted at any time.
    pub cache: PathBuf,
}

impl Machine {
    /// This machine and user: `PATH`, and `$XDG_CACHE_HOME/marionette` or `~/.cache/marionette`.
    pub fn this() -> Self {
        let temporary = || std::env::temp_dir().join("marionette");
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            cache: user_cache().unwrap_or_else(temporary),
        }
    }

    /// The first program of this name.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        self.find_all(program).next()
    }

    /// All programs of this name, in the order of the path.
    pub(crate) fn find_all(&self, program: &str) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.path)
            .map(move |directory| directory.join(program))
            .filter(|file| is_program(file))
    }

    /// The first program of these names, the earlier name first.
    pub(crate) fn find_any<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<PathBuf> {
        names.into_iter().find_map(|name| self.find(name))
    }

    /// A command that finds its own helpers where this machine has them.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path);
        command
    }
}

pub(crate) fn is_program(file: &Path) -> bool {
    let metadata = std::fs::metadata(file);
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
