//! What a mail server for tests is like, what it was told to answer, and what it has taken.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// When connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    #[default]
    None,
    /// When the client says STARTTLS.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// What a server is like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// When connections are encrypted.
    pub encryption: Encryption,
    /// The user and the password that are needed to hand over mail; anybody may when it is `None`.
    pub login: Option<(String, String)>,
    /// Whether it takes addresses that aren't ASCII (SMTPUTF8).
    pub utf8: bool,
}

/// Where a conversation stands when the server answers otherwise than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A client has connected.
    Connect,
    /// `STARTTLS`; TLS begins whatever the answer is.
    StartTls,
    /// A client logs in.
    Login,
    /// `MAIL FROM`.
    Mail,
    /// `RCPT TO`.
    Rcpt,
    /// `DATA`.
    Data,
    /// The mail is there.
    Content,
}

/// An answer that is given instead of the usual one.
pub(super) struct Rule {
    pub(super) at: At,
    pub(super) recipient: String,
    pub(super) answer: String,
    /// How often it is given yet.
    pub(super) left: usize,
}

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenMail {
    /// The address in `MAIL FROM`.
    pub from: String,
    /// The addresses in `RCPT TO`.
    pub to: Vec<String>,
    /// The Message-ID, with its brackets; empty when there is none.
    pub message_id: String,
    /// The mail as it was sent, headers and all.
    pub raw: String,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// Who handed it over, if that is known.
    pub user: Option<String>,
}

/// A login that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedLogin {
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// Whether it was the right one.
    pub is_right: bool,
}

/// What the sessions share.
pub(super) struct Sessions {
    pub(super) options: Options,
    pub(super) acceptor: TlsAcceptor,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) delay: Mutex<Duration>,
    pub(super) dropped_answers: Mutex<usize>,
    pub(super) logins: Mutex<Vec<TriedLogin>>,
    pub(super) connections: Mutex<usize>,
    pub(super) mails: watch::Sender<Vec<TakenMail>>,
}

impl Sessions {
    /// The answer that a rule has for a recipient at this point, if any.
    pub(super) fn ruled(&self, at: At, recipients: &[String]) -> Option<String> {
        let mut rules = self.rules.lock().unwrap();
        let is_meant = |rule: &&mut Rule| {
            rule.at == at && rule.left > 0 && (rule.recipient.is_empty() || recipients.contains(&rule.recipient))
        };
        let rule = rules.iter_mut().find(is_meant)?;
        rule.left -= 1;
        Some(rule.answer.clone())
    }
}
