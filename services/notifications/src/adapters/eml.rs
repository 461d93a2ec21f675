//! Letters as `.eml` files in a folder: the embedded mail system.

use std::fs::{self, File, ReadDir};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::message::Sender;
use crate::ports::{Letter, MailError, Mailer};

/// How many files a call of [`Mailer::prune`] looks at.
const PRUNED_AT_ONCE: usize = 1000;

/// Writes each letter to `<folder>/<notification id>.eml`. A letter that comes again replaces itself.
pub struct EmlFolder {
    folder: PathBuf,
    sender: Sender,
    /// Where the next call of `prune` goes on; `None` at the beginning.
    pruning: Arc<Mutex<Option<ReadDir>>>,
}

impl EmlFolder {
    /// Writes to `folder`, which is made when missing, in the name of `sender`.
    pub fn new(folder: PathBuf, sender: Sender) -> Self {
        Self { folder, sender, pruning: Arc::default() }
    }
}

#[async_trait]
impl Mailer for EmlFolder {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        let id = letter.id.to_string();
        let bytes = self.sender.message(&letter)?.formatted();
        let folder = self.folder.clone();
        blocking(move || write(&folder, &id, &bytes)).await
    }

    async fn discard(&self, id: Uuid) -> Result<(), MailError> {
        let folder = self.folder.clone();
        blocking(move || discard(&folder, id)).await
    }

    async fn prune(&self, older_than: OffsetDateTime) -> Result<u64, MailError> {
        let (folder, pruning) = (self.folder.clone(), self.pruning.clone());
        blocking(move || {
            let mut pruning = pruning.lock().unwrap_or_else(PoisonError::into_inner);
            prune(&folder, &mut pruning, older_than.into(), PRUNED_AT_ONCE)
        })
        .await
    }
}

/// Does work on files where it holds up nobody else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, MailError> {
    let result = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    result.map_err(|error| MailError::Unavailable(error.to_string()))
}

/// Writes the file whole or not at all, and returns once it is on the disk.
fn write(folder: &Path, id: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{id}.tmp"));
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(format!("{id}.eml")))?;
    File::open(folder)?.sync_all()
}

/// Removes a letter, and what a crash left of it. It may not be there.
fn discard(folder: &Path, id: Uuid) -> io::Result<()> {
    for extension in ["eml", "tmp"] {
        match fs::remove_file(folder.join(format!("{id}.{extension}"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Removes letters, and what a crash left of some, that were last written before `older_than`; looks at `limit` files.
fn prune(folder: &Path, place: &mut Option<ReadDir>, older_than: SystemTime, limit: usize) -> io::Result<u64> {
    let mut entries = match place.take() {
        Some(entries) => entries,
        None => match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        },
    };
    let mut removed = 0;
    for _ in 0..limit {
        // At the end, the next call begins anew.
        let Some(entry) = entries.next() else { return Ok(removed) };
        let path = entry?.path();
        // Other files in the folder are not ours.
        if !path.extension().is_some_and(|extension| extension == "eml" || extension == "tmp") {
            continue;
        }
        // Somebody else may have removed it.
        let gone = |error: io::Error| if error.kind() == ErrorKind::NotFound { Ok(false) } else { Err(error) };
        let is_old = path.metadata().and_then(|file| Ok(file.is_file() && file.modified()? < older_than));
        if is_old.or_else(gone)? && fs::remove_file(&path).map(|()| true).or_else(gone)? {
            removed += 1;
        }
    }
    *place = Some(entries);
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Occasion;
    use crate::ports::Recipient;

    fn letter(email: &str, display_name: &str) -> Letter {
        let occasion = Occasion::Welcome { user: "users/anna".parse().unwrap() };
        Letter {
            id: Uuid::from_u128(7),
            to: Recipient { email: email.to_owned(), display_name: display_name.to_owned() },
            subject: occasion.subject(),
            body: occasion.body(display_name),
            date: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn mailer(folder: &Path) -> EmlFolder {
        EmlFolder::new(folder.join("mail"), Sender::new("shop@example.com").unwrap())
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_letter_that_is_sent_again_is_one_file_with_one_message_id() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path());
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        let [first] = files(&folder.path().join("mail")).try_into().unwrap();
        let text = fs::read_to_string(&first).unwrap();
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        assert_eq!(files(&folder.path().join("mail")), std::slice::from_ref(&first));
        assert_eq!(fs::read_to_string(&first).unwrap(), text);
        assert!(text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n"), "{text}");
        assert!(text.contains("To: Anna <anna@example.com>\r\n"), "{text}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_and_a_folder_that_is_none_may_become_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mail"), "in the way").unwrap();
        let mailer = mailer(folder.path());
        let refused = mailer.send(letter("nowhere", "Anna")).await.unwrap_err();
        assert!(matches!(refused, MailError::Refused(_)), "{refused}");
        let unavailable = mailer.send(letter("anna@example.com", "Anna")).await.unwrap_err();
        assert!(matches!(unavailable, MailError::Unavailable(_)), "{unavailable}");
    }

    /// Makes a file that was last written so many seconds after 1970.
    fn aged(path: PathBuf, seconds: u64) {
        let file = File::create(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    #[tokio::test]
    async fn old_letters_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path());
        let limit = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(mailer.prune(limit).await.unwrap(), 0);
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        let mail = folder.path().join("mail");
        for (name, seconds) in [("a.eml", 99), ("b.tmp", 99), ("c.eml", 100), ("notes.txt", 99)] {
            aged(mail.join(name), seconds);
        }
        assert_eq!(mailer.prune(limit).await.unwrap(), 2);
        let left: Vec<_> = files(&mail).iter().map(|file| file.file_name().unwrap().to_owned()).collect();
        assert_eq!(left, ["00000000-0000-0000-0000-000000000007.eml", "c.eml", "notes.txt"]);
        assert_eq!(mailer.prune(limit).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn d4_a_letter_that_is_discarded_is_gone_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path());
        let id = Uuid::from_u128(7);
        mailer.discard(id).await.unwrap();
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        let mail = folder.path().join("mail");
        for name in [format!("{id}.tmp"), "other.eml".to_owned()] {
            File::create(mail.join(name)).unwrap();
        }
        mailer.discard(id).await.unwrap();
        assert_eq!(files(&mail), [mail.join("other.eml")]);
        mailer.discard(id).await.unwrap();
    }

    #[test]
    fn a_call_looks_at_so_many_files_and_the_next_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..25 {
            aged(folder.path().join(format!("{at}.eml")), if at % 5 == 0 { 1 } else { 9 });
        }
        let limit = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let mut place = None;
        let removed: Vec<_> = (0..3).map(|_| prune(folder.path(), &mut place, limit, 10).unwrap()).collect();
        assert_eq!(removed.iter().sum::<u64>(), 5);
        assert!(place.is_none());
        assert_eq!(files(folder.path()).len(), 20);
        prune(folder.path(), &mut place, limit, 10).unwrap();
        assert!(place.is_some());
    }
}
