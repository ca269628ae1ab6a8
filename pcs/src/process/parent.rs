//! A node dies with the PCS that started it, also when the PCS is killed by SIGKILL.
//!
//! The kernel sends the child SIGKILL when the *thread* that forked it ends (`PR_SET_PDEATHSIG`, prctl(2)); that is
//! the launcher's, which lives as long as the PCS. The child asks for this itself, at its start, because then nothing
//! runs between fork and exec and no `unsafe` is needed. That leaves a window until it has asked; a PCS that died in it
//! shows afterwards as another parent, and the child ends at once. Before, a child does nothing at all.

use common::node::PARENT_VARIABLE;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    #[error("the process {expected} that started this node is gone")]
    Orphaned { expected: i32 },
    #[error(
        "{PARENT_VARIABLE} is set by a PCS for the nodes that it starts, to a process id, not to `{0}`"
    )]
    NotAProcess(String),
    #[error("the kernel refused to end this node together with its PCS: {0}")]
    Refused(nix::Error),
}

/// To be called first in `main`, from the main thread: the kernel keeps this setting per thread.
/// Does nothing when the process was not started by a PCS.
pub fn die_with_parent() -> Result<(), OrphanError> {
    let Some(expected) = std::env::var_os(PARENT_VARIABLE) else {
        return Ok(());
    };
    let expected = expected.to_string_lossy();
    let expected: i32 = expected
        .parse()
        .map_err(|_| OrphanError::NotAProcess(expected.into_owned()))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(OrphanError::Refused)?;
    if getppid().as_raw() == expected {
        Ok(())
    } else {
        Err(OrphanError::Orphaned { expected })
    }
}
