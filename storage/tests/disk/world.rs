//! What the tests of the disk share.

use storage::disk::{DiskError, Files, Log, LogSettings, Recovered};

/// Small, so that a few entries fill several segments.
pub const SETTINGS: LogSettings = LogSettings {
    segment_bytes_max: 600,
};

pub type Entries = Vec<(u64, Vec<u8>)>;
pub type Opened<F> = (Log<F>, Recovered, Entries);

pub fn open_after<F: Files>(files: F, after: u64) -> Result<Opened<F>, DiskError> {
    open_with(files, SETTINGS, after)
}

pub fn open_with<F: Files>(
    files: F,
    settings: LogSettings,
    after: u64,
) -> Result<Opened<F>, DiskError> {
    let mut entries = Vec::new();
    let (log, recovered) = Log::open(files, settings, after, |sequence, entry| {
        entries.push((sequence, entry.to_vec()));
        Ok(())
    })?;
    assert_eq!(recovered.entries, entries.len() as u64);
    Ok((log, recovered, entries))
}

pub fn open<F: Files>(files: F) -> Result<Opened<F>, DiskError> {
    open_after(files, 0)
}

/// A chance that loses all that may be lost.
pub fn lose_all(_: u64) -> u64 {
    0
}

/// A chance that keeps everything.
pub fn keep_all(below: u64) -> u64 {
    below - 1
}

/// Chances by seed: the two extremes, then xorshift (Marsaglia 2003).
pub fn chance(seed: u64) -> Box<dyn FnMut(u64) -> u64> {
    match seed {
        0 => Box::new(lose_all),
        1 => Box::new(keep_all),
        _ => {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            Box::new(move |below| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) % below
            })
        }
    }
}

pub fn numbered(entries: &[(u64, &str)]) -> Entries {
    let owned = |&(sequence, entry): &(u64, &str)| (sequence, entry.as_bytes().to_vec());
    entries.iter().map(owned).collect()
}
