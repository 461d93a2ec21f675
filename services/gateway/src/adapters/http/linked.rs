//! The port's own calls, each of which leads to the record of the request that it is made for.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use meshwork::server::Calls;
use tonic::body::Body;
use tower_service::Service;

use crate::adapters::access::RecordLink;

/// Makes calls for a request; without a link, nobody records it.
#[derive(Clone)]
pub(super) struct LinkedCalls {
    calls: Calls,
    link: Option<RecordLink>,
}

impl LinkedCalls {
    pub(super) fn new(calls: Calls, link: Option<RecordLink>) -> Self {
        Self { calls, link }
    }
}

impl Service<Request<Body>> for LinkedCalls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.calls.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(link) = &self.link {
            request.extensions_mut().insert(link.clone());
        }
        self.calls.call(request)
    }
}
