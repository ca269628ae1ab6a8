//! The languages that operators are written in here. Any other that makes components of the contract is as good.

use std::fmt;

/// What an operator is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// A crate, or one `.rs` file; becomes a component or a native library.
    Rust,
    /// ES modules, run by `QuickJS`.
    JavaScript,
    /// Modules, run by `CPython`.
    Python,
    /// Sources for clang and wasi-libc.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rust, Self::JavaScript, Self::Python, Self::C];

    /// How files of source end, without the dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Rust => "rs",
            Self::JavaScript => "js",
            Self::Python => "py",
            Self::C => "c",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        })
    }
}
