//! Native operators: libraries that can do whatever the worker can, hence loaded only when it was started so. They run in
//! the worker, where a crash ends it, or in children of it.
//!
//! - [`library`]: loading one and calling into it; unsafe code. - [`task`]: one task, its storage calls performed on the
//!   session outside. - [`isolated`], [`child`], [`frame`]: the same in another process. - [`convert`]: the SDK's types
//!   and the worker's.

mod child;
mod convert;
mod frame;
mod isolated;
mod library;
mod task;

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use marionette_sdk::Item;
use marionette_sdk::native::{self as abi, TaskError};

pub use child::serve_native_tasks;
pub use isolated::ChildCommand;
pub(super) use isolated::Children;
use isolated::IsolatedLibrary;
use library::{Library, Perform};
pub(super) use task::run;

/// The operators of one library.
pub(super) enum NativeOperators {
    Here(Library),
    Isolated(IsolatedLibrary),
}

impl NativeOperators {
    /// Loads a library, in a child if there are any; the error says why it is refused. Blocks: runs on a thread for that.
    pub(super) fn load(path: &Path, children: Option<Arc<Children>>) -> Result<Self, String> {
        match children {
            None => Library::load(path).map(Self::Here),
            Some(children) => IsolatedLibrary::load(path, children).map(Self::Isolated),
        }
    }

    pub(super) fn classes(&self) -> &[String] {
        match self {
            Self::Here(library) => library.classes(),
            Self::Isolated(library) => library.classes(),
        }
    }

    /// Runs a task, blocking until its operator returns; in a child, it ends also when it is stopped.
    fn call(&self, task: &abi::Task, perform: &mut Perform<'_>, stop: &Stop) -> NativeEnd {
        match self {
            Self::Here(library) => {
                let answer = library.call(task, perform);
                answer.map_or(NativeEnd::TooLarge, NativeEnd::Returned)
            }
            Self::Isolated(library) => library.call(task, perform, stop),
        }
    }
}

/// How a task ended.
enum NativeEnd {
    Returned(Result<Vec<Item>, TaskError>),
    /// Its process ended, in the words of the text.
    Crashed(String),
    /// It said more than a message holds.
    TooLarge,
    /// There was no process for it.
    Host(String),
}

/// Ends the connection to the child that runs a task: whoever waits for the child then kills it.
#[derive(Default)]
struct Stop(Mutex<Stopping>);

#[derive(Default)]
struct Stopping {
    is_set: bool,
    connection: Option<UnixStream>,
}

impl Stop {
    fn set(&self) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.is_set = true;
        if let Some(connection) = stopping.connection.take() {
            // It may have ended by itself.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// The connection is of no concern to it any more; false when it has been ended.
    fn release(&self) -> bool {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.connection = None;
        !stopping.is_set
    }

    /// From now on this connection is what is ended; at once when it is too late already.
    fn guard(&self, connection: &UnixStream) -> io::Result<()> {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.is_set {
            return connection.shutdown(Shutdown::Both);
        }
        stopping.connection = Some(connection.try_clone()?);
        Ok(())
    }
}

/// Stops a task when the future that waits for it is dropped or has ended.
struct StopOnDrop(Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
