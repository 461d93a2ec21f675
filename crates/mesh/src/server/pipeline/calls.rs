//! The calls of one connection.

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::call::answer;
use super::context::ConnectionContext;
use super::guard::{ActiveCall, Arrival};
use super::handlers::{HandlerService, Handlers};
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
}

impl<H: HandlerService> Serve for ConnectionCalls<H> {
    type Body = AnswerBody;
    type Guard = ActiveCall;

    fn call(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = (Response<AnswerBody>, Arc<ActiveCall>)> + Send + 'static + use<H> {
        let plan = self.connection.pipeline.plans.find(request.uri().path());
        // It is there from now on, also if its turn comes later. The clock is read once for it: for the deadline, and for
        // whoever observes.
        let arrival = Arrival { at: Instant::now(), counted: self.connection.calls.begin() };
        answer(Arc::clone(&self.connection), plan, self.handlers.clone(), request, arrival)
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
