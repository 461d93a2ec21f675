//! Locks on data folders, so that two processes don't run on one.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::config::Settings;
use crate::failure::Failure;

/// The file whose lock is the folder's.
const FILE: &str = "lock";

/// A lock; the folder is free again when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// How much of a folder a process needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Alone,
    /// A part: others may run on other parts.
    WithOthers,
}

impl DataLock {
    /// Locks `folder`, making it when missing, for its owner alone.
    ///
    /// # Errors
    /// When another process has locked it, or it can't be made.
    pub fn take(folder: &Path, share: Share) -> Result<Self, Failure> {
        let unusable = |error: std::io::Error| {
            let sentence = format!("can't use the data folder {}: {error}", folder.display());
            Failure::new(sentence, "choose a folder that you can write to with --data")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FILE))
            .map_err(unusable)?;
        let taken = match share {
            Share::Alone => file.try_lock(),
            Share::WithOthers => file.try_lock_shared(),
        };
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(folder, &mut file)),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        if share == Share::Alone {
            // Only for the message that others get.
            let note = |file: &mut File| -> std::io::Result<()> {
                file.set_len(0)?;
                file.rewind()?;
                write!(file, "{}", std::process::id())
            };
            note(&mut file).map_err(unusable)?;
        }
        Ok(Self { _file: file })
    }

    /// Locks the data folder, and the folders of services that lie outside.
    ///
    /// # Errors
    /// As [`DataLock::take`].
    pub fn take_all(settings: &Settings) -> Result<Vec<Self>, Failure> {
        let mut folders = vec![&settings.data];
        for folder in
            [&settings.users.data, &settings.products.data, &settings.orders.data, &settings.notifications.data]
        {
            if !folder.starts_with(&settings.data) && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.into_iter().map(|folder| Self::take(folder, Share::Alone)).collect()
    }
}

fn busy(folder: &Path, file: &mut File) -> Failure {
    let mut holder = String::new();
    let read = file.read_to_string(&mut holder).is_ok_and(|_| holder.bytes().all(|b| b.is_ascii_digit()));
    let holder = if read && !holder.is_empty() { format!(" (process {holder})") } else { String::new() };
    Failure::new(
        format!("another meshwork{holder} is running on the data folder {}", folder.display()),
        "stop it, or choose another folder with --data",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_process_s_or_shared_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let alone = DataLock::take(folder.path(), Share::Alone).unwrap();
        for share in [Share::Alone, Share::WithOthers] {
            let refused = DataLock::take(folder.path(), share).unwrap_err().to_string();
            assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        }
        drop(alone);
        let part = DataLock::take(folder.path(), Share::WithOthers).unwrap();
        let other = DataLock::take(folder.path(), Share::WithOthers).unwrap();
        assert!(DataLock::take(folder.path(), Share::Alone).is_err());
        drop((part, other));
        DataLock::take(folder.path(), Share::Alone).unwrap();
    }

    #[test]
    fn a_new_folder_is_its_owner_s_alone() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        DataLock::take(&data, Share::Alone).unwrap();
        assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn service_folders_outside_are_locked_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_folder(&folder.path().join("data"));
        settings.orders.data = folder.path().join("orders");
        settings.products.data = folder.path().join("orders");
        let locks = DataLock::take_all(&settings).unwrap();
        assert_eq!(locks.len(), 2);
        assert!(DataLock::take(&settings.orders.data, Share::Alone).is_err());
    }
}
