//! The machine that builds: where its programs are, and where what is worth keeping goes.
//!
//! Everything that a build finds out about the machine comes through here, so that a test can take programs away.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .filter(|directory| !directory.is_empty())
            .map(PathBuf::from)
            .or_else(home)
            .unwrap_or_else(std::env::temp_dir);
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            cache: cache.join("marionette"),
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
