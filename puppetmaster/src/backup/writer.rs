//! Writes a backup under a temporary name, and gives it its own when it is complete.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use common::fabric::encode;
use common::proto::backup_frame::Part;
use common::proto::{BackupFrame, BackupTrailer, Ring};
use common::proto::{BackupHeader, BackupPartitions, RecordCopies};

use super::{FRAME_BYTES_MAX, FileError, MAGIC, VERSION, checksum};

/// Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    offset: u64,
    trailer: BackupTrailer,
}

impl Writer {
    /// `unique` tells this writer's temporary file from those of others. An error when something else than an older
    /// backup has this name.
    pub fn create(path: &Path, unique: &str, ring: Ring) -> Result<Self, FileError> {
        ensure_overwritable(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{unique}.part"));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary)
            .map_err(|error| FileError::io("create", &temporary, error))?;
        let mut writer = Self {
            path: path.to_owned(),
            temporary,
            file: Some(BufWriter::new(file)),
            offset: 0,
            trailer: BackupTrailer::default(),
        };
        writer.write(&[&MAGIC[..], &VERSION.to_le_bytes()])?;
        writer.frame(Part::Header(BackupHeader { ring: Some(ring) }))?;
        Ok(writer)
    }

    /// The records of these partitions follow.
    pub fn partitions(&mut self, partitions: BackupPartitions) -> Result<(), FileError> {
        self.trailer.partitions += partitions.partitions.len() as u64;
        self.frame(Part::Partitions(partitions))
    }

    pub fn records(&mut self, records: RecordCopies) -> Result<(), FileError> {
        self.trailer.records += records.records.len() as u64;
        self.trailer.versions += records.records.iter().map(versions).sum::<u64>();
        self.frame(Part::Records(records))
    }

    /// When this returns, the file has its name and both are on the disk. What had this name before is gone.
    pub fn finish(mut self) -> Result<BackupTrailer, FileError> {
        let trailer = self.trailer;
        self.frame(Part::Trailer(trailer))?;
        let failed = |error| FileError::io("write", &self.temporary, error);
        if let Some(file) = self.file.take() {
            let file = file
                .into_inner()
                .map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(failed)?;
        }
        fs::rename(&self.temporary, &self.path)
            .map_err(|error| FileError::io("rename to", &self.path, error))?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| FileError::io("sync", directory, error))?;
        Ok(trailer)
    }

    fn frame(&mut self, part: Part) -> Result<(), FileError> {
        let payload = encode(&BackupFrame { part: Some(part) });
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() <= FRAME_BYTES_MAX);
        let length = length.ok_or_else(|| FileError::Io {
            operation: "write",
            path: self.path.clone(),
            message: format!(
                "a frame of {} bytes is longer than {FRAME_BYTES_MAX}",
                payload.len()
            ),
        })?;
        let checksum = checksum(self.offset, length, &payload);
        self.write(&[&length.to_le_bytes(), &checksum.to_le_bytes(), &payload])?;
        self.trailer.frames += 1;
        Ok(())
    }

    fn write(&mut self, pieces: &[&[u8]]) -> Result<(), FileError> {
        for piece in pieces {
            if let Some(file) = &mut self.file {
                file.write_all(piece)
                    .map_err(|error| FileError::io("write", &self.temporary, error))?;
            }
            self.offset += piece.len() as u64;
        }
        Ok(())
    }
}

/// Nothing is there, or an older backup.
fn ensure_overwritable(path: &Path) -> Result<(), FileError> {
    let unusable = |error| FileError::io("overwrite", path, error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(metadata) if metadata.is_dir() => {
            return Err(unusable(ErrorKind::IsADirectory.into()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(error)),
        Ok(_) => return Err(not_overwritten(path)),
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(unusable)?;
    file.take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(unusable)?;
    if start == MAGIC {
        Ok(())
    } else {
        Err(not_overwritten(path))
    }
}

fn not_overwritten(path: &Path) -> FileError {
    FileError::NotOverwritten {
        path: path.to_owned(),
    }
}

/// Versions of one record: those in its log are listed there only.
fn versions(copy: &common::proto::RecordCopy) -> u64 {
    use common::proto::decision::Outcome;
    let Some(state) = &copy.state else { return 0 };
    let floor = state.floor.unwrap_or_default();
    let kept = |outcome: &Option<Outcome>| match outcome {
        Some(Outcome::Success(success)) => {
            let made = success.made.as_ref().and_then(|made| made.version);
            let made = common::types::Version::from(made.unwrap_or_default());
            made > floor.into()
        }
        _ => false,
    };
    let decisions = state.log.iter().flat_map(|slot| &slot.decisions);
    let logged = decisions.filter(|decision| kept(&decision.outcome));
    (state.versions.len() + logged.count()) as u64
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Absent when it has got its name.
        let _ = fs::remove_file(&self.temporary);
    }
}
