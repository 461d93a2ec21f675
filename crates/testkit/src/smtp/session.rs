//! A conversation with one client (RFC 5321, 3207, 4954).

use std::io::{Error, Result};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::script::{At, Encryption, Sessions, TakenMail, TriedLogin};

/// How long a line and a mail may be.
const LONGEST: u64 = 10 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Session<'a> {
    shared: &'a Sessions,
    stream: BufReader<Box<dyn Stream>>,
    is_encrypted: bool,
    user: Option<String>,
    /// Of the mail that is under way.
    from: Option<String>,
    to: Vec<String>,
}

/// Leads the conversation to its end.
pub(super) async fn run(stream: TcpStream, shared: &Sessions) -> Result<()> {
    stream.set_nodelay(true)?;
    let is_encrypted = shared.options.encryption == Encryption::Implicit;
    let stream: Box<dyn Stream> =
        if is_encrypted { Box::new(shared.acceptor.accept(stream).await?) } else { Box::new(stream) };
    let stream = BufReader::new(stream);
    Session { shared, stream, is_encrypted, user: None, from: None, to: Vec::new() }.run().await
}

impl Session<'_> {
    async fn run(mut self) -> Result<()> {
        self.answer(At::Connect, "220 testkit ESMTP").await?;
        while let Some(line) = self.line().await? {
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.hello().await?,
                "HELO" | "NOOP" => self.say("250 2.0.0 OK").await?,
                "STARTTLS" => self = self.encrypt().await?,
                "AUTH" => self.log_in(argument).await?,
                "MAIL" => self.mail(argument).await?,
                "RCPT" => self.rcpt(argument).await?,
                "DATA" => {
                    if !self.data().await? {
                        return Ok(());
                    }
                }
                "RSET" => {
                    self.reset();
                    self.say("250 2.0.0 OK").await?;
                }
                "QUIT" => return self.say("221 2.0.0 Bye").await,
                _ => self.say("500 5.5.2 Unknown command").await?,
            }
        }
        Ok(())
    }

    /// The next line without its end; `None` when the client has gone.
    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        if (&mut self.stream).take(LONGEST).read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn say(&mut self, answer: &str) -> Result<()> {
        let delay = *self.shared.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.stream.get_mut().flush().await
    }

    /// Answers by a rule or as usual; whether that was a yes.
    async fn answer(&mut self, at: At, usual: &str) -> Result<bool> {
        let ruled = self.shared.ruled(at, &self.to);
        let answer = ruled.as_deref().unwrap_or(usual);
        self.say(answer).await?;
        Ok(answer.starts_with(['2', '3']))
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn hello(&mut self) -> Result<()> {
        self.reset();
        let options = &self.shared.options;
        let mut lines = vec!["testkit", "8BITMIME", "ENHANCEDSTATUSCODES"];
        if options.encryption == Encryption::StartTls && !self.is_encrypted {
            lines.push("STARTTLS");
        }
        // Unencrypted as well: clients have to hold back of themselves.
        if options.login.is_some() {
            lines.push("AUTH PLAIN LOGIN");
        }
        if options.utf8 {
            lines.push("SMTPUTF8");
        }
        let (last, others) = lines.split_last().unwrap();
        let others: String = others.iter().map(|line| format!("250-{line}\r\n")).collect();
        self.say(&format!("{others}250 {last}")).await
    }

    async fn encrypt(mut self) -> Result<Self> {
        if self.shared.options.encryption != Encryption::StartTls || self.is_encrypted {
            self.say("502 5.5.1 Not now").await?;
            return Ok(self);
        }
        self.answer(At::StartTls, "220 2.0.0 Go ahead").await?;
        // What came before the handshake is forgotten (RFC 3207).
        let stream: Box<dyn Stream> = Box::new(self.shared.acceptor.accept(self.stream.into_inner()).await?);
        Ok(Session {
            shared: self.shared,
            stream: BufReader::new(stream),
            is_encrypted: true,
            user: None,
            from: None,
            to: Vec::new(),
        })
    }

    /// A word in base64; empty when it is none.
    fn decoded(word: &str) -> String {
        BASE64.decode(word).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Asks for a word in base64.
    async fn ask(&mut self, prompt: &str) -> Result<String> {
        self.say(&format!("334 {prompt}")).await?;
        let line = self.line().await?.ok_or_else(|| Error::other("the client has gone"))?;
        Ok(Self::decoded(&line))
    }

    async fn log_in(&mut self, argument: &str) -> Result<()> {
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let words = if initial.is_empty() { self.ask("").await? } else { Self::decoded(initial) };
                let mut words = words.split('\0').skip(1).map(str::to_owned);
                (words.next().unwrap_or_default(), words.next().unwrap_or_default())
            }
            "LOGIN" => {
                let user = if initial.is_empty() { self.ask("VXNlcm5hbWU6").await? } else { Self::decoded(initial) };
                (user, self.ask("UGFzc3dvcmQ6").await?)
            }
            _ => return self.say("504 5.5.4 Unknown mechanism").await,
        };
        let is_right = self.shared.options.login.as_ref() == Some(&given);
        self.shared.logins.lock().unwrap().push(TriedLogin { is_encrypted: self.is_encrypted, is_right });
        let usual = if is_right { "235 2.7.0 Welcome" } else { "535 5.7.8 Wrong login" };
        if self.answer(At::Login, usual).await? {
            self.user = Some(given.0);
        }
        Ok(())
    }

    /// The address between the brackets of `FROM:<…>`.
    fn address(argument: &str) -> Option<String> {
        let (_, rest) = argument.split_once('<')?;
        Some(rest.split_once('>')?.0.to_owned())
    }

    async fn mail(&mut self, argument: &str) -> Result<()> {
        self.reset();
        if self.shared.options.login.is_some() && self.user.is_none() {
            return self.say("530 5.7.0 Log in first").await;
        }
        let Some(from) = Self::address(argument) else { return self.say("501 5.5.4 No address").await };
        if self.answer(At::Mail, "250 2.1.0 OK").await? {
            self.from = Some(from);
        }
        Ok(())
    }

    async fn rcpt(&mut self, argument: &str) -> Result<()> {
        if self.from.is_none() {
            return self.say("503 5.5.1 MAIL first").await;
        }
        let Some(to) = Self::address(argument) else { return self.say("501 5.5.4 No address").await };
        self.to.push(to);
        if !self.answer(At::Rcpt, "250 2.1.5 OK").await? {
            self.to.pop();
        }
        Ok(())
    }

    /// Takes a mail; `false` when the connection ends with it.
    async fn data(&mut self) -> Result<bool> {
        if self.to.is_empty() {
            self.say("503 5.5.1 RCPT first").await?;
            return Ok(true);
        }
        if !self.answer(At::Data, "354 Go ahead").await? {
            return Ok(true);
        }
        let mut raw = String::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == "." {
                break;
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
        }
        let ruled = self.shared.ruled(At::Content, &self.to);
        let is_taken = ruled.as_ref().is_none_or(|answer| answer.starts_with('2'));
        if is_taken {
            self.take(raw);
        }
        let hangs_up = {
            let mut dropped = self.shared.dropped_answers.lock().unwrap();
            let hangs_up = is_taken && *dropped > 0;
            *dropped -= usize::from(hangs_up);
            hangs_up
        };
        if hangs_up {
            return Ok(false);
        }
        self.reset();
        self.say(ruled.as_deref().unwrap_or("250 2.0.0 Taken")).await?;
        Ok(true)
    }

    fn take(&mut self, raw: String) {
        let headers = raw.split("\r\n\r\n").next().unwrap_or_default();
        let message_id = headers.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or_default();
        let mail = TakenMail {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            message_id: message_id.to_owned(),
            raw,
            is_encrypted: self.is_encrypted,
            user: self.user.clone(),
        };
        self.shared.mails.send_modify(|mails| mails.push(mail));
    }
}
