//! Loading a native library, and calling it. The worker's other unsafe code is in
//! `wasm/artifact.rs` and `heap.rs`, each for one call.
//!
//! Promises: nothing of a library is called before its fingerprint is known to be the worker's own; a loaded
//! library is never unloaded, so that its code and its table are valid for ever.
//!
//! Relies on: the contract of [`marionette_sdk::native`], which both sides share by the fingerprint, and on the
//! operator of the worker having chosen to trust the file.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::path::Path;

use marionette_sdk::Item;
use marionette_sdk::native::{
    self as abi, ABI_VERSION, ENTRY_SYMBOL, Entry, FINGERPRINT, HostCall, HostCalls, MAGIC, Sink,
    Slice, Table, TaskError,
};

use crate::host::limits::FRAME_BYTES_MAX;

/// What a task's calls go to; called on the task's thread.
pub(super) type Perform<'a> = dyn FnMut(HostCall) -> Vec<u8> + 'a;

/// The operators of one library.
pub(in crate::host) struct Library {
    classes: Vec<String>,
    table: &'static Table,
}

impl Library {
    /// Loads a library; the error says why it is refused. Blocks: runs on a thread for that.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: a library's initialisers may do anything. Whoever started the worker with `--allow-native`
        // trusts the files in the directory as much as the worker itself.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|error| format!("it is no native library of this machine: {error}"))?;
        // Never unloaded, also when refused: its threads and destructors may have begun to run.
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        let table = table(library)?;
        let mut answer: Vec<u8> = Vec::new();
        // SAFETY: the fingerprint is our own, so the function has this type; `answer` outlives the call.
        unsafe { (table.classes)(into_vec(&mut answer)) };
        let classes = abi::decode(&answer)
            .map_err(|reason| format!("its list of classes is malformed: {reason}"))?;
        Ok(Self { classes, table })
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Runs a task on this thread until its operator returns. None: it returned more than a message holds, which is not
    /// even read.
    pub(super) fn call(
        &self,
        task: &abi::Task,
        perform: &mut Perform<'_>,
    ) -> Option<Result<Vec<Item>, TaskError>> {
        let task = abi::encode(task);
        let mut answer: Vec<u8> = Vec::new();
        let mut perform = perform;
        let host = HostCalls {
            context: (&raw mut perform).cast(),
            call: host_call,
        };
        // SAFETY: the fingerprint is our own, so the function has this type and keeps none of the pointers;
        // `task`, `perform` and `answer` outlive the call, and are used by nobody else meanwhile.
        unsafe { (self.table.run)(Slice::new(&task), host, into_vec(&mut answer)) };
        let fits = answer.len() < FRAME_BYTES_MAX as usize;
        fits.then(|| {
            abi::decode(&answer).unwrap_or_else(|reason| Err(TaskError::Malformed(reason)))
        })
    }
}

/// Finds the table of a library and makes sure that it was built as the worker was.
fn table(library: &'static libloading::Library) -> Result<&'static Table, String> {
    // SAFETY: the symbol is looked up by a name that only the SDK's registration exports, with this type.
    let entry = unsafe { library.get::<Entry>(ENTRY_SYMBOL) }
        .map_err(|_| format!("it has no {ENTRY_SYMBOL}: no line of registration in it"))?;
    // SAFETY: as above; the function takes nothing and returns the address of a static.
    let pointer = unsafe { entry() };
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(format!("its {ENTRY_SYMBOL} returns no table"));
    }
    // SAFETY: not null, aligned, and in a library that stays. `magic` and `abi_version` come first in every
    // version of the table; they are read before anything that another version may have elsewhere.
    let (magic, abi_version) = unsafe { ((*pointer).magic, (*pointer).abi_version) };
    if magic != MAGIC {
        return Err(format!("its {ENTRY_SYMBOL} returns no table of Marionette"));
    }
    if abi_version != ABI_VERSION {
        return Err(format!(
            "it was built for native ABI {abi_version}, this worker has {ABI_VERSION}: build it again"
        ));
    }
    // SAFETY: of the same ABI version, the table has our layout; it is a static of the library.
    let table: &'static Table = unsafe { &*pointer };
    // SAFETY: the fingerprint is a constant of the library.
    let theirs = unsafe { table.fingerprint.bytes() };
    if theirs != FINGERPRINT.as_bytes() {
        return Err(format!(
            "it was built by \"{}\", this worker by \"{FINGERPRINT}\": build it again with the worker's \
             compiler and SDK",
            String::from_utf8_lossy(theirs)
        ));
    }
    Ok(table)
}

/// A sink that fills `target`.
fn into_vec(target: &mut Vec<u8>) -> Sink {
    Sink {
        context: std::ptr::from_mut(target).cast(),
        put: abi::copy_into_vec,
    }
}

/// Performs a call of the library.
///
/// # Safety
/// `context` is the `perform` of [`Library::call`], still running; `call` and `sink` follow the contract.
unsafe extern "C" fn host_call(context: *mut c_void, call: Slice, sink: Sink) {
    // SAFETY: as the caller promises; the operator runs on one thread, so nobody else uses `perform`.
    let perform = unsafe { &mut *context.cast::<&mut Perform<'_>>() };
    // SAFETY: valid for the time of this call.
    let decoded = abi::decode(unsafe { call.bytes() });
    // An empty answer is malformed for every call that has one, which the SDK makes an error of.
    let answer = decoded.map(perform).unwrap_or_default();
    // SAFETY: the sink copies the bytes before it returns.
    unsafe { (sink.put)(sink.context, Slice::new(&answer)) };
}
