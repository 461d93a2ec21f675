//! Letters over SMTP: the mail system of production.
//!
//! The conversation is led command by command, so that a refusal of our settings (login, sender) is told from a refusal of
//! a letter. Connections are used again; none is after something went wrong in it.

mod by_line;
mod failure;
mod server;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::Message;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::by_line::ByLine;
use self::failure::{Failure, Step};
pub use self::server::{Encryption, Login, MailServer};
use super::message::Sender;
use crate::ports::{CONTENT_TIMEOUT, Letter, MailError, Mailer};

/// How old a connection may get. Servers end those that only say that they are still there.
const MAX_AGE: Duration = Duration::from_secs(300);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// What the server says to go on with the letter (RFC 5321).
const START_INPUT: u16 = 354;

/// How letters are handed to a mail server.
#[derive(Clone, Debug)]
pub struct SmtpOptions {
    /// The server.
    pub server: MailServer,
    /// A PEM file with certificates that may have signed the server's, besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// How long a connection, and the answer to each command, may take; that to the letter itself has
    /// [`CONTENT_TIMEOUT`].
    pub timeout: Duration,
    /// How many connections there are at most.
    pub max_connections: usize,
}

/// The certificates of a server's issuer can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificates in {path} can't be used: {cause}")]
pub struct BadCertificates {
    path: String,
    cause: String,
}

/// Hands letters to a mail server.
pub struct Smtp {
    sender: Sender,
    options: SmtpOptions,
    tls: TlsParameters,
    /// Who uses a connection.
    turns: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// A connection that is ready for a letter.
struct Connection {
    smtp: AsyncSmtpConnection,
    made: Instant,
}

impl Smtp {
    /// Hands letters over in the name of `sender`. It connects with the first one.
    ///
    /// # Errors
    /// When the file of certificates can't be used.
    pub fn new(options: SmtpOptions, sender: Sender) -> Result<Self, BadCertificates> {
        // Where letters would go unencrypted as well, a bad certificate is better than none (RFC 7435): who can put in a
        // false one can take STARTTLS out.
        let takes_any = options.server.encryption == Encryption::Opportunistic;
        let mut tls = TlsParameters::builder(options.server.host.clone())
            .certificate_store(CertificateStore::WebpkiRoots)
            .dangerous_accept_invalid_certs(takes_any)
            .dangerous_accept_invalid_hostnames(takes_any);
        let path = options.ca_file.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
        let bad = |cause: &dyn std::fmt::Display| BadCertificates { path: path.clone(), cause: cause.to_string() };
        if let Some(file) = &options.ca_file {
            let pem = std::fs::read(file).map_err(|error| bad(&error))?;
            // A file without any would be taken for an empty list.
            if !pem.windows(27).any(|text| text == b"-----BEGIN CERTIFICATE-----") {
                return Err(bad(&"it holds no certificate in PEM"));
            }
            tls = tls.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| bad(&error))?);
        }
        let tls = tls.build().map_err(|error| bad(&error))?;
        let turns = Semaphore::new(options.max_connections);
        Ok(Self { sender, options, tls, turns, idle: Mutex::default() })
    }

    /// Whether the server answers. It is not asked while all connections are at work.
    ///
    /// # Errors
    /// [`MailError::Unavailable`] when it doesn't, or doesn't let us in.
    pub async fn ping(&self) -> Result<(), MailError> {
        let Ok(_turn) = self.turns.try_acquire() else { return Ok(()) };
        let connection = self.connection().await?;
        self.put_back(connection);
        Ok(())
    }

    /// Waits for a step of the conversation.
    async fn step<T>(
        &self,
        step: Step,
        answer: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
    ) -> Result<T, Failure> {
        let bound = if step == Step::Content { CONTENT_TIMEOUT } else { self.options.timeout };
        match tokio::time::timeout(bound, answer).await {
            Ok(answer) => answer.map_err(|error| Failure::of(step, &error)),
            Err(_) => Err(Failure::slow(step)),
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let turn = tokio::time::timeout(self.options.timeout, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| Failure::slow(Step::Connect))
    }

    /// A connection that was used before and still works, else a new one.
    async fn connection(&self) -> Result<Connection, Failure> {
        while let Some(mut connection) = self.take_idle() {
            if connection.made.elapsed() > MAX_AGE {
                // Whether it hears that we leave makes no difference.
                let _ = tokio::time::timeout(FAREWELL, connection.smtp.abort()).await;
            } else if self.step(Step::Connect, connection.smtp.command(Noop)).await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        match self.options.server.encryption {
            Encryption::Implicit => self.connect_over_tls().await,
            Encryption::Required => self.connect_in_clear(true).await,
            Encryption::None => self.connect_in_clear(false).await,
            Encryption::Opportunistic => match self.connect_in_clear(true).await {
                Err(failure) if failure.is_at(Step::Encrypt) => {
                    tracing::warn!(?failure, "STARTTLS failed; letters go to the mail server unencrypted");
                    self.connect_in_clear(false).await
                }
                connected => connected,
            },
        }
    }

    /// As whom we introduce ourselves.
    fn hello(&self) -> ClientId {
        ClientId::Domain(self.sender.address().domain().to_owned())
    }

    /// A connection that is encrypted from its first byte.
    async fn connect_over_tls(&self) -> Result<Connection, Failure> {
        let SmtpOptions { server, timeout, .. } = &self.options;
        let (hello, tls) = (self.hello(), Some(self.tls.clone()));
        let address = (server.host.as_str(), server.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(address, Some(*timeout), &hello, tls, None);
        let smtp = self.step(Step::Connect, connecting).await?;
        self.log_in(smtp).await
    }

    /// A connection that begins in clear; whether it is to be encrypted, where that is required or offered.
    async fn connect_in_clear(&self, encrypt: bool) -> Result<Connection, Failure> {
        let SmtpOptions { server, timeout, .. } = &self.options;
        let hello = self.hello();
        let address = (server.host.as_str(), server.port);
        let stream = tokio::time::timeout(*timeout, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| Failure::slow(Step::Connect))?;
        let stream = stream.map_err(|error| Failure::broken(Step::Connect, &error.to_string()))?;
        let is_here = stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        let stream = Box::new(ByLine::new(stream));
        let mut smtp = self.step(Step::Connect, AsyncSmtpConnection::connect_with_transport(stream, &hello)).await?;
        let is_required = server.encryption == Encryption::Required;
        if encrypt && (is_required || smtp.can_starttls()) {
            self.step(Step::Encrypt, smtp.starttls(self.tls.clone(), &hello)).await?;
        }
        // Names that look like this host's may lead elsewhere.
        if server.login.is_some() && !is_required && !is_here {
            return Err(Failure::broken(Step::LogIn, "without tls=required it goes to this host alone"));
        }
        self.log_in(smtp).await
    }

    async fn log_in(&self, mut smtp: AsyncSmtpConnection) -> Result<Connection, Failure> {
        if let Some(login) = &self.options.server.login {
            let credentials = Credentials::new(login.user.expose().to_owned(), login.password.expose().to_owned());
            self.step(Step::LogIn, smtp.auth(DEFAULT_MECHANISMS, &credentials)).await?;
        }
        Ok(Connection { smtp, made: Instant::now() })
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Hands a message over. When it returns, the server is answerable for it.
    async fn hand_over(&self, smtp: &mut AsyncSmtpConnection, message: &Message) -> Result<(), Failure> {
        let content = message.formatted();
        let mut parameters = Vec::new();
        if !content.is_ascii() || !message.envelope().to().iter().all(|address| address.to_string().is_ascii()) {
            if !smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Failure::unable(Step::Sender, "the server takes no address that is not ASCII"));
            }
            parameters.push(MailParameter::SmtpUtfEight);
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let sender = message.envelope().from().cloned();
        self.step(Step::Sender, smtp.command(Mail::new(sender, parameters))).await?;
        for recipient in message.envelope().to() {
            self.step(Step::Recipient, smtp.command(Rcpt::new(recipient.clone(), Vec::new()))).await?;
        }
        let answer = self.step(Step::Data, smtp.command(Data)).await?;
        // Answers and commands are out of step, by a fault or by somebody in between.
        if !answer.has_code(START_INPUT) {
            return Err(Failure::broken(Step::Data, "the answer is another one's"));
        }
        self.step(Step::Content, smtp.message(&content)).await?;
        Ok(())
    }
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, letter: Letter) -> Result<(), MailError> {
        let message = self.sender.message(&letter)?;
        let _turn = self.turn().await?;
        let mut connection = self.connection().await?;
        // A connection whose try is given up, here or by who waits for it, is dropped with it.
        match self.hand_over(&mut connection.smtp, &message).await {
            Ok(()) => {
                self.put_back(connection);
                Ok(())
            }
            Err(failure) => {
                if failure.leaves_a_conversation()
                    && self.step(Step::Sender, connection.smtp.command(Rset)).await.is_ok()
                {
                    self.put_back(connection);
                }
                Err(failure.into())
            }
        }
    }
}
