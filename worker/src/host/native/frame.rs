//! What a worker and its child for native operators say to each other, over a socket: frames of a length and as many
//! bytes, in postcard encoding.
//!
//! The worker begins with the path of the library; the child answers with [`ToWorker::Loaded`]. Then, task by task: the
//! worker sends a [`Task`](marionette_sdk::native::Task), the child calls until it sends [`ToWorker::Ended`], and every call
//! but that is answered by one frame.

use std::io::{self, Read, Write};

use marionette_sdk::Item;
use marionette_sdk::native::{self as abi, HostCall, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::limits::FRAME_BYTES_MAX;

/// What a child sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The classes of the library, or why it is refused.
    Loaded(Result<Vec<String>, String>),
    /// A call of the operator.
    Call(HostCall),
    /// The end of the task. None: it returned more than a message holds.
    Ended(Option<Result<Vec<Item>, TaskError>>),
}

/// Sends one frame.
pub(super) fn send(stream: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    send_bytes(stream, &abi::encode(value))
}

/// Sends bytes that are encoded already. It is the receiver who says when they are too many.
pub(super) fn send_bytes(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| too_long(bytes.len()))?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(bytes)
}

/// Receives one frame; the error is of kind `UnexpectedEof` when the other end is gone.
pub(super) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    abi::decode(&receive_bytes(stream)?).map_err(io::Error::other)
}

/// Receives the bytes of one frame.
pub(super) fn receive_bytes(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length as usize));
    }
    // Grows as bytes come: a length alone takes no memory.
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn too_long(bytes: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("a message of {bytes} bytes exceeds {FRAME_BYTES_MAX}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        let mut stream = Vec::new();
        send(&mut stream, &ToWorker::Loaded(Err("no".to_owned()))).unwrap();
        send_bytes(&mut stream, b"raw").unwrap();
        let mut stream = stream.as_slice();
        let loaded: ToWorker = receive(&mut stream).unwrap();
        assert!(matches!(loaded, ToWorker::Loaded(Err(reason)) if reason == "no"));
        assert_eq!(receive_bytes(&mut stream).unwrap(), b"raw");
        let end = receive_bytes(&mut stream).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_cut_or_too_long_is_an_error() {
        let cut = [&5_u32.to_le_bytes(), b"abc".as_slice()].concat();
        let error = receive_bytes(&mut cut.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let long = (FRAME_BYTES_MAX + 1).to_le_bytes();
        let error = receive_bytes(&mut long.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
