//! Letters as `.eml` files in a folder: the embedded mail system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;

use crate::ports::{Letter, MailError, Mailer};

/// A sender is not an e-mail address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no e-mail address")]
pub struct InvalidSender(String);

/// Writes each letter to `<folder>/<notification id>.eml`. A letter that comes again replaces itself.
pub struct EmlFolder {
    folder: PathBuf,
    from: Mailbox,
}

impl EmlFolder {
    /// Writes to `folder`, which is made when missing, in the name of `from`.
    ///
    /// # Errors
    /// When `from` is no e-mail address.
    pub fn new(folder: PathBuf, from: &str) -> Result<Self, InvalidSender> {
        Ok(Self { folder, from: from.parse().map_err(|_| InvalidSender(from.to_owned()))? })
    }

    fn message(&self, letter: Letter) -> Result<Message, MailError> {
        let refused = |error: &dyn std::fmt::Display| MailError::Refused(error.to_string());
        // The message names neither the address nor the person: it goes to the log.
        let address = letter.to.email.parse().map_err(|error| refused(&error))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(in_header(&letter.to.display_name), address))
            .subject(letter.subject)
            .date(SystemTime::from(letter.date))
            // The same whenever the letter is sent, so that a mail system can drop the second one.
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body)
            .map_err(|error| refused(&error))
    }
}

#[async_trait]
impl Mailer for EmlFolder {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        let id = letter.id.to_string();
        let bytes = self.message(letter)?.formatted();
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &id, &bytes)).await;
        let result = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        result.map_err(|error| MailError::Unavailable(error.to_string()))
    }
}

/// A name as a header takes it: the message builder panics over control characters. `None` when nothing is left.
fn in_header(name: &str) -> Option<String> {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::ports::Recipient;

    fn letter(email: &str, display_name: &str) -> Letter {
        Letter {
            id: Uuid::from_u128(7),
            to: Recipient { email: email.to_owned(), display_name: display_name.to_owned() },
            subject: "Grüße".to_owned(),
            body: "Hello\n".to_owned(),
            date: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn a_letter_that_is_sent_again_is_one_file_with_one_message_id() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = EmlFolder::new(folder.path().join("mail"), "shop@example.com").unwrap();
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        let [first] = files(&folder.path().join("mail")).try_into().unwrap();
        let text = fs::read_to_string(&first).unwrap();
        mailer.send(letter("anna@example.com", "Anna")).await.unwrap();
        assert_eq!(files(&folder.path().join("mail")), std::slice::from_ref(&first));
        assert_eq!(fs::read_to_string(&first).unwrap(), text);
        assert!(text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n"), "{text}");
        assert!(text.contains("To: Anna <anna@example.com>\r\n"), "{text}");
        assert!(text.contains("Date: Thu, 01 Jan 1970 00:00:00"), "{text}");
    }

    #[tokio::test]
    async fn a_name_can_not_add_headers() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = EmlFolder::new(folder.path().to_owned(), "shop@example.com").unwrap();
        mailer.send(letter("anna@example.com", "Anna\r\nBcc: eve@example.com")).await.unwrap();
        let text = fs::read_to_string(&files(folder.path())[0]).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    }

    proptest! {
        #[test]
        fn any_name_and_subject_makes_a_letter_with_the_headers_that_it_should_have(name: String, subject: String) {
            let mailer = EmlFolder::new(PathBuf::new(), "shop@example.com").unwrap();
            let letter = Letter { subject: in_header(&subject).unwrap_or_default(), ..letter("a@example.com", &name) };
            let text = String::from_utf8(mailer.message(letter).unwrap().formatted()).unwrap();
            let (headers, _) = text.split_once("\r\n\r\n").unwrap();
            let folded = |line: &&str| !line.starts_with([' ', '\t']);
            let names: Vec<_> = headers.split("\r\n").filter(folded).map(|line| line.split(':').next().unwrap()).collect();
            let expected =
                ["From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding"];
            prop_assert!(names.iter().all(|name| expected.contains(name) || *name == "MIME-Version"), "{:?}", names);
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_and_a_folder_that_is_none_may_become_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        fs::write(&path, "in the way").unwrap();
        let mailer = EmlFolder::new(path, "shop@example.com").unwrap();
        let refused = mailer.send(letter("nowhere", "Anna")).await.unwrap_err();
        assert!(matches!(refused, MailError::Refused(_)), "{refused}");
        let unavailable = mailer.send(letter("anna@example.com", "Anna")).await.unwrap_err();
        assert!(matches!(unavailable, MailError::Unavailable(_)), "{unavailable}");
        assert!(EmlFolder::new(PathBuf::new(), "shop").is_err());
    }
}
