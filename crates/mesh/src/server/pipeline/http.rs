//! Requests that are no gRPC, for the user's service, and the calls that it makes for them.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::answer::{AnswerBody, Bounds};
use super::bounded::Bounded;
use super::call::{CallBody, answer};
use super::context::ConnectionContext;
use super::end::ServerEnd;
use super::guard::{ActiveCall, Arrival};
use super::handlers::{HandlerService, Handlers};
use super::origin::CallOrigin;
use super::request::plain;
use super::state::HttpRequests;
use super::time::CallExpiry;
use crate::server::accept::OpenCall;
use crate::server::arriving::waiting_bytes;
use crate::server::http::{ArrivingBody, BodyBounds, Calls, PeerCalls, head_fault};
use crate::server::peer::Peer;
use crate::transport::header_list_size;

/// The fields of an answer that are of its connection: HTTP/2 has none of them (RFC 9113, section 8.2.2).
const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The calls of a connection's peer, made for one of its requests.
struct PipelineCalls<H> {
    connection: Arc<ConnectionContext>,
    origin: CallOrigin,
    handlers: Mutex<Handlers<H>>,
    /// The request, as long as it is not answered to the last byte.
    request: Weak<ActiveCall>,
}

impl<H: HandlerService> PeerCalls for PipelineCalls<H> {
    fn peer(&self) -> &Peer {
        self.origin.peer(&self.connection)
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        let planned = self.connection.pipeline.plans.find(request.uri().path());
        let arrival = Arrival { at: Instant::now(), counted: self.connection.calls.begin() };
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (connection, made_for) = (Arc::clone(&self.connection), Weak::clone(&self.request));
        let origin = self.origin.clone();
        Box::pin(async move {
            let (response, call) = answer(connection, planned, handlers, request, (arrival, origin)).await;
            if let Some(request) = made_for.upgrade() {
                request.hold(call);
            }
            Ok(response.map(Body::new))
        })
    }
}

/// Answers `request`, which came when `counted` began. The second of the pair is held to the last byte of the answer.
pub(super) async fn answer_http<H: HandlerService, A: CallBody>(
    connection: Arc<ConnectionContext>,
    http: Arc<HttpRequests>,
    handlers: Handlers<H>,
    request: Request<A>,
    counted: OpenCall,
) -> (Response<AnswerBody>, Arc<ActiveCall>) {
    let pipeline = &*connection.pipeline;
    let (mut parts, body) = request.into_parts();
    let (is_head, version) = (parts.method == Method::HEAD, parts.version);
    let origin = CallOrigin::of(&connection, &parts.headers);
    let call = Arc::new(ActiveCall::of_http(&connection, origin.clone(), counted));
    let mut end = ServerEnd::new(None, connection.ending.clone(), pipeline.domain);
    let response = if header_list_size(&parts) > pipeline.max_header_list {
        plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large\n")
    } else if let Some((status, why)) = head_fault(&parts) {
        let mut refused = plain(status, why);
        refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        refused
    } else {
        let answered = Arc::<AtomicBool>::default();
        let bounds = BodyBounds {
            first_byte: http.first_byte,
            next_byte: pipeline.slow_reader,
            head: waiting_bytes(&parts),
            counted: http.counted,
            budgets: pipeline.budgets.clone(),
            address: origin.account(&connection).cloned(),
            domain: pipeline.domain,
            answered: Arc::clone(&answered),
        };
        connection.extend(origin.client(), &mut parts.extensions);
        let request = Request::from_parts(parts, Body::new(ArrivingBody::new(body, bounds)));
        let calls = Calls::new(PipelineCalls {
            connection: Arc::clone(&connection),
            origin,
            handlers: Mutex::new(handlers),
            request: Arc::downgrade(&call),
        });
        let steps = async { Ok::<_, Status>(http.service.call(request, calls).await) };
        // Whoever its calls are made for expires there.
        let expiry = CallExpiry::default();
        let mut bounded = pin!(Bounded::new(steps, None, &expiry, pipeline.domain));
        let response = poll_fn(|cx| bounded.as_mut().poll(None, &mut end, cx)).await;
        answered.store(true, Ordering::Relaxed);
        response.unwrap_or_else(|status| failed(&status))
    };
    let (mut head, mut body) = response.into_parts();
    // What a service passes on from elsewhere may say another one, for which `hyper` has no answer.
    head.version = Version::HTTP_11;
    if version == Version::HTTP_2 {
        for name in OF_CONNECTIONS {
            head.headers.remove(name);
        }
        if is_head {
            // To its client a body would be an error of the protocol (RFC 9110, section 9.3.2). Over HTTP/1.1 `hyper`
            // sees to it.
            body = Body::empty();
        }
    }
    (Response::from_parts(head, AnswerBody::new(body, Bounds::none(end), Arc::clone(&call))), call)
}

/// The answer of HTTP to a request that the service could not answer.
fn failed(status: &Status) -> Response<Body> {
    let code = match status.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    plain(code, format!("{}\n", status.message()))
}
