//! What a load keeps between its runs: accounts with their passwords, and products, in a file of the user's state folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::failure::Failure;
use crate::state;

/// The longest name of a target that stands in the name of a file.
const LONGEST: usize = 150;

/// An account of the load's own.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its e-mail address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// Whether it is known to have been made.
    pub made: bool,
}

impl Account {
    /// One that is still to be made.
    pub fn planned() -> Self {
        let email = format!("load-{}@example.com", Uuid::new_v4().simple());
        Self { email, password: format!("load-{}", Uuid::new_v4()), made: false }
    }
}

/// What is kept of one target.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Who places orders.
    pub customers: Vec<Account>,
    /// Who ships and delivers.
    pub staff: Vec<Account>,
    /// What is ordered, `products/…`.
    pub products: Vec<String>,
    /// What runs out, `products/…`.
    pub scarce: Option<String>,
}

/// The file, which is this run's alone.
pub struct Keeper {
    path: Option<PathBuf>,
    /// Holds others off as long as it is open.
    _lock: Option<File>,
}

impl Keeper {
    /// What is kept of a target, and where it is kept. Without a state folder nothing is.
    ///
    /// # Errors
    /// When it can't be read, or another load runs against the target.
    pub fn open(target: &str) -> Result<(Self, Kept), Failure> {
        match state::folder() {
            Some(folder) => Self::open_at(folder.join(format!("load-{}.json", word(target)))),
            None => Ok((Self { path: None, _lock: None }, Kept::default())),
        }
    }

    fn open_at(path: PathBuf) -> Result<(Self, Kept), Failure> {
        let lock = lock(&path.with_extension("lock"))?;
        let failed = |problem: String| {
            let sentence = format!("the accounts of the load in {} can't be read: {problem}", path.display());
            Failure::new(sentence, "correct the file, or remove it: then accounts are made anew")
        };
        let kept = match std::fs::read(&path) {
            // serde's message could quote the file, and with it a password.
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| failed("it is not as a load has written it".into()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok((Self { path: Some(path), _lock: Some(lock) }, kept))
    }

    /// Keeps this.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, kept: &Kept) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        write(path, kept).map_err(|error| {
            let sentence = format!("the accounts of the load can't be kept in {}: {error}", path.display());
            Failure::new(sentence, "see that the folder can be written and the disk has room")
        })
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}

/// Takes the lock of a target.
fn lock(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| {
        let sentence = format!("the state folder can't be used: {}: {error}", path.display());
        Failure::new(sentence, "correct its permissions, or set XDG_STATE_HOME to another folder")
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            "another load runs against this target",
            "wait for its end; two at once share customers, and so what a gateway admits of each",
        )),
    }
}

/// A target as part of a file's name.
fn word(target: &str) -> String {
    let place = target.split_once("://").map_or(target, |(_, place)| place).trim_matches('/');
    place.chars().take(LONGEST).map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn accounts_are_kept_from_run_to_run_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meshwork/load-here_8080.json");
        let (keeper, mut kept) = Keeper::open_at(path.clone()).unwrap();
        kept.customers.push(Account { made: true, ..Account::planned() });
        kept.products.push("products/load-1".to_owned());
        keeper.save(&kept).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Keeper::open_at(path.clone()).err().unwrap();
        assert_eq!(second.sentence(), "another load runs against this target");

        drop(keeper);
        let (_keeper, again) = Keeper::open_at(path).unwrap();
        assert_eq!(again.products, kept.products);
        assert!(again.customers.len() == 1 && again.customers[0].email == kept.customers[0].email);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_without_its_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load-here.json");
        std::fs::write(&path, r#"{"customers": "hidden"}"#).unwrap();
        let failure = Keeper::open_at(path).err().unwrap();
        assert!(failure.to_string().contains("remove it") && !failure.to_string().contains("hidden"), "{failure}");
    }

    #[test]
    fn a_target_makes_the_name_of_a_file() {
        assert_eq!(word("http://127.0.0.1:8080"), "127.0.0.1_8080");
        assert_eq!(word("dns:///shop.example:443"), "shop.example_443");
        assert_eq!(word("http://../../etc"), ".._.._etc");
    }
}
