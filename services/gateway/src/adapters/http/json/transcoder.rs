//! From a request of HTTP to a call of gRPC, and back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::Full;
use meshwork::deadline::parse_timeout;
use meshwork_aip::errors::ETAG_MISMATCH;
use meshwork_chassis::errors::internal;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_service::Service;

use super::super::answers::{self, Pieces, Room};
use super::super::call::{self, Failure, Head};
use super::addresses::{OwnPaths, permitted};
use super::binding::{Binding, Content, bindings};
use super::error::{JSON, NO_STORE, respond};
use super::fault::Fault;
use super::matcher::{Lookup, Matcher};
use super::refusal::Refusal;
use super::request::{self, Source};
use super::stream::{self, Encoder, Format};
use super::{body, metadata};
use crate::adapters::errors::{DOMAIN, stream_unsupported};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The largest body of a request that is not said otherwise, in bytes.
const MAX_BODY: usize = 4 << 20;

/// Answers requests by the option `google.api.http` of methods.
#[derive(Debug)]
pub(in crate::adapters::http) struct Transcoder {
    pool: DescriptorPool,
    bindings: Vec<Arc<Binding>>,
    matcher: Matcher,
    max_body: usize,
}

/// What a path leads to.
#[derive(Debug)]
pub(in crate::adapters::http) enum Found {
    /// A method.
    Route(Matched),
    /// The path has other methods of HTTP, these.
    MethodNotAllowed(Vec<Method>),
    /// There is no such path.
    None,
}

/// The method that a request is for.
#[derive(Debug)]
pub(in crate::adapters::http) struct Matched {
    binding: Arc<Binding>,
    captures: Vec<String>,
}

impl Matched {
    /// The path of the method, `/package.Service/Method`.
    pub(in crate::adapters::http) fn path(&self) -> &str {
        &self.binding.grpc_path
    }
}

impl Transcoder {
    /// For the methods in `pool` whose path, `/package.Service/Method`, `has` admits.
    pub(in crate::adapters::http) fn new(pool: &DescriptorPool, has: impl Fn(&str) -> bool) -> Self {
        Self::of(pool, bindings(pool, has))
    }

    /// For those methods that `has` admits, beside `own`: by paths that `permits` admits by the method and the texts that they begin
    /// with, and that no path of `own` could be.
    pub(in crate::adapters::http) fn beside(
        own: &Self,
        pool: &DescriptorPool,
        has: impl Fn(&str) -> bool,
        permits: impl Fn(&str, &[&str]) -> bool,
    ) -> Self {
        let paths = OwnPaths::new(own.bindings.iter().map(AsRef::as_ref));
        Self::of(pool, permitted(bindings(pool, has), &paths, permits))
    }

    fn of(pool: &DescriptorPool, bindings: Vec<Binding>) -> Self {
        let bindings: Vec<_> = bindings.into_iter().map(Arc::new).collect();
        let mut matcher = Matcher::default();
        for (route, binding) in bindings.iter().enumerate() {
            matcher.insert(binding.verb.clone(), &binding.template, route);
        }
        Self { pool: pool.clone(), bindings, matcher, max_body: MAX_BODY }
    }

    /// Takes bodies of at most so many bytes; 4 MiB when it isn't said.
    #[must_use]
    pub(in crate::adapters::http) fn max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Each path that leads to a method: the method's own, the method of HTTP, and the template as its option has it.
    pub(in crate::adapters::http) fn addresses(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.bindings
            .iter()
            .map(|binding| (binding.grpc_path.as_str(), binding.verb.as_str(), binding.pattern.as_str()))
    }

    /// The method of a request.
    pub(in crate::adapters::http) fn find(&self, method: &Method, path: &str) -> Found {
        match self.matcher.find(method, path) {
            Lookup::Route(route, segments) => {
                let matched = self.bindings.get(route).and_then(|binding| {
                    let captures = binding.template.captures(&segments)?;
                    Some(Matched { binding: Arc::clone(binding), captures })
                });
                matched.map_or(Found::None, Found::Route)
            }
            Lookup::OtherMethods(methods) => Found::MethodNotAllowed(methods),
            Lookup::None => Found::None,
        }
    }

    /// Answers a request by a call of its method, which `calls` makes.
    pub(in crate::adapters::http) async fn answer<S>(
        &self,
        matched: Matched,
        request: Request<Body>,
        mut calls: S,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let (head, body) = request.into_parts();
        match self.call(&matched, &head, body, &mut calls).await {
            Ok(response) => response,
            Err(Refusal { code, status, metadata }) => respond(&self.pool, code, &status, &metadata),
        }
    }

    async fn call<S>(
        &self,
        Matched { binding, captures }: &Matched,
        head: &Parts,
        body: Body,
        calls: &mut S,
    ) -> Result<Response<Body>, Refusal>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        if binding.is_client_streaming {
            return Err(stream_unsupported(&binding.grpc_path).into());
        }
        let bytes = match binding.body {
            Content::None => body::none(body).await.map(|()| Bytes::new())?,
            Content::All | Content::Field(_) => body::read(body, &head.headers, self.max_body).await?,
        };
        let query = head.uri.query().unwrap_or_default();
        let source = Source { captures, query, headers: &head.headers, body: &bytes };
        let message = Bytes::from(request::message(binding, source)?.encode_to_vec());
        // It is no longer needed, and a stream may last.
        drop(bytes);
        let call = Head {
            path: binding.grpc_path.clone(),
            metadata: metadata::of_request(&head.headers),
            timeout: timeout(&head.headers)?,
        };
        let failed = |failure| failed(failure, &head.headers);
        let room = Room::among(&head.extensions);
        if binding.is_server_streaming {
            let frame = Body::new(Full::new(call::frame(&message)));
            let answer = call::start(calls, call, frame).await.map_err(failed)?;
            let format = Format::of(&head.headers);
            let encoder = Encoder { format, pool: self.pool.clone(), message: binding.output.clone(), room };
            let mut response = Response::new(stream::body(encoder, answer.messages));
            response.headers_mut().insert(CONTENT_TYPE, format.content_type());
            response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
            metadata::add_of_answer(&answer.metadata, response.headers_mut());
            return Ok(response);
        }
        let (headers, message, trailers) = call::unary(calls, call, message).await.map_err(failed)?;
        let binding = Arc::clone(binding);
        let (json, etag) = answers::made(message, move |message| unary(&binding, message)).await?;
        let mut response = Response::new(Pieces::of(json, &room)?.into_body());
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        if let Some(etag) = etag {
            response.headers_mut().insert(ETAG, etag);
        }
        metadata::add_of_answer(&headers, response.headers_mut());
        metadata::add_of_answer(&trailers, response.headers_mut());
        Ok(response)
    }
}

/// How long the caller waits, as it says by `grpc-timeout`.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let timeout = headers.get(GRPC_TIMEOUT).map(parse_timeout).transpose();
    timeout.map_err(|_| Fault::new(GRPC_TIMEOUT, "must be 1 to 8 digits and one of H, M, S, m, u, n").into())
}

/// The JSON of the answer of one message, and its version for `ETag`.
fn unary(binding: &Binding, message: Bytes) -> Result<(Bytes, Option<HeaderValue>), Status> {
    let answer = answers::read(&binding.output, message)?;
    let json = match &binding.response_body {
        None => answers::write(&answer)?,
        Some(field) => {
            let mut whole = serde_json::to_value(&answer).map_err(|error| internal(DOMAIN, &error))?;
            let part = whole.as_object_mut().and_then(|whole| whole.remove(field.json_name()));
            answers::write(&part.unwrap_or(Value::Null))?
        }
    };
    let etag = answer.get_field_by_name("etag");
    let etag = etag.as_deref().and_then(prost_reflect::Value::as_str).filter(|etag| is_etag(etag));
    Ok((json, etag.and_then(|etag| HeaderValue::from_str(etag).ok())))
}

/// Whether a text is one etag as HTTP writes them, in quotes.
fn is_etag(text: &str) -> bool {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.is_some_and(|opaque| opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

/// A call that failed. Where the caller named an etag that isn't the resource's, its precondition did.
fn failed(failure: Failure, headers: &HeaderMap) -> Refusal {
    let mut refusal = Refusal::from(failure);
    if refusal.status.code() == Code::Aborted && headers.contains_key(IF_MATCH) {
        let reason = refusal.status.get_details_error_info().map(|info| info.reason);
        if reason.as_deref() == Some(ETAG_MISMATCH.reason) {
            refusal.code = StatusCode::PRECONDITION_FAILED;
        }
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::super::testing::pool;
    use super::*;

    #[test]
    fn paths_of_the_contracts_lead_to_their_methods() {
        let transcoder = Transcoder::new(&pool(), |path| !path.contains("ProductService"));
        let found = |method, path| match transcoder.find(&method, path) {
            Found::Route(Matched { binding, captures }) => Some((binding.grpc_path.clone(), captures)),
            Found::MethodNotAllowed(_) | Found::None => None,
        };
        let (path, captures) = found(Method::GET, "/v1/orders/a:watch").unwrap();
        assert_eq!(
            (path.as_str(), captures),
            ("/meshwork.orders.v1.OrderService/WatchOrder", vec!["orders/a".to_owned()])
        );
        assert_eq!(found(Method::GET, "/v1/orders/%zz"), None);
        assert_eq!(found(Method::GET, "/v1/products"), None, "what isn't routed isn't found");
        let other = transcoder.find(&Method::DELETE, "/v1/orders");
        assert!(matches!(&other, Found::MethodNotAllowed(methods) if methods.len() == 2), "{other:?}");
    }

    #[test]
    fn only_what_is_an_etag_is_told_as_one() {
        for (text, is) in [("\"v1\"", true), ("v1", false), ("\"", false), ("\"a\"b\"", false), ("\"\n\"", false)] {
            assert_eq!(is_etag(text), is, "{text}");
        }
    }
}
