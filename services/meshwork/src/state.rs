//! The user's state folder: how `demo` finds the staff account of a local `up`.

use std::path::{Path, PathBuf};

use meshwork_chassis::config::Credentials;

use crate::failure::Failure;

/// The file for the `up` on a port.
fn file(port: u16) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("meshwork").join(format!("up-{port}.json")))
}

/// A note of where an `up` keeps its staff account; it is gone when the `up` stops.
#[derive(Debug)]
pub struct Note(Option<PathBuf>);

impl Note {
    /// Copies the credentials of the staff account of the `up` on `port` to where `demo` looks for them.
    pub fn leave(port: u16, credentials: &Path) -> Self {
        let Some(path) = file(port) else { return Self(None) };
        match copy(credentials, &path) {
            Ok(()) => Self(Some(path)),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "demo won't find the staff account by itself");
                Self(None)
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Copies a private file; at no time can others read the copy.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let content = std::fs::read(from)?;
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(&content)?;
    std::fs::rename(partial, to)
}

/// The staff account: of `file` if given, else of the local `up` on `port`.
///
/// # Errors
/// When there is none.
pub fn staff_credentials(given: Option<&Path>, port: u16) -> Result<Credentials, Failure> {
    let hint = "name the file with --staff-credentials; `meshwork up` prints where it is";
    let path = match given {
        Some(path) => path.to_owned(),
        None => file(port).filter(|path| path.is_file()).ok_or_else(|| {
            Failure::new(format!("no local `meshwork up` on port {port} has left its staff account"), hint)
        })?,
    };
    Credentials::read(&path).map_err(|problem| Failure::new(problem, hint))
}
