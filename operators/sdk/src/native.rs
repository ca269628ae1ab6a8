//! The native way across the boundary: a table of C functions which a worker finds under the name
//! `marionette_operators`. Both sides of the boundary are here, so that they cannot differ: what a library
//! exports (called by what [`operators!`](crate::operators) makes), and the types that a worker loads.
//!
//! Promises:
//! - **Nobody frees what the other side allocated.** A [`Slice`] is borrowed for the time of the call; results
//!   are handed to a [`Sink`] of the receiver, which copies them before it returns.
//! - **No panic crosses.** [`run`] catches the operator's; a host's callbacks must not panic.
//! - What crosses is bytes: the types below in postcard encoding.
//!
//! Relies on: both sides having the same [`FINGERPRINT`], which the worker compares before it calls anything.
//! Must never: keep a pointer after the call that brought it.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{BlobError, BlobFault, OperatorError, StorageError, StorageFault, UpdateError};
use crate::host::{BlobReader, Host};
use crate::registration::Operator;
use crate::types::{Item, Level, Record, Request, Version};

/// "MARIONET", in the machine's byte order: tells a table from any other memory.
pub const MAGIC: u64 = 0x4d41_5249_4f4e_4554;

/// The layout of this file's `repr(C)` types and the meaning of its messages.
pub const ABI_VERSION: u32 = 2;

/// Compiler, SDK and ABI. Libraries of another fingerprint are refused.
pub const FINGERPRINT: &str = concat!(
    env!("MARIONETTE_RUSTC"),
    ", marionette-sdk ",
    env!("CARGO_PKG_VERSION"),
    ", ABI 2"
);

/// The name of the function that returns the table, of type [`Entry`].
pub const ENTRY_SYMBOL: &str = "marionette_operators";

/// What [`ENTRY_SYMBOL`] is.
pub type Entry = unsafe extern "C" fn() -> *const Table;

/// Bytes that belong to the caller, valid for the time of the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    data: *const u8,
    length_bytes: usize,
}

impl Slice {
    /// Borrows `bytes`; the caller keeps them alive as long as the slice is used.
    pub const fn new(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            length_bytes: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// The slice was made by [`Slice::new`] from bytes that outlive `'a`.
    pub const unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: pointer and length come from one Rust slice, which the caller keeps alive.
        unsafe { std::slice::from_raw_parts(self.data, self.length_bytes) }
    }
}

/// Where a result goes: `put(context, bytes)`, called exactly once, copies the bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sink {
    /// The receiver's own.
    pub context: *mut c_void,
    /// Copies the bytes; must not panic.
    pub put: unsafe extern "C" fn(*mut c_void, Slice),
}

/// What a library may call while it runs an operator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HostCalls {
    /// The worker's own.
    pub context: *mut c_void,
    /// Performs a [`HostCall`]; the sink gets the answer, encoded: of the call's own types, nothing for calls without
    /// an answer. Must not panic.
    pub call: unsafe extern "C" fn(*mut c_void, Slice, Sink),
}

/// One call of an operator to its host.
#[derive(Debug, Serialize, Deserialize)]
pub enum HostCall {
    /// Answered by `Result<Record, StorageError>`.
    Read {
        /// The record.
        id: String,
    },
    /// Answered by `Result<Version, StorageError>`.
    Write {
        /// The record.
        id: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Answered by `Result<Version, UpdateError>`.
    UpdateIfValueIs {
        /// The record.
        id: String,
        /// The value expected.
        old: Option<Vec<u8>>,
        /// The new value.
        new: Vec<u8>,
    },
    /// Answered by `Result<Version, UpdateError>`.
    UpdateIfVersionIs {
        /// The record.
        id: String,
        /// The version expected.
        old: Option<Version>,
        /// The new value.
        new: Vec<u8>,
    },
    /// Answered by `Result<u64, BlobError>`: the bytes of the blob.
    BlobSize {
        /// The blob.
        url: String,
    },
    /// Answered by `Result<u64, BlobError>`: the reader.
    OpenBlob {
        /// The blob.
        url: String,
        /// Where to begin.
        offset: u64,
        /// How many bytes; absent: all.
        length: Option<u64>,
    },
    /// Answered by `Result<Vec<u8>, BlobError>`.
    ReadBlob {
        /// The reader.
        reader: u64,
        /// How many bytes at most.
        bytes_max: u32,
    },
    /// Has no answer.
    CloseBlob {
        /// The reader.
        reader: u64,
    },
    /// Answered by `u64`.
    Now,
    /// Answered by `u64`.
    Random,
    /// Answered by `Vec<u8>`.
    RandomBytes {
        /// How many.
        count: u32,
    },
    /// Has no answer.
    Log {
        /// How much it matters.
        level: Level,
        /// The line.
        message: String,
    },
}

/// What a task is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// The class of the operator.
    pub class: String,
    /// Its request.
    pub request: Request,
}

/// How a task ended that did not return items.
#[derive(Debug, Serialize, Deserialize)]
pub enum TaskError {
    /// The operator returned an error.
    Operator(OperatorError),
    /// The operator panicked.
    Panic(String),
    /// The library did not understand the task.
    Malformed(String),
}

/// What a library is. Only `magic`, `abi_version` and `fingerprint` may be looked at before they are known to
/// be the worker's own.
#[repr(C)]
#[derive(Debug)]
pub struct Table {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// [`FINGERPRINT`].
    pub fingerprint: Slice,
    /// Puts the class names, a `Vec<String>`.
    pub classes: unsafe extern "C" fn(Sink),
    /// Runs a [`Task`] and puts a `Result<Vec<Item>, TaskError>`. May be called on several threads at once.
    pub run: unsafe extern "C" fn(Slice, HostCalls, Sink),
}

// SAFETY: the table is never changed, and its one pointer is to a constant.
unsafe impl Sync for Table {}

impl Table {
    /// The table of a library built with this SDK.
    pub const fn new(
        classes: unsafe extern "C" fn(Sink),
        run: unsafe extern "C" fn(Slice, HostCalls, Sink),
    ) -> Self {
        Self {
            magic: MAGIC,
            abi_version: ABI_VERSION,
            fingerprint: Slice::new(FINGERPRINT.as_bytes()),
            classes,
            run,
        }
    }
}

/// Encodes what crosses the boundary. None of its types can fail to encode.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Decodes what crossed the boundary; the error says why it cannot be.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| error.to_string())
}

/// Puts the class names of a library.
///
/// # Safety
/// `sink` follows the contract of [`Sink`].
pub unsafe fn classes(operators: &[(&str, Operator)], sink: Sink) {
    let classes: Vec<&str> = operators.iter().map(|(class, _)| *class).collect();
    let bytes = encode(&classes);
    // SAFETY: the sink copies the bytes before it returns.
    unsafe { (sink.put)(sink.context, Slice::new(&bytes)) };
}

/// Runs a task and puts its result.
///
/// # Safety
/// `task` is valid for the time of the call; `host` and `sink` follow their contracts.
pub unsafe fn run(operators: &[(&str, Operator)], task: Slice, host: HostCalls, sink: Sink) {
    // SAFETY: valid for the time of this call, as the caller promises.
    let task: Result<Task, String> = decode(unsafe { task.bytes() });
    let result = match task {
        Err(reason) => Err(TaskError::Malformed(reason)),
        Ok(task) => catching_panics(|| {
            crate::registration::run(operators, &task.class, &task.request, &mut Callbacks(host))
        }),
    };
    let bytes = encode(&result);
    // SAFETY: the sink copies the bytes before it returns.
    unsafe { (sink.put)(sink.context, Slice::new(&bytes)) };
}

thread_local! {
    /// What the panic hook saw last on this thread: the payload alone lacks the place.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn catching_panics(
    operator: impl FnOnce() -> Result<Vec<Item>, OperatorError>,
) -> Result<Vec<Item>, TaskError> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    // The library has its own copy of the standard library, so this hook is not the worker's.
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(panic.to_string()));
        }));
    });
    // Unwind safety: the operator's borrows are of this call and not looked at after a panic.
    match catch_unwind(AssertUnwindSafe(operator)) {
        Ok(result) => result.map_err(TaskError::Operator),
        Err(_) => Err(TaskError::Panic(
            LAST_PANIC
                .with(|last| last.borrow_mut().take())
                .unwrap_or_else(|| "panicked".to_owned()),
        )),
    }
}

/// The host behind the worker's callbacks.
struct Callbacks(HostCalls);

impl Callbacks {
    fn call(&self, call: &HostCall) -> Vec<u8> {
        let mut answer: Vec<u8> = Vec::new();
        let sink = Sink {
            context: (&raw mut answer).cast(),
            put: copy_into_vec,
        };
        let call = encode(call);
        // SAFETY: `call` and `answer` live until the callback has returned, and it returns nothing else.
        unsafe { (self.0.call)(self.0.context, Slice::new(&call), sink) };
        answer
    }

    /// Performs a call whose answer is a `Result`; `malformed` makes the error for an answer nobody can read.
    fn ask<T: DeserializeOwned, E: DeserializeOwned>(
        &self,
        call: &HostCall,
        malformed: impl FnOnce(String) -> E,
    ) -> Result<T, E> {
        decode::<Result<T, E>>(&self.call(call)).unwrap_or_else(|reason| Err(malformed(reason)))
    }
}

fn unreadable(id: &str, reason: &str) -> StorageError {
    StorageError {
        id: id.to_owned(),
        fault: StorageFault::Other(format!("the worker's answer is malformed: {reason}")),
    }
}

fn unreadable_blob(url: &str, reason: &str) -> BlobError {
    BlobError {
        url: url.to_owned(),
        fault: BlobFault::Other(format!("the worker's answer is malformed: {reason}")),
    }
}

impl Host for Callbacks {
    fn read(&mut self, id: &str) -> Result<Record, StorageError> {
        let call = HostCall::Read { id: id.to_owned() };
        self.ask(&call, |reason| unreadable(id, &reason))
    }

    fn write(&mut self, id: &str, value: &[u8]) -> Result<Version, StorageError> {
        let call = HostCall::Write {
            id: id.to_owned(),
            value: value.to_vec(),
        };
        self.ask(&call, |reason| unreadable(id, &reason))
    }

    fn update_if_value_is(
        &mut self,
        id: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let call = HostCall::UpdateIfValueIs {
            id: id.to_owned(),
            old: old.map(<[u8]>::to_vec),
            new: new.to_vec(),
        };
        self.ask(&call, |reason| {
            UpdateError::Storage(unreadable(id, &reason))
        })
    }

    fn update_if_version_is(
        &mut self,
        id: &str,
        old: Option<Version>,
        new: &[u8],
    ) -> Result<Version, UpdateError> {
        let call = HostCall::UpdateIfVersionIs {
            id: id.to_owned(),
            old,
            new: new.to_vec(),
        };
        self.ask(&call, |reason| {
            UpdateError::Storage(unreadable(id, &reason))
        })
    }

    fn blob_size(&mut self, url: &str) -> Result<u64, BlobError> {
        let call = HostCall::BlobSize {
            url: url.to_owned(),
        };
        self.ask(&call, |reason| unreadable_blob(url, &reason))
    }

    fn open_blob(
        &mut self,
        url: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobReader, BlobError> {
        let call = HostCall::OpenBlob {
            url: url.to_owned(),
            offset,
            length,
        };
        let reader = self.ask(&call, |reason| unreadable_blob(url, &reason));
        reader.map(|reader| BlobReader::new(reader, url))
    }

    fn read_blob(&mut self, reader: &BlobReader, bytes_max: u32) -> Result<Vec<u8>, BlobError> {
        let call = HostCall::ReadBlob {
            reader: reader.id(),
            bytes_max,
        };
        let bytes = self.ask(&call, |reason| unreadable_blob(reader.url(), &reason));
        bytes.map_err(|error: BlobError| BlobError {
            url: reader.url().to_owned(),
            ..error
        })
    }

    fn close_blob(&mut self, reader: BlobReader) {
        self.call(&HostCall::CloseBlob {
            reader: reader.id(),
        });
    }

    fn now(&mut self) -> u64 {
        // The worker's answer to this call cannot be malformed: it is made by the same SDK.
        decode(&self.call(&HostCall::Now)).unwrap_or_default()
    }

    fn random(&mut self) -> u64 {
        decode(&self.call(&HostCall::Random)).unwrap_or_default()
    }

    fn random_bytes(&mut self, count: u32) -> Vec<u8> {
        decode(&self.call(&HostCall::RandomBytes { count })).unwrap_or_default()
    }

    fn log(&mut self, level: Level, message: &str) {
        self.call(&HostCall::Log {
            level,
            message: message.to_owned(),
        });
    }
}

/// A [`Sink::put`] whose context is a `Vec<u8>`.
///
/// # Safety
/// `context` is a `&mut Vec<u8>` that nobody else uses meanwhile; `bytes` is valid for the time of the call.
pub unsafe extern "C" fn copy_into_vec(context: *mut c_void, bytes: Slice) {
    // SAFETY: as the caller promises; an abort on failed allocation is no unwinding.
    let (target, bytes) = unsafe { (&mut *context.cast::<Vec<u8>>(), bytes.bytes()) };
    target.clear();
    target.extend_from_slice(bytes);
}
