//! Files with secrets: readable by their owner alone from their first instant, whole or not there at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use uuid::Uuid;

/// Makes a file of mode 0600, and its folder of mode 0700 when missing. Once it has returned, the file outlives a loss
/// of power; before, either nothing or the whole file is there.
///
/// # Errors
/// `AlreadyExists` when there is a file, which stays as it is; else what the disk says.
pub(super) fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    // The parent of a bare file name is empty, and means the current folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let draft = folder.join(format!(".{}.new", Uuid::new_v4()));
    let created = write(&draft, contents)
        // Unlike a rename, a link never replaces what is there: of racing processes one wins.
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    created.and(removed)?;
    File::open(folder)?.sync_all()
}

/// Makes a folder of mode 0700, and the missing ones above it too. One that is there stays as it is.
///
/// # Errors
/// When it can't be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_and_its_folders_are_their_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/secret");
        assert!(!path.exists());
        create(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&root.path().join("a"))), (0o600, 0o700, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secret");
        create(&path, b"first").unwrap();
        assert_eq!(create(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn of_racing_writers_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("secret");
        let wins: usize = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8_u8)
                .map(|n| (path.clone(), n))
                .map(|(path, n)| scope.spawn(move || create(&path, &[n]).is_ok()))
                .collect();
            writers.into_iter().map(|writer| usize::from(writer.join().unwrap())).sum()
        });
        assert_eq!(wins, 1);
    }
}
