//! Fuzz targets of what callers send: path templates and paths, JSON, masks, query parameters and headers.
//!
//! As tests each runs for a second on random input, longer where `BOLERO_RANDOM_TEST_TIME_MS` says so; `cargo bolero test NAME`
//! (nightly) runs one under libFuzzer. Bytes choose words of the grammar, so that random ones get far.

use bolero::check;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _};
use serde_json::Value;

use super::binding::{Binding, Content, bindings};
use super::field::by_path;
use super::mask;
use super::matcher::{Lookup, Matcher};
use super::message;
use super::metadata;
use super::query;
use super::request::{self, Source};
use super::template::{Segment, Template};
use super::testing::{descriptor, pool};

/// The longest text of a fault: callers may not make it longer.
const MAX_FAULT: usize = 2_000;

/// What the bytes of an input choose: words, and now and then the byte itself.
fn text(input: &[u8], words: &[&str]) -> String {
    let mut text = String::new();
    for byte in input {
        match words.get(usize::from(*byte)) {
            Some(word) => text.push_str(word),
            None => text.push(char::from(*byte)),
        }
    }
    text
}

const PATH_WORDS: &[&str] = &[
    "/",
    "{",
    "}",
    "=",
    "*",
    "**",
    ":",
    ".",
    "name",
    "users",
    "v1",
    "%2F",
    "%",
    "%00",
    "é",
    "//",
    "..",
    "/v1/",
    "{name=",
    "users/*",
    "order.name",
    ":cancel",
    "a",
];

#[test]
fn templates_and_paths() {
    check!().for_each(|input: &[u8]| {
        let (template, path) = input.split_at(input.len() / 2);
        let Ok(template) = text(template, PATH_WORDS).parse::<Template>() else { return };
        // What was read is written so that it is read as the same.
        assert_eq!(template.to_string().parse::<Template>().as_ref(), Ok(&template));
        let mut matcher = Matcher::default();
        matcher.insert(Method::GET, &template, 7);
        let path = format!("/{}", text(path, PATH_WORDS));
        let own = path_of(&template);
        for path in [path.as_str(), own.as_str()] {
            match matcher.find(&Method::GET, path) {
                Lookup::Route(route, segments) => {
                    assert_eq!(route, 7);
                    let values = template.captures(&segments);
                    assert!(values.is_none_or(|values| values.len() == template.variables.len()));
                }
                Lookup::None => {}
                Lookup::OtherMethods(methods) => panic!("{methods:?}"),
            }
        }
        // Paths are looked at up to a number of segments.
        if template.segments.len() < 64 && own.len() < 8 << 10 {
            assert!(matches!(matcher.find(&Method::GET, &own), Lookup::Route(7, _)), "{template} {own}");
        }
        assert!(!matches!(matcher.find(&Method::POST, &own), Lookup::Route(..)));
    });
}

/// A path that fits.
fn path_of(template: &Template) -> String {
    let mut path = String::new();
    for segment in &template.segments {
        path.push('/');
        path.push_str(match segment {
            Segment::Literal(text) => text,
            Segment::One | Segment::Rest => "x",
        });
    }
    if let Some(verb) = &template.verb {
        path.push(':');
        path.push_str(verb);
    }
    path
}

const JSON_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\"name\"",
    "\"lines\"",
    "\"product\"",
    "\"quantity\"",
    "\"displayName\"",
    "\"display_name\"",
    "\"price\"",
    "\"units\"",
    "\"nanos\"",
    "\"currencyCode\"",
    "\"updateMask\"",
    "\"createTime\"",
    "\"state\"",
    "null",
    "true",
    "1",
    "-1",
    "1e400",
    "9223372036854775808",
    "-9223372036854775809",
    "0.5",
    "\"1\"",
    "\"NaN\"",
    "\"2026-01-01T00:00:00Z\"",
    "\"9999-99-99T00:00:00Z\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"a,b.c\"",
    "{\"name\":",
    "{\"price\":{\"units\":",
    "\"expectedTotal\"",
    "\"order\"",
    "\"etag\"",
    " ",
    "\"@type\"",
];

/// The messages that requests of the shop consist of.
const MESSAGES: [&str; 4] = [
    "meshwork.orders.v1.CreateOrderRequest",
    "meshwork.orders.v1.Order",
    "meshwork.products.v1.UpdateProductRequest",
    "meshwork.users.v1.User",
];

/// A message by the first byte, and the rest.
fn message_of(input: &[u8]) -> Option<(MessageDescriptor, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((descriptor(MESSAGES[usize::from(*first) % MESSAGES.len()]), rest))
}

#[test]
fn json_becomes_a_message_or_a_fault_that_says_where() {
    check!().for_each(|input: &[u8]| {
        let Some((descriptor, rest)) = message_of(input) else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text(rest, JSON_WORDS)) else { return };
        match message::read(&descriptor, &value, "") {
            Ok(read) => {
                let json = serde_json::to_value(&read).unwrap();
                let again = DynamicMessage::deserialize(descriptor, json).unwrap();
                assert_eq!(again, read);
            }
            Err(fault) => assert!(fault.field.len() + fault.description.len() < MAX_FAULT, "{fault:?}"),
        }
    });
}

#[test]
fn masks_name_fields_that_there_are() {
    check!().for_each(|input: &[u8]| {
        let Some((descriptor, rest)) = message_of(input) else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text(rest, JSON_WORDS)) else { return };
        for path in mask::paths(&descriptor, &value, |path| path == "name") {
            assert!(path != "name" && path != "etag", "{path}");
            assert!(by_path(&descriptor, &path).is_some(), "{path}");
        }
    });
}

const QUERY_WORDS: &[&str] = &[
    "&",
    "=",
    "name",
    "order.",
    "lines",
    "order.lines",
    "page_size",
    "pageSize",
    "updateMask",
    "%",
    "%3D",
    "%zz",
    "+",
    "a",
    "1",
    ".",
    "..",
    "product.price.units",
    "product.",
    "password",
    "user.password",
    ";",
    "%00",
];

#[test]
fn requests_become_messages_or_faults() {
    let bindings: Vec<Binding> = bindings(&pool(), |_| true);
    check!().for_each(|input: &[u8]| {
        let Some((first, rest)) = input.split_first() else { return };
        let binding = &bindings[usize::from(*first) % bindings.len()];
        let (query, rest) = rest.split_at(rest.len() / 3);
        let (body, capture) = rest.split_at(rest.len() / 2);
        let query = text(query, QUERY_WORDS);
        let body = if matches!(binding.body, Content::None) { String::new() } else { text(body, JSON_WORDS) };
        let captures = vec![text(capture, PATH_WORDS); binding.variables.len()];
        let headers = HeaderMap::new();
        let source = Source { captures: &captures, query: &query, headers: &headers, body: body.as_bytes() };
        match request::message(binding, source) {
            Ok(message) => assert_eq!(message.descriptor(), binding.input),
            Err(fault) => assert!(fault.field.len() + fault.description.len() < MAX_FAULT, "{fault:?}"),
        }
        if let Ok(parameters) = query::parameters(&query) {
            assert!(parameters.len() <= 256);
        }
    });
}

const HEADER_WORDS: &[&str] = &[
    "grpc-metadata-",
    "grpc-",
    "authorization",
    "x-forwarded-for",
    "te",
    "connection",
    "content-type",
    "if-match",
    "x-",
    "-bin",
    "timeout",
    "host",
    "proxy-",
    "idempotency-key",
    "meshwork-client-address",
    "a",
    "b",
];

#[test]
fn headers_become_metadata_that_says_nothing_of_who_calls() {
    check!().for_each(|input: &[u8]| {
        let mut headers = HeaderMap::new();
        let mut own = HeaderMap::new();
        for field in input.split(|byte| *byte == b'\n').take(64) {
            let (name, value) = field.split_at(field.len().min(4));
            let name = HeaderName::from_bytes(text(name, HEADER_WORDS).as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                if name == "authorization" {
                    own.append(name.clone(), value.clone());
                }
                headers.append(name, value);
            }
        }
        let metadata = metadata::of_request(&headers);
        for name in metadata.keys() {
            assert!(!name.as_str().starts_with("grpc-"), "{name}");
            assert!(!["te", "connection", "content-type", "host", "if-match"].contains(&name.as_str()), "{name}");
        }
        // Only the header itself says who calls.
        assert!(metadata.get_all("authorization").iter().eq(own.get_all("authorization")));
        let mut answer = HeaderMap::new();
        metadata::add_of_answer(&headers, &mut answer);
        assert!(
            answer
                .keys()
                .all(|name| !name.as_str().starts_with("grpc-") || name.as_str().starts_with("grpc-metadata-"))
        );
    });
}
