//! The calls of one connection.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::{BoxFuture, Either};
use http::{Request, Response};
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::call::{CallBody, answer};
use super::context::ConnectionContext;
use super::guard::{ActiveCall, Arrival};
use super::handlers::{HandlerService, Handlers};
use super::http::answer_http;
use super::origin::CallOrigin;
use super::request::is_call;
use super::state::HttpRequests;
use crate::server::Domain;
use crate::server::budget::{Caller, Hold, Resource};
use crate::transport::{CountUnwritten, RequestBody, Serve};

/// What answers the calls of a connection.
pub(in crate::server) struct ConnectionCalls<H> {
    connection: Arc<ConnectionContext>,
    handlers: Handlers<H>,
}

impl<H> ConnectionCalls<H> {
    /// `handlers` behind the pipeline of `connection`.
    pub(in crate::server) fn new(handlers: Handlers<H>, connection: ConnectionContext) -> Self {
        Self { connection: Arc::new(connection), handlers }
    }

    /// Whose errors the server's are.
    pub(in crate::server) fn domain(&self) -> Domain {
        self.connection.pipeline.domain
    }
}

impl<H: HandlerService> ConnectionCalls<H> {
    /// Answers a request that is no gRPC by `http`.
    pub(in crate::server) fn http<A: CallBody>(
        &self,
        http: &Arc<HttpRequests>,
        request: Request<A>,
    ) -> BoxFuture<'static, (Response<AnswerBody>, Arc<ActiveCall>)> {
        let counted = self.connection.calls.begin();
        let (connection, http, handlers) = (Arc::clone(&self.connection), Arc::clone(http), self.handlers.clone());
        Box::pin(answer_http(connection, http, handlers, request, counted))
    }
}

impl<H: HandlerService> Serve for ConnectionCalls<H> {
    type Body = AnswerBody;
    type Guard = ActiveCall;

    fn call(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = (Response<AnswerBody>, Arc<ActiveCall>)> + Send + 'static + use<H> {
        let http = self.connection.pipeline.http.as_ref();
        if let Some(http) = http.filter(|_| !is_call(request.headers())) {
            return Either::Right(self.http(http, request));
        }
        let planned = self.connection.pipeline.plans.find(request.uri().path());
        // It is there from now on, also if its turn comes later. The clock is read once for it: for the deadline, and for
        // whoever observes.
        let arrival = Arrival { at: Instant::now(), counted: self.connection.calls.begin() };
        let origin = CallOrigin::of(&self.connection, request.headers());
        Either::Left(answer(Arc::clone(&self.connection), planned, self.handlers.clone(), request, (arrival, origin)))
    }

    /// It is the address that has them: the calls of a connection may be those of many principals.
    fn count_unwritten(&self) -> Option<CountUnwritten> {
        let (budgets, address) = (self.connection.pipeline.budgets.clone(), self.connection.address.clone());
        let mut held: Option<Hold> = None;
        Some(Box::new(move |bytes| match held.as_mut() {
            Some(hold) => hold.resize(bytes).is_ok(),
            None if bytes == 0 => true,
            None => {
                let caller = Caller { address: address.as_ref(), principal: None };
                held = budgets.take(Resource::UnreadBytes, bytes, caller).ok();
                held.is_some()
            }
        }))
    }
}
