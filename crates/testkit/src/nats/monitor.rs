//! What a node tells about itself over HTTP.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take: a frozen node gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes of an answer.
const LONGEST: u64 = 16 << 20;

/// What the node says at a path.
///
/// # Errors
/// When there is no answer in time, or it isn't one of success with JSON.
pub(super) fn ask(monitor: SocketAddr, path: &str) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&monitor, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // In HTTP/1.0 the body is all that follows, not in chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {monitor}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| Error::other("no answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    serde_json::from_str(body).map_err(Error::other)
}
