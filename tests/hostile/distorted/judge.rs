//! What is wrong with an answer.

use meshwork_api::google::rpc::{BadRequest, ErrorInfo, Status};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tonic::Code;

use super::answer::Reply;

/// What a peer takes of header fields by default, and what an answer has beside its status.
const FIELDS: usize = (8 << 10) + 512;
/// How many faults of a request are told.
const VIOLATIONS: usize = 20;
/// How many characters of what was sent may be shown.
const SHOWN: usize = 64;

/// What a request may be answered with, whatever is in it.
const RIGHT: &[Code] = &[
    Code::Ok,
    Code::InvalidArgument,
    Code::NotFound,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::FailedPrecondition,
    Code::AlreadyExists,
    Code::Aborted,
    Code::OutOfRange,
    Code::ResourceExhausted,
];

/// The details of an error that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) info: Option<ErrorInfo>,
    bad_request: Option<BadRequest>,
}

/// The details of an answer.
///
/// # Errors
/// When they can't be read.
pub(crate) fn details(reply: &Reply) -> Result<Details, String> {
    let bytes = reply.details.as_ref().ok_or("it has no details that can be read")?;
    let status = Status::decode(bytes.as_slice()).map_err(|error| format!("its details are no Status: {error}"))?;
    let mut found = Details::default();
    for any in &status.details {
        let unreadable = |error| format!("a detail is no {}: {error}", any.type_url);
        match any.type_url.rsplit('/').next() {
            Some("google.rpc.ErrorInfo") => {
                found.info = Some(ErrorInfo::decode(any.value.as_slice()).map_err(unreadable)?);
            }
            Some("google.rpc.BadRequest") => {
                found.bad_request = Some(BadRequest::decode(any.value.as_slice()).map_err(unreadable)?);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// What is wrong with the answer to `sent`, a message of the kind `input`.
pub(crate) fn faults(input: &MessageDescriptor, sent: &DynamicMessage, reply: &Reply) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    check(RIGHT.contains(&reply.code), format!("its code is {:?}", reply.code));
    check(reply.fields <= FIELDS, format!("its header fields have {} bytes", reply.fields));
    check(!reply.message.contains(char::is_control), "its message has a control character".to_owned());
    if reply.code == Code::Ok {
        return faults;
    }
    let told = reply.details.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let shown = runs(sent).into_iter().find(|run| reply.message.contains(run) || told.contains(run));
    check(shown.is_none(), format!("it repeats more than {SHOWN} characters of what was sent: {shown:?}"));
    let details = match details(reply) {
        Ok(details) => details,
        Err(problem) => {
            check(false, problem);
            return faults;
        }
    };
    let Some(info) = details.info else {
        check(false, "it has no ErrorInfo".to_owned());
        return faults;
    };
    check(!info.reason.is_empty() && info.domain.contains('.'), format!("its reason is {info:?}"));
    if info.reason == "INVALID_FIELDS" {
        let violations = details.bad_request.unwrap_or_default().field_violations;
        check((1..=VIOLATIONS).contains(&violations.len()), format!("it has {} violations", violations.len()));
        for violation in &violations {
            let field = &violation.field;
            check(is_path(input, field), format!("it names the field {field:?}, which {} hasn't", input.full_name()));
            check(!violation.description.is_empty(), format!("it doesn't say what is wrong with {field:?}"));
        }
    }
    faults
}

/// Whether a path leads to a field, or to a `oneof`, of a message: `order.lines[3].product`.
fn is_path(message: &MessageDescriptor, path: &str) -> bool {
    let mut inside = Some(message.clone());
    for part in path.split('.') {
        let name = part.split_once('[').map_or(part, |(name, _)| name);
        let Some(message) = inside.take() else { return false };
        let Some(field) = message.get_field_by_name(name) else {
            return message.oneofs().any(|oneof| oneof.name() == name);
        };
        inside = field.kind().as_message().cloned();
    }
    true
}

/// Runs of one character more than may be shown, from the begin, the middle and the end of each long text in a message.
fn runs(message: &DynamicMessage) -> Vec<String> {
    let mut runs = Vec::new();
    for (_, value) in message.fields() {
        runs_of(value, &mut runs);
    }
    runs
}

fn runs_of(value: &Value, runs: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() > SHOWN => {
            let last: Vec<_> = text.chars().rev().take(SHOWN + 1).collect();
            let last = last.into_iter().rev().collect();
            let first = text.chars().take(SHOWN + 1).collect();
            let later = text.chars().skip(SHOWN / 2).take(SHOWN + 1).collect();
            let whole = |run: &String| run.chars().count() > SHOWN;
            runs.extend([first, later, last].into_iter().filter(whole));
        }
        Value::List(values) => values.iter().for_each(|value| runs_of(value, runs)),
        Value::Message(message) => message.fields().for_each(|(_, value)| runs_of(value, runs)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::contracts::Contracts;
    use super::*;

    #[test]
    fn paths_lead_to_fields() {
        let methods = Contracts::read().methods();
        let input = |name: &str| {
            let found = methods.iter().find(|method| method.path.ends_with(name));
            found.map(|method| method.input.clone()).unwrap()
        };
        let order = input("/CreateOrder");
        for path in ["order", "order.lines", "order.lines[3].product", "expected_total.units"] {
            assert!(is_path(&order, path), "{path}");
        }
        for path in ["", "orders", "order.line", "order_id.x", "order.lines[0].none"] {
            assert!(!is_path(&order, path), "{path}");
        }
        assert!(is_path(&input("/InvalidateCache"), "what"));
    }

    #[test]
    fn what_is_repeated_is_found() {
        let kind = Contracts::read().methods().into_iter().find(|method| method.path.ends_with("/GetUser")).unwrap();
        let mut sent = DynamicMessage::new(kind.input.clone());
        sent.set_field_by_name("name", Value::String("x".repeat(1000)));
        let reply = |shown: usize| Reply {
            code: Code::NotFound,
            message: format!("there is no {}", "x".repeat(shown)),
            details: None,
            fields: 100,
        };
        let repeats = |shown| faults(&kind.input, &sent, &reply(shown)).iter().any(|fault| fault.contains("repeats"));
        assert!(!repeats(SHOWN) && repeats(SHOWN + 1));
    }
}
