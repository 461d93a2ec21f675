//! The user's state folder: how `demo` finds the staff account of a local `up`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use meshwork_chassis::config::Credentials;
use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

use crate::failure::Failure;

/// The folder itself.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("meshwork"))
}

/// The file for the `up` on a port.
fn file(port: u16) -> Option<PathBuf> {
    Some(folder()?.join(format!("up-{port}.json")))
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// The process of the `up`, for people.
    pid: u32,
    /// The absolute path of the file with the staff account.
    credentials: PathBuf,
}

/// A note of where an `up` keeps its staff account; it is gone when the `up` stops.
#[derive(Debug)]
pub struct Note(Option<(PathBuf, File)>);

impl Note {
    /// Writes where the staff account of the `up` on `port` is to where `demo` looks for it.
    pub fn leave(port: u16, credentials: &Path) -> Self {
        let Some(path) = file(port) else { return Self(None) };
        match write(credentials, &path) {
            Ok(file) => Self(Some((path, file))),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "demo won't find the staff account by itself");
                Self(None)
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.0 {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Writes a note and locks it. The lock ends with the process in whatever way, and so tells whether the note holds.
fn write(credentials: &Path, to: &Path) -> io::Result<File> {
    let content = Content { pid: std::process::id(), credentials: std::path::absolute(credentials)? };
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.lock()?;
    file.write_all(&serde_json::to_vec(&content)?)?;
    std::fs::rename(partial, to)?;
    Ok(file)
}

/// The path that a note holds, if the process that left it is still there; else the note is removed.
fn read(note: &Path) -> Option<PathBuf> {
    let file = File::open(note).ok()?;
    if file.try_lock_shared().is_ok() {
        std::fs::remove_file(note).ok();
        return None;
    }
    Some(serde_json::from_reader::<_, Content>(file).ok()?.credentials)
}

/// The port of a target on this machine.
pub fn local_port(target: &str) -> Option<u16> {
    let target: Uri = target.trim_start_matches("dns:///").parse().ok()?;
    let host = target.host()?.trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    let local = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    local.then(|| target.port_u16().unwrap_or(80))
}

/// The staff account: of `given` if there is one, else of the local `up` on the port `local`; `None` when the target
/// isn't on this machine.
///
/// # Errors
/// When there is none.
pub fn staff_credentials(given: Option<&Path>, local: Option<u16>) -> Result<Credentials, Failure> {
    let hint = "name the file with --staff-credentials; `meshwork up` prints where it is";
    let path = match (given, local) {
        (Some(path), _) => path.to_owned(),
        (None, Some(port)) => file(port).and_then(|note| read(&note)).ok_or_else(|| {
            Failure::new(format!("no local `meshwork up` on port {port} has left its staff account"), hint)
        })?,
        (None, None) => {
            let sentence = "the target is not on this machine, and its staff account is not known here";
            return Err(Failure::new(sentence, hint));
        }
    };
    Credentials::read(&path).map_err(|problem| Failure::new(problem, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_as_long_as_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meshwork/up-1.json");
        let held = write(Path::new("staff.json"), &path).unwrap();
        let named = read(&path).unwrap();
        assert!(named.is_absolute() && named.ends_with("staff.json"), "{named:?}");
        drop(held);
        assert_eq!(read(&path), None);
        assert!(!path.exists(), "a note that nobody holds is removed");
    }

    #[test]
    fn only_a_loopback_target_is_local() {
        for target in
            ["http://127.0.0.1:7", "http://127.8.0.1:7", "http://localhost:7", "http://[::1]:7", "dns:///localhost:7"]
        {
            assert_eq!(local_port(target), Some(7), "{target}");
        }
        for target in ["http://10.0.0.1:7", "http://shop.example:7", "http://127.0.0.1.example:7", "nonsense:x"] {
            assert_eq!(local_port(target), None, "{target}");
        }
    }
}
