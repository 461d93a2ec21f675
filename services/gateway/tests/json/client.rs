//! A client of HTTP/1.1 that sends what it is told to, right or wrong.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const BOUND: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of the header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reason in the ErrorInfo of an error, which has the same status as HTTP.
    #[track_caller]
    pub fn reason(&self) -> String {
        let error = self.json()["error"].take();
        assert_eq!(error["code"], self.status, "{self:?}");
        self.detail("ErrorInfo")["reason"].as_str().unwrap().to_owned()
    }

    /// The detail of an error that is a `google.rpc` message of this name.
    #[track_caller]
    pub fn detail(&self, name: &str) -> Value {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        let details = self.json()["error"]["details"].take();
        let details = details.as_array().unwrap_or_else(|| panic!("no details: {self:?}"));
        let detail = details.iter().find(|detail| detail["@type"] == url.as_str());
        detail.unwrap_or_else(|| panic!("no {name}: {self:?}")).clone()
    }
}

/// Sends a request on a connection of its own. A body has its length, unless the headers say another.
pub async fn send(address: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() && headers.iter().all(|(name, _)| *name != "content-length") {
        request += &format!("content-length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body;
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    parse(&tokio::time::timeout(BOUND, exchange).await.expect("it answers in time"))
}

fn parse(text: &str) -> Answer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut answer = Answer { status, headers, body: String::new() };
    answer.body = if answer.header("transfer-encoding") == Some("chunked") { unchunk(rest) } else { rest.to_owned() };
    answer
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, next) = rest.split_once("\r\n").unwrap();
        match usize::from_str_radix(size, 16).unwrap() {
            0 => return body,
            size => {
                body += &next[..size];
                rest = next[size..].strip_prefix("\r\n").unwrap();
            }
        }
    }
}
