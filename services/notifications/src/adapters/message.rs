//! Letters as Internet messages: plain text and HTML, from the same content.

use std::time::SystemTime;

use askama::Template;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use crate::domain::{Content, Line};
use crate::ports::{Letter, MailError};

/// A sender is not an e-mail address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no e-mail address")]
pub struct InvalidSender(String);

/// The letter for programs that show no HTML.
#[derive(Template)]
#[template(path = "letter.txt")]
struct Text<'a> {
    body: &'a Content,
}

/// The letter as most see it. Askama escapes what is put into templates of this kind.
#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    subject: &'a str,
    body: &'a Content,
}

/// In whose name letters are sent.
#[derive(Clone, Debug)]
pub struct Sender(Mailbox);

impl Sender {
    /// A sender with this e-mail address.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(address: &str) -> Result<Self, InvalidSender> {
        let mailbox: Mailbox = address.parse().map_err(|_| InvalidSender(address.to_owned()))?;
        let email = sendable(mailbox.email.as_ref()).map_err(|_| InvalidSender(address.to_owned()))?;
        Ok(Self(Mailbox::new(mailbox.name, email)))
    }

    /// The address.
    pub(super) fn address(&self) -> &Address {
        &self.0.email
    }

    /// The message that a letter is: the same whenever it is made, but for its date.
    pub(super) fn message(&self, letter: &Letter) -> Result<Message, MailError> {
        // The cause names neither the address nor the person: it goes to the log.
        let refused = |error: &dyn std::fmt::Display| MailError::Refused(error.to_string());
        let address = sendable(&letter.to.email).map_err(|error| refused(&error))?;
        let name = Some(Line::of(&letter.to.display_name)).filter(|name| !name.is_empty());
        let text = Text { body: &letter.body }.render().map_err(|error| refused(&error))?;
        let html = Html { subject: &letter.subject, body: &letter.body }.render().map_err(|error| refused(&error))?;
        // `=_` is nowhere in a part: whatever is in the letter, and however sloppy its reader is, it ends no part.
        let parts = MultiPart::alternative().boundary(format!("=_{}", letter.id.simple()));
        let parts =
            parts.singlepart(part(ContentType::TEXT_PLAIN, text)).singlepart(part(ContentType::TEXT_HTML, html));
        Message::builder()
            .from(self.0.clone())
            .to(Mailbox::new(name.map(|name| name.to_string()), address))
            .subject(&letter.subject)
            .date(SystemTime::from(letter.date))
            // The same whenever the letter is sent, so that a mail system can drop the second one.
            .message_id(Some(format!("<{}@{}>", letter.id, self.0.email.domain())))
            // Nobody's notice of absence should answer it (RFC 3834).
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .multipart(parts)
            .map_err(|error| refused(&error))
    }
}

/// A part in the encoding that has no `=` but those of its own.
fn part(kind: ContentType, text: String) -> SinglePart {
    SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable).body(text)
}

/// An address with its domain as mail systems of every age take it: in ASCII (RFC 5891).
fn sendable(address: &str) -> Result<Address, lettre::address::AddressError> {
    let address: Address = address.parse()?;
    if address.domain().is_ascii() {
        return Ok(address);
    }
    let domain = url::Host::parse(address.domain()).map_err(|_| lettre::address::AddressError::InvalidDomain)?;
    Address::new(address.user(), domain.to_string())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
