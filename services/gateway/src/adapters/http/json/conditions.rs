//! Headers that are fields of a request: `Idempotency-Key`, `If-Match` and `Last-Event-ID`.

use http::header::IF_MATCH;
use http::{HeaderMap, HeaderName, Method};
use meshwork_aip::request::RequestId;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value as Field};
use uuid::{Uuid, uuid};

use super::binding::{Binding, Content};
use super::fault::Fault;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The field by which a request is known when it comes again (AIP-155).
const REQUEST_ID: &str = "request_id";
/// The field with the version that a resource must have (AIP-154).
const ETAG: &str = "etag";
/// The field in which a stream's messages say where they stand, and its request from where to go on.
pub(super) const RESUME: &str = "resume_token";

/// The longest key, in bytes.
const MAX_KEY: usize = 255;
/// The namespace of the request ids that are made of keys. It must stay: the same key has to give the same id again.
const KEYS: Uuid = uuid!("5b0b3f9e-3c1d-4f57-9c55-7d0a3a1f6f0e");

/// Sets the fields that headers say.
///
/// # Errors
/// When a header is no such value, or says something else than the request.
pub(super) fn apply(request: &mut DynamicMessage, binding: &Binding, headers: &HeaderMap) -> Result<(), Fault> {
    if let Some(key) = single(headers, &IDEMPOTENCY_KEY)? {
        identify(request, binding, key)?;
    }
    if let Some(etag) = single(headers, &IF_MATCH)? {
        require(request, binding, etag)?;
    }
    if binding.is_server_streaming
        && let Some(token) = single(headers, &LAST_EVENT_ID)?.filter(|token| !token.is_empty())
        && let Some(field) = text(&request.descriptor(), RESUME)
    {
        // A browser asks with the address of the first time, and with the event that it saw last.
        request.try_set_field(&field, Field::String(token.to_owned())).ok();
    }
    Ok(())
}

/// The text of a header; `None` where it isn't there.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        _ => Err(Fault::new(name, "must be there once, in visible ASCII")),
    }
}

/// The field of a message that is a text and has this name.
pub(super) fn text(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let field = message.get_field_by_name(name)?;
    (matches!(field.kind(), Kind::String) && !field.is_list()).then_some(field)
}

/// What a header says that a method has no field for. Where nothing is changed, nothing is lost.
fn unsupported(binding: &Binding, header: &HeaderName) -> Result<(), Fault> {
    if [Method::GET, Method::HEAD].contains(&binding.verb) {
        return Ok(());
    }
    Err(Fault::new(header, "is not supported by this method"))
}

/// Gives the request the id that its key stands for.
fn identify(request: &mut DynamicMessage, binding: &Binding, key: &str) -> Result<(), Fault> {
    // Who relies on the key would do twice what is to be done once.
    let Some(field) = text(&request.descriptor(), REQUEST_ID) else { return unsupported(binding, &IDEMPOTENCY_KEY) };
    // The IETF's draft has it as a string of a structured field, in quotes.
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Fault::new(IDEMPOTENCY_KEY, format_args!("must have 1 to {MAX_KEY} characters")));
    }
    let id = match key.parse::<RequestId>() {
        Ok(id) => id.to_string(),
        Err(_) => Uuid::new_v5(&KEYS, format!("{}\n{key}", binding.grpc_path).as_bytes()).to_string(),
    };
    let current = request.get_field(&field).as_str().unwrap_or_default().to_owned();
    if !current.is_empty() && !current.eq_ignore_ascii_case(&id) {
        return Err(Fault::new(REQUEST_ID, "must be empty, or what the header Idempotency-Key says"));
    }
    if current.is_empty() {
        request.try_set_field(&field, Field::String(id)).ok();
    }
    Ok(())
}

/// The field with the resource that a request changes: its body, or what the path names within it.
fn changed(binding: &Binding) -> Option<&FieldDescriptor> {
    match &binding.body {
        Content::Field(resource) => [Method::PATCH, Method::PUT].contains(&binding.verb).then_some(resource),
        Content::All => binding.variables.iter().find(|fields| fields.len() == 2)?.first(),
        Content::None => None,
    }
}

/// Gives the request, or the resource that it changes, the etag that it must have.
fn require(request: &mut DynamicMessage, binding: &Binding, etag: &str) -> Result<(), Fault> {
    if etag == "*" {
        // The resource must exist, which it must anyway.
        return Ok(());
    }
    // An empty one would be no condition at all.
    if etag.is_empty() || etag.matches('"').count() > 2 {
        return Err(Fault::new(IF_MATCH, "must be one etag"));
    }
    let place = match (text(&request.descriptor(), ETAG), changed(binding)) {
        (Some(field), _) => Some((request, field)),
        (None, Some(resource)) => {
            let resource = request.get_field_mut(resource).as_message_mut();
            resource.and_then(|resource| text(&resource.descriptor(), ETAG).map(|field| (resource, field)))
        }
        (None, None) => None,
    };
    let Some((message, field)) = place else { return unsupported(binding, &IF_MATCH) };
    let current = message.get_field(&field).as_str().unwrap_or_default().to_owned();
    if !current.is_empty() && current != etag {
        return Err(Fault::new(ETAG, "must be empty, or what the header If-Match says"));
    }
    message.try_set_field(&field, Field::String(etag.to_owned())).ok();
    Ok(())
}
