//! One instance at a time handles a lane for a consumer: a lock on a file, which ends with its process.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// A lock that is held, or waited for.
pub(super) struct LaneLock {
    file: File,
    held: bool,
}

impl LaneLock {
    /// Opens the file; nothing is locked yet.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, held: false })
    }

    /// Locks it unless another does; returns whether we hold it.
    pub(super) fn try_lock(&mut self) -> io::Result<bool> {
        if !self.held {
            self.held = match self.file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => return Err(error),
            };
        }
        Ok(self.held)
    }
}
