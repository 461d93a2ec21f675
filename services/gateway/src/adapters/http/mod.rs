//! What the port answers besides gRPC: gRPC-Web, Connect and HTTP/JSON. All become calls of the port's own, with its
//! limits, identity and access.
//!
//! | module | what it is for |
//! |---|---|
//! | [`cors`] | pages of other origins |
//! | [`grpc_web`] | gRPC-Web, binary and text |
//! | [`connect`] | Connect: unary calls by POST and GET, and streams |
//! | [`docs`] | the OpenAPI document, and a page that shows it |
//! | [`json`] | HTTP/JSON by the methods' `google.api.http` |
//! | [`methods`] | the methods that there are |
//! | [`call`] | a call of the port's own, of bytes |
//! | [`answers`] | messages of answers: read, written and handed on within bounds |
//! | [`values`] | how many values a JSON text or a message may have |

mod answers;
mod call;
#[cfg(test)]
mod call_tests;
mod connect;
mod cors;
mod docs;
mod grpc_web;
mod grpc_web_text;
mod json;
mod linked;
mod methods;
mod prefix;
mod values;

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use meshwork::server::{Calls, HttpService};
use prost_reflect::DescriptorPool;
use tonic::body::Body;

use self::answers::Room;
use self::connect::Connect;
use self::cors::Cors;
use self::docs::Docs;
use self::grpc_web::WebCall;
use self::json::{Found, Transcoder};
use self::linked::LinkedCalls;
pub use self::methods::{MethodNote, Methods};
use crate::adapters::access::{AccessLog, HttpRecord, Protocol};
use crate::adapters::client::Client;
use crate::adapters::errors::{DOMAIN, HTTP_METHOD_UNKNOWN, http_method_unknown, path_unknown};
use crate::config::HttpConfig;

/// What a [`Front`] is made of.
pub struct FrontParts {
    /// The contracts.
    pub pool: DescriptorPool,
    /// The methods.
    pub methods: Arc<dyn Methods>,
    /// The settings.
    pub config: HttpConfig,
    /// Whether API keys are taken in place of tokens.
    pub takes_keys: bool,
    /// Logs requests; `None`: nobody does.
    pub log: Option<AccessLog>,
}

/// Answers what comes to the port and is no gRPC. Clones answer alike.
#[derive(Clone)]
pub struct Front(Arc<ArcSwap<Protocols>>);

struct Protocols {
    methods: Arc<dyn Methods>,
    log: Option<AccessLog>,
    cors: Cors,
    connect: Connect,
    docs: Option<Docs>,
    json: Transcoder,
    /// Of what the configuration has added.
    added: Transcoder,
}

impl Front {
    /// The front of the methods that have a route.
    pub fn new(parts: FrontParts) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Protocols::new(parts))))
    }

    /// Answers the requests that begin from now on as `other` does now.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }
}

impl HttpService for Front {
    fn call(&self, mut request: Request<Body>, calls: Calls) -> BoxFuture<'static, Response<Body>> {
        let protocols = self.0.load_full();
        let network = Client::of(Some(calls.peer())).network();
        request.extensions_mut().insert(Room::of_network(network));
        Box::pin(async move {
            let Some(log) = &protocols.log else {
                return protocols.answer(request, LinkedCalls::new(calls, None), None).await;
            };
            let record = log.begin(&request, calls.peer());
            let calls = LinkedCalls::new(calls, Some(record.link()));
            let response = protocols.answer(record.count_request(request), calls, Some(&record)).await;
            record.count_answer(response)
        })
    }
}

impl Protocols {
    fn new(FrontParts { pool, methods, config, takes_keys, log }: FrontParts) -> Self {
        let of_shop = |path: &str| methods.has(path) && !methods.is_added(path);
        let is_added = |path: &str| methods.has(path) && methods.is_added(path);
        let json = Transcoder::new(&pool, of_shop).max_body(config.max_body);
        let permits = |path: &str, beginning: &[&str]| methods.has_http_path(path, beginning);
        let added = Transcoder::beside(&json, &pool, is_added, permits).max_body(config.max_body);
        let docs = config.docs.then(|| {
            let addresses: HashSet<_> = json.addresses().chain(added.addresses()).collect();
            let is_reached = |path: &str, verb: &str, template: &str| addresses.contains(&(path, verb, template));
            Docs::new(&pool, |path| methods.note(path), is_reached, takes_keys)
        });
        let cors = Cors::new(&config.cors_origins);
        let connect = Connect::new(pool, Arc::clone(&methods), config.max_body);
        Self { methods, log, cors, connect, docs, json, added }
    }

    async fn answer(
        &self,
        mut request: Request<Body>,
        calls: LinkedCalls,
        record: Option<&HttpRecord>,
    ) -> Response<Body> {
        let grant = self.cors.grant(request.headers());
        if let Some(preflight) = grant.as_ref().and_then(|grant| grant.preflight(&request)) {
            return preflight;
        }
        // HEAD is for what GET is for, and answered without a body (RFC 9110, section 9.3.2).
        let is_head = *request.method() == Method::HEAD;
        if is_head {
            *request.method_mut() = Method::GET;
        }
        let mut response = self.answer_request(request, calls, record).await;
        if is_head {
            response = without_body(response);
        }
        if let Some(grant) = grant {
            grant.apply(response.headers_mut());
        }
        response
    }

    /// Answers a request that is no preflight, by the protocol that it is of.
    async fn answer_request(
        &self,
        request: Request<Body>,
        mut calls: LinkedCalls,
        record: Option<&HttpRecord>,
    ) -> Response<Body> {
        let found = |protocol, route: Option<&str>| {
            if let Some(record) = record {
                record.found(protocol, route);
            }
        };
        if let Some(call) = WebCall::of(request.headers()) {
            found(Protocol::GrpcWeb, Some(request.uri().path()).filter(|path| self.methods.has(path)));
            return call.answer(request, &mut calls).await;
        }
        let target = self.connect.find(&request);
        if let Some(target) = target {
            found(Protocol::Connect, target.path());
            return self.connect.answer(target, request, calls).await;
        }
        if let Some(page) = self.page(&request) {
            found(Protocol::Http, Some(request.uri().path()));
            return page;
        }
        let (method, path) = (request.method(), request.uri().path());
        // What is added takes no path of this program's own methods away.
        let (transcoder, matched) = match self.json.find(method, path) {
            Found::None => (&self.added, self.added.find(method, path)),
            matched => (&self.json, matched),
        };
        match matched {
            Found::Route(matched) => {
                found(Protocol::Json, Some(matched.path()));
                transcoder.answer(matched, request, calls).await
            }
            Found::MethodNotAllowed(allowed) => refused(request.method(), &allowed),
            Found::None => json::error(&path_unknown(request.uri().path()), &HeaderMap::new()),
        }
    }

    /// What documents the methods.
    fn page(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let (docs, path) = (self.docs.as_ref()?, request.uri().path());
        if request.method() == Method::GET {
            return docs.answer(path, request.headers().get(IF_NONE_MATCH));
        }
        docs.has(path).then(|| refused(request.method(), &[Method::GET]))
    }
}

/// The head of an answer alone. It says how long the body would have been.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Body::empty())
}

/// The answer to a request by a method of HTTP that isn't one of the path's.
fn refused(method: &Method, allowed: &[Method]) -> Response<Body> {
    let status = http_method_unknown(method.as_str());
    let error = serde_json::json!({ "error": {
        "code": StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        "status": "UNIMPLEMENTED",
        "message": status.message(),
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": HTTP_METHOD_UNKNOWN.reason,
            "domain": DOMAIN,
        }],
    }});
    let mut response = Response::new(Body::new(Full::new(error.to_string().into())));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        headers.insert(ALLOW, allowed);
    }
    response
}
