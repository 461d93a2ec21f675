//! A call with any bytes, and its answer with all that its header fields tell.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;
use tonic::Code;

use crate::hostile::wire::{Wire, head_of, next, send_all, set, status};

/// How long a call may take, as it tells the shop.
const TIMEOUT: &str = "10S";
/// How long its answer is waited for.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long the first message of a stream is waited for. One that tells nothing until then is open.
const FIRST_MESSAGE: Duration = Duration::from_millis(250);

/// Where a call goes.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    /// The value of `authorization`.
    pub(crate) token: &'a str,
    /// The service that is meant, where several have the method.
    pub(crate) service: Option<&'a str>,
    /// Whether the answer is a stream, of which the first message is enough.
    pub(crate) streams: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// `grpc-status-details-bin`; `None` where there is none, or it is no base64.
    pub(crate) details: Option<Vec<u8>>,
    /// The header fields and the trailers, as HTTP/2 counts them.
    pub(crate) fields: usize,
}

/// Makes a call.
///
/// # Errors
/// When it has no answer.
pub(crate) async fn ask(wire: &Wire, call: &Call<'_>, body: Bytes) -> Result<Reply, String> {
    let answered = tokio::time::timeout(PATIENCE, answered(wire, call, body)).await;
    match answered {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(format!("no answer: {error}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn answered(wire: &Wire, call: &Call<'_>, body: Bytes) -> Result<Reply, h2::Error> {
    let mut head = head_of(call.path, Some(call.token), Some(TIMEOUT));
    if let Some(service) = call.service {
        set(&mut head, "meshwork-service", service);
    }
    let mut started = wire.start(head, false).await?;
    // The shop may answer before it has read everything; then only the answer counts.
    send_all(&mut started.body, body, true).await.ok();
    let (head, mut stream) = started.answer.await?.into_parts();
    if let Some(status) = status(&head.headers) {
        return Ok(reply(status, &head.headers, &HeaderMap::new()));
    }
    if call.streams {
        match tokio::time::timeout(FIRST_MESSAGE, next(&mut stream)).await {
            Ok(Some(message)) => {
                message?;
                return Ok(reply((Code::Ok, String::new()), &head.headers, &HeaderMap::new()));
            }
            Err(_) => return Ok(reply((Code::Ok, String::new()), &head.headers, &HeaderMap::new())),
            Ok(None) => {}
        }
    }
    while let Some(data) = next(&mut stream).await {
        data?;
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let status = status(&trailers).unwrap_or_else(|| (Code::Unknown, "there is no gRPC status".to_owned()));
    Ok(reply(status, &head.headers, &trailers))
}

fn reply((code, message): (Code, String), head: &HeaderMap, trailers: &HeaderMap) -> Reply {
    const DETAILS: &str = "grpc-status-details-bin";
    let details = trailers.get(DETAILS).or_else(|| head.get(DETAILS));
    let details = details.and_then(|value| STANDARD_NO_PAD.decode(value.to_str().ok()?.trim_end_matches('=')).ok());
    Reply { code, message, details, fields: counted(head) + counted(trailers) }
}

/// The size of header fields by RFC 9113: their bytes, and 32 for each.
fn counted(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}
