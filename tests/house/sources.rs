//! Finds source files.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// All Rust files below `folder`, in order; none when there is no such folder. Build folders are passed over.
///
/// # Errors
/// When a folder can't be read.
pub fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        collect(folder, &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        // Links aren't followed: they could lead in circles.
        let kind = entry.file_type()?;
        if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            collect(&path, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The path as messages show it: from the root, with `/` everywhere.
pub fn shown(root: &Path, file: &Path) -> String {
    let parts = file.strip_prefix(root).unwrap_or(file).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
