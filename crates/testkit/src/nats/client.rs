//! A client that knows nothing of ours: it speaks the protocol of NATS line by line.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

/// How long the next line may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that waits for each answer.
pub struct Client {
    reader: BufReader<Box<dyn Wire>>,
    requests: u64,
}

trait Wire: Read + Write + Send {}
impl<W: Read + Write + Send> Wire for W {}

impl Client {
    /// Connects, over TLS when it is told whom to trust.
    ///
    /// # Errors
    /// When the server can't be reached, or doesn't let this client in.
    pub(super) fn connect(server: SocketAddr, login: Option<&(String, String)>, ca: Option<&Path>) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The greeting is not encrypted, and what follows it must not be read with it.
        let mut greeting = Vec::new();
        let mut byte = [0];
        while !greeting.ends_with(b"\n") {
            stream.read_exact(&mut byte)?;
            greeting.extend(byte);
        }
        let wire: Box<dyn Wire> = match ca {
            Some(ca) => Box::new(encrypt(stream, server, ca)?),
            None => Box::new(stream),
        };
        let mut client = Self { reader: BufReader::new(wire), requests: 0 };
        let mut about =
            json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1 });
        if let Some((user, password)) = login {
            about["user"] = Value::from(user.as_str());
            about["pass"] = Value::from(password.as_str());
        }
        client.send(format!("CONNECT {about}\r\nPING\r\n").as_bytes())?;
        while client.line()? != "PONG" {}
        Ok(client)
    }

    /// The first answer to a request.
    ///
    /// # Errors
    /// When nobody listens to the subject, or there is no answer in time.
    pub fn request(&mut self, subject: &str, payload: &[u8]) -> Result<Vec<u8>> {
        self.requests += 1;
        let (id, length) = (self.requests, payload.len());
        let inbox = format!("_INBOX.{:032x}", rand::random::<u128>());
        let mut sent = format!("SUB {inbox} {id}\r\nUNSUB {id} 1\r\nPUB {subject} {inbox} {length}\r\n").into_bytes();
        sent.extend_from_slice(payload);
        sent.extend_from_slice(b"\r\n");
        self.send(&sent)?;
        loop {
            let line = self.line()?;
            let mut words = line.split(' ');
            let (kind, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let lengths: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
            let (head, total) = match (kind, lengths.as_slice()) {
                ("MSG", [.., total]) => (0, *total),
                ("HMSG", [.., head, total]) => (*head, *total),
                _ => continue,
            };
            let mut message = vec![0; total + 2];
            self.reader.read_exact(&mut message)?;
            if to != inbox {
                continue;
            }
            let body = message.get(head..total).ok_or(ErrorKind::InvalidData)?.to_vec();
            if message.starts_with(b"NATS/1.0 503") {
                return Err(Error::new(ErrorKind::NotConnected, format!("nobody answers to {subject}")));
            }
            return Ok(body);
        }
    }

    /// Publishes a message into a stream and returns what the stream answers.
    ///
    /// # Errors
    /// As [`Client::request`], or when the stream refuses it.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<Value> {
        let answer: Value = serde_json::from_slice(&self.request(subject, payload)?)?;
        if answer["error"].is_null() { Ok(answer) } else { Err(Error::other(answer["error"].to_string())) }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(bytes)?;
        self.reader.get_mut().flush()
    }

    /// The next line that isn't about the connection itself.
    fn line(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            match line {
                "PING" => self.send(b"PONG\r\n")?,
                error if error.starts_with("-ERR") => return Err(Error::other(error.to_owned())),
                _ => return Ok(line.to_owned()),
            }
        }
    }
}

fn encrypt(stream: TcpStream, server: SocketAddr, ca: &Path) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).map_err(Error::other)?).map_err(Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(server.ip());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}
