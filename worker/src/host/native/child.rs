//! The process that runs native operators for a worker, one task after another, so that their crash is its own.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use marionette_sdk::native::{self as abi, HostCall};

use super::frame::{ToWorker, receive, receive_bytes, send};
use super::library::Library;

/// Serves the worker at the other end of standard input, a socket, until it is gone. To be called by the command that
/// [`ChildCommand`](super::ChildCommand) names, after it has made sure to die with the worker.
pub fn serve_native_tasks() -> io::Result<()> {
    let mut worker = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // An operator that reads standard input must not read what is meant for us.
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let path: PathBuf = receive(&mut worker)?;
    let (library, loaded) = match Library::load(&path) {
        Ok(library) => {
            let classes = library.classes().to_vec();
            (Some(library), Ok(classes))
        }
        Err(reason) => (None, Err(reason)),
    };
    send(&mut worker, &ToWorker::Loaded(loaded))?;
    let Some(library) = library else {
        return Ok(());
    };
    loop {
        let task: abi::Task = match receive(&mut worker) {
            Ok(task) => task,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut lost = None;
        let result = library.call(&task, &mut |call| {
            ask(&mut worker, call).unwrap_or_else(|error| {
                lost = Some(error);
                // Malformed for every call, which the operator sees as an error of its own.
                Vec::new()
            })
        });
        if let Some(error) = lost {
            return Err(error);
        }
        send(&mut worker, &ToWorker::Ended(result))?;
    }
}

fn ask(worker: &mut UnixStream, call: HostCall) -> io::Result<Vec<u8>> {
    send(worker, &ToWorker::Call(call))?;
    receive_bytes(worker)
}
