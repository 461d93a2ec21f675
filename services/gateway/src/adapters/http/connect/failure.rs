//! The errors of Connect, in JSON whatever the codec of the call is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::pb;

/// An error: its code, its message, and its details in base64, each beside its JSON where `pool` has its message.
pub(super) fn error(status: &Status, pool: &DescriptorPool) -> Value {
    let mut error = Map::new();
    error.insert("code".to_owned(), name(status.code()).into());
    if !status.message().is_empty() {
        error.insert("message".to_owned(), status.message().into());
    }
    let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    if !details.is_empty() {
        let shown = details.iter().map(|any| {
            let message_type = any.type_url.rsplit('/').next().unwrap_or_default();
            let mut detail = json!({ "type": message_type, "value": STANDARD_NO_PAD.encode(&any.value) });
            if let (Some(debug), Some(detail)) = (debug(message_type, &any.value, pool), detail.as_object_mut()) {
                detail.insert("debug".to_owned(), debug);
            }
            detail
        });
        error.insert("details".to_owned(), shown.collect());
    }
    Value::Object(error)
}

/// A detail as people read it.
fn debug(message_type: &str, value: &[u8], pool: &DescriptorPool) -> Option<Value> {
    let message = DynamicMessage::decode(pool.get_message_by_name(message_type)?, value).ok()?;
    serde_json::to_value(message).ok()
}

/// The name of a code.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        // An error can't be OK.
        Code::Ok | Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use meshwork_api::FILE_DESCRIPTOR_SET;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn an_error_has_its_code_its_message_and_its_details() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut details = ErrorDetails::new();
        details.set_error_info("GONE", "orders.example", HashMap::new());
        let shown = error(&Status::with_error_details(Code::NotFound, "no order", details), &pool);
        assert_eq!((&shown["code"], &shown["message"]), (&json!("not_found"), &json!("no order")));
        let detail = &shown["details"][0];
        assert_eq!(detail["type"], "google.rpc.ErrorInfo");
        let value = STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap()).unwrap();
        assert_eq!(pb::ErrorInfo::decode(&*value).unwrap().reason, "GONE");
        assert_eq!(error(&Status::new(Code::Cancelled, ""), &pool), json!({ "code": "canceled" }));
        let rubbish = Status::with_details(Code::Internal, "", b"\xff".as_slice().into());
        assert_eq!(error(&rubbish, &pool), json!({ "code": "internal" }));
    }
}
