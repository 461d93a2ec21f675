//! Redis's protocol, as far as tests speak it.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long the start, or the answer to a command, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that waits for each answer.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// To a server, `host:port`.
    pub(super) fn to(host: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// The answer to a command: the items of an array stand on lines of their own.
    ///
    /// # Panics
    /// When the answer is an error, or there is none.
    pub fn command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> String {
        self.try_command(arguments).unwrap_or_else(|error| panic!("Redis: {error}"))
    }

    /// As [`Connection::command`], where an error may be expected.
    ///
    /// # Errors
    /// When the answer is an error, or there is none.
    pub fn try_command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> std::io::Result<String> {
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.reader.get_mut().write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(ErrorKind::UnexpectedEof)?;
        let length = rest.parse::<usize>().ok();
        match (kind, length) {
            ("+" | ":", _) => Ok(rest.to_owned()),
            ("$", Some(length)) => {
                let mut text = vec![0; length + 2];
                self.reader.read_exact(&mut text)?;
                Ok(String::from_utf8_lossy(&text[..length]).into_owned())
            }
            ("*", Some(length)) => Ok((0..length).map(|_| self.reply()).collect::<Result<Vec<_>, _>>()?.join("\n")),
            ("$" | "*", None) => Ok(String::new()),
            _ => Err(std::io::Error::other(rest.to_owned())),
        }
    }
}
