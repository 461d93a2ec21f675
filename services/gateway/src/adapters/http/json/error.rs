//! Errors as JSON: the body of AIP-193, with the details of the status.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use meshwork_api::FILE_DESCRIPTOR_SET;
use meshwork_api::google::rpc;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::{Any, FileDescriptorSet};
use serde_json::{Map, Value, json};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;

use super::super::call::http_status;
use super::metadata;
use crate::adapters::access::AnswerCode;
use crate::adapters::codes::code_name;

/// What JSON says of itself.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers are for whoever asked, at once: there are tokens among them, and what is read may have changed a moment
/// later.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The standard details.
static STANDARD: LazyLock<DescriptorPool> = LazyLock::new(|| {
    // The descriptors were made by our build; a test reads the same bytes. Without them details are told as bytes.
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    set.file.retain(|file| file.name().starts_with("google/"));
    DescriptorPool::from_file_descriptor_set(set).unwrap_or_default()
});

/// The answer that tells `status`, with the status of HTTP that belongs to its code. `metadata` becomes headers.
pub(in crate::adapters::http) fn error(status: &Status, metadata: &HeaderMap) -> Response<Body> {
    respond(&STANDARD, http_status(status.code()), status, metadata)
}

/// As [`error`], with details that `pool` has and another status of HTTP.
pub(super) fn respond(
    pool: &DescriptorPool,
    code: StatusCode,
    status: &Status,
    metadata: &HeaderMap,
) -> Response<Body> {
    let body = object(pool, code, status).to_string();
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = code;
    response.extensions_mut().insert(AnswerCode(status.code()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    metadata::add_of_answer(metadata, headers);
    let mut own = status.metadata().clone().into_headers();
    // A failed call may have told the same twice.
    for name in metadata.keys() {
        own.remove(name);
    }
    metadata::add_of_answer(&own, headers);
    if code == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
    if let Some(delay) = delay {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `{"error": {"code", "status", "message", "details"}}`, where the code is that of HTTP.
pub(super) fn object(pool: &DescriptorPool, code: StatusCode, status: &Status) -> Value {
    // What isn't read is not told: the message is there.
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let details: Vec<_> = details.iter().map(|any| detail(pool, any)).collect();
    json!({"error": {
        "code": code.as_u16(),
        "status": code_name(status.code()),
        "message": status.message(),
        "details": details,
    }})
}

/// A detail with its type; one that `pool` doesn't have is told as its bytes.
fn detail(pool: &DescriptorPool, any: &Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let message = pool.get_message_by_name(name);
    let message = message.and_then(|message| DynamicMessage::decode(message, any.value.as_slice()).ok());
    let value = message.and_then(|message| serde_json::to_value(&message).ok());
    let mut object = match value {
        // Of well-known types, JSON has the value.
        Some(Value::Object(fields)) if !name.starts_with("google.protobuf.") => fields,
        Some(value) => Map::from_iter([("value".to_owned(), value)]),
        None => Map::from_iter([("value".to_owned(), Value::String(BASE64_STANDARD.encode(&any.value)))]),
    };
    object.insert("@type".to_owned(), Value::String(any.type_url.clone()));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use tonic::Code;

    use super::*;

    #[test]
    fn details_are_json_with_their_types() {
        let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "shop", [("limit".to_owned(), "5".to_owned())]);
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slower", details);
        let response = error(&status, &HeaderMap::new());
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "2");
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/json");
        assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMITED", "domain": "shop", "metadata": {"limit": "5"},
        });
        let mut object = object(&STANDARD, response.status(), &status);
        let details = object["error"]["details"].take();
        assert!(details.as_array().unwrap().contains(&info), "{details}");
        let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"});
        assert!(details.as_array().unwrap().contains(&retry), "{details}");
        let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slower", "details": null});
        assert_eq!(object["error"], error);
    }

    #[test]
    fn unknown_and_torn_details_are_told_as_bytes_or_not_at_all() {
        let any = |name: &str| Any { type_url: format!("type.googleapis.com/{name}"), value: vec![0xff] };
        for name in ["shop.Unknown", "google.rpc.ErrorInfo"] {
            let told = detail(&STANDARD, &any(name));
            assert_eq!(told, json!({"@type": format!("type.googleapis.com/{name}"), "value": "/w=="}));
        }
        let torn = Status::with_details(Code::Internal, "torn", Bytes::from_static(b"\xff"));
        assert_eq!(object(&STANDARD, StatusCode::INTERNAL_SERVER_ERROR, &torn)["error"]["details"], json!([]));
    }

    #[test]
    fn who_is_not_signed_in_is_told_how() {
        let response = error(&Status::unauthenticated("who?"), &HeaderMap::new());
        assert_eq!(
            (response.status().as_u16(), response.headers().get(WWW_AUTHENTICATE).unwrap()),
            (401, &HeaderValue::from_static("Bearer"))
        );
    }
}
