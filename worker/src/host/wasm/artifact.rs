//! One compiled component in a file.
//!
//! Promises: a file appears whole or not at all; what is torn, damaged, of another component, of another engine or of
//! another user is refused, never loaded.
//!
//! Why the one `unsafe` is sound: what wasmtime compiled is machine code, so it may be loaded only if wasmtime made it.
//! Only [`write`] makes these files, from what wasmtime has just compiled, and nobody but this user can have changed one:
//! its owner and its mode are asked of the open file, so that no other file can take its place in between. It is read
//! into memory of our own, and the checksum is computed over that memory: what is checked is what is loaded. Whoever
//! can write files as this user can do whatever the worker can, without it.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use common::types::ComponentHash;
use nix::unistd::geteuid;
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::xxh3_128;

/// Tells our files from others, and this layout from later ones.
const MAGIC: [u8; 8] = *b"MARNAOT1";
/// Magic, key, length and checksum.
const HEADER_BYTES: usize = 8 + Key::BYTES + 8 + 16;
/// What others may not have: write permission.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What an artifact was compiled from, and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub component: ComponentHash,
    /// Hash of wasmtime's version, its configuration and the machine.
    pub engine: u64,
}

impl Key {
    const BYTES: usize = 32 + 8;

    /// The name of its file.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{:016x}.cwasm", self.component, self.engine)
    }

    fn header(&self, artifact: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let parts = [
            MAGIC.as_slice(),
            &self.component.bytes(),
            &self.engine.to_le_bytes(),
            &(artifact.len() as u64).to_le_bytes(),
            &xxh3_128(artifact).to_le_bytes(),
        ]
        .concat();
        header.copy_from_slice(&parts);
        header
    }
}

/// Loads what was compiled before, and notes that it was used; the error says why it cannot be.
pub(super) fn read(engine: &Engine, key: &Key, path: &Path) -> Result<Component, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() || !is_ours_alone(&metadata) {
        return Err("it is no file that only this user can write".to_owned());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let (header, artifact) = bytes
        .split_at_checked(HEADER_BYTES)
        .ok_or("it is too short")?;
    if *header != key.header(artifact) {
        return Err("it is damaged, or of something else".to_owned());
    }
    // SAFETY: made by wasmtime, as the header and its checksum show, and changed by nobody else: see the module.
    let component = unsafe { Component::deserialize(engine, artifact) };
    // The time of change tells which files are still of use; without it this one is forgotten earlier.
    let _ = file.set_modified(SystemTime::now());
    component.map_err(|error| format!("{error:#}"))
}

/// Keeps what was compiled. `partial` is a name in the same directory that nobody else uses.
pub(super) fn write(
    component: &Component,
    key: &Key,
    path: &Path,
    partial: &Path,
) -> Result<(), String> {
    let artifact = component
        .serialize()
        .map_err(|error| format!("{error:#}"))?;
    let put = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(partial)?;
        // Not synced: what a crash of the machine leaves is found by its checksum.
        file.write_all(&key.header(&artifact))?;
        file.write_all(&artifact)?;
        std::fs::rename(partial, path)
    };
    put().map_err(|error| {
        // It may not even be there.
        let _ = std::fs::remove_file(partial);
        error.to_string()
    })
}

/// Whether it belongs to this user, and nobody else may write to it.
pub(super) fn is_ours_alone(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & WRITABLE_BY_OTHERS == 0
}
