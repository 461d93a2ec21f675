//! Reading stored messages one by one, from the stream's leader: what a direct get answers may be old (NT-4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{Api, ApiError, Failure};
use crate::cloudevents::{self, DecodeError};
use crate::{Envelope, Lane};

/// A stored message.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its sequence in the stream.
    pub(super) seq: u64,
    /// Its subject.
    pub(super) subject: String,
    headers: Vec<(String, String)>,
    data: Bytes,
    time: OffsetDateTime,
}

impl Stored {
    /// The event in it.
    pub(super) fn event(&self, lane: &Lane) -> Result<Envelope, DecodeError> {
        let header = |name: &str| self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        cloudevents::decode(lane.partition, header, self.data.clone(), self.time)
    }
}

#[derive(Deserialize)]
struct Answer {
    message: Raw,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    time: String,
}

/// The last message that matches a filter.
pub(super) async fn last(api: &Api, stream: &str, filter: &str) -> Result<Option<Stored>, Failure> {
    get(api, stream, &json!({ "last_by_subj": filter })).await
}

/// The first message at or behind a sequence that matches a filter.
pub(super) async fn next(api: &Api, stream: &str, filter: &str, seq: u64) -> Result<Option<Stored>, Failure> {
    get(api, stream, &json!({ "seq": seq.max(1), "next_by_subj": filter })).await
}

async fn get(api: &Api, stream: &str, body: &Value) -> Result<Option<Stored>, Failure> {
    let answer = api.call::<Answer>(&format!("STREAM.MSG.GET.{stream}"), body).await;
    let raw = match answer {
        Ok(answer) => answer.message,
        Err(Failure::Refused(error)) if error.err_code == ApiError::NO_MESSAGE_FOUND => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let decode = |text: &str| {
        STANDARD.decode(text).map_err(|error| Failure::Lost(format!("message {}: no base64: {error}", raw.seq)))
    };
    Ok(Some(Stored {
        seq: raw.seq,
        headers: headers(&String::from_utf8_lossy(&decode(&raw.hdrs)?)),
        data: decode(&raw.data)?.into(),
        time: OffsetDateTime::parse(&raw.time, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        subject: raw.subject,
    }))
}

/// Reads `NATS/1.0␍␊name: value␍␊…`.
fn headers(text: &str) -> Vec<(String, String)> {
    let fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}
