//! The Connect protocol (connectrpc.com/docs/protocol), version 1: calls by `fetch` in a browser, and by `curl`.

mod codec;
mod encoding;
mod failure;
mod head;
mod procedure;
mod stream;
mod unary;

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use prost_reflect::DescriptorPool;
use tonic::Code;
use tonic::body::Body;
use url::form_urlencoded;

use self::codec::Codec;
use self::encoding::TAKEN;
use self::procedure::{Procedure, is_procedure};
use self::unary::{Query, Unary, failed};
use super::answers::Room;
use super::methods::Methods;
use crate::adapters::http::linked::LinkedCalls;

/// The media types of the protocol, each a request's by POST.
const MEDIA_TYPES: [&str; 4] =
    ["application/proto", "application/json", "application/connect+proto", "application/connect+json"];

/// Says which media types a method takes.
static ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Calls that come by Connect.
pub(super) struct Connect {
    pool: DescriptorPool,
    methods: Arc<dyn Methods>,
    max: usize,
}

/// What a request of Connect is for: a method, or one that nobody has.
pub(super) struct Target(Option<Procedure>);

impl Target {
    /// The path of the method, if there is one.
    pub(super) fn path(&self) -> Option<&str> {
        self.0.as_ref().map(|procedure| procedure.path.as_str())
    }
}

impl Connect {
    /// Those of the `methods` in `pool` that have a route, by messages of at most `max` bytes.
    pub(super) fn new(pool: DescriptorPool, methods: Arc<dyn Methods>, max: usize) -> Self {
        Self { pool, methods, max }
    }

    /// What a request is for; `None` when it isn't one of Connect.
    pub(super) fn find(&self, request: &Request<Body>) -> Option<Target> {
        let path = request.uri().path();
        let procedure = if self.methods.has(path) { Procedure::find(&self.pool, path) } else { None };
        let is_ours = procedure.is_some() || is_procedure(path) && is_connect(request);
        is_ours.then_some(Target(procedure))
    }

    /// Answers it. Dropping the future, or the body of the answer, cancels the call.
    pub(super) async fn answer(&self, target: Target, request: Request<Body>, calls: LinkedCalls) -> Response<Body> {
        let Target(Some(procedure)) = target else {
            let refusal = self.methods.refusal(request.uri().path());
            let is_unknown = refusal.code() == Code::Unimplemented;
            let mut response = failed(&refusal.into(), &self.pool);
            if is_unknown {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            return response;
        };
        let mut response = if request.method() == Method::POST {
            self.post(&procedure, request, calls).await
        } else if request.method() == Method::GET && procedure.is_read && !procedure.streams {
            self.get(&procedure, request, calls).await
        } else {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(procedure.allowed()));
            response
        };
        response.headers_mut().insert(accepted(&procedure), HeaderValue::from_static(TAKEN));
        response
    }

    async fn post(&self, procedure: &Procedure, request: Request<Body>, calls: LinkedCalls) -> Response<Body> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Some(codec) = media_type.and_then(|media_type| procedure.codec(media_type)) else {
            return unsupported(procedure);
        };
        if procedure.streams {
            return stream::answer(procedure, codec, self.max, &self.pool, request, calls).await;
        }
        let room = Room::among(request.extensions());
        let unary = Unary { procedure, codec, max: self.max, pool: &self.pool, room };
        unary.post(request, calls).await
    }

    async fn get(&self, procedure: &Procedure, request: Request<Body>, calls: LinkedCalls) -> Response<Body> {
        let (parts, _) = request.into_parts();
        let query = match Query::of(parts.uri.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(status) => return failed(&status.into(), &self.pool),
        };
        let Some(codec) = Codec::named(&query.codec) else { return unsupported(procedure) };
        let unary = Unary { procedure, codec, max: self.max, pool: &self.pool, room: Room::among(&parts.extensions) };
        unary.get(query, &parts.headers, calls).await
    }
}

/// Whether a request says that it is of Connect.
fn is_connect(request: &Request<Body>) -> bool {
    let headers: &HeaderMap = request.headers();
    if headers.contains_key("connect-protocol-version") {
        return true;
    }
    if request.method() == Method::POST {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        return MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence));
    }
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::GET
        && form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "connect" && value == "v1")
}

/// The header that says which encodings a method takes.
fn accepted(procedure: &Procedure) -> HeaderName {
    if procedure.streams { HeaderName::from_static("connect-accept-encoding") } else { ACCEPT_ENCODING }
}

/// The answer to a request of a media type that the method isn't called with.
fn unsupported(procedure: &Procedure) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let types = format!("{}, {}", procedure.media_type(Codec::Proto), procedure.media_type(Codec::Json));
    if let Ok(types) = HeaderValue::try_from(types) {
        response.headers_mut().insert(ACCEPT_POST.clone(), types);
    }
    response
}
