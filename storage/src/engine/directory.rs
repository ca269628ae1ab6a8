//! A data directory of the operating system: `log/`, the segments and the lock; `table/`, sled's files.

use std::path::PathBuf;

use super::store::Medium;
use crate::disk::{DiskError, RealFiles, SledSettings, SledTable};

#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

impl Medium for Directory {
    type Files = RealFiles;
    type Table = SledTable;

    fn files(&self) -> Result<RealFiles, DiskError> {
        RealFiles::open(self.0.join("log"))
    }

    fn table(&self) -> Result<SledTable, DiskError> {
        SledTable::open(self.0.join("table"), SledSettings::default())
    }
}
