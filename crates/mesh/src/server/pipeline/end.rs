//! How calls end with their server: streams as it begins to stop, the others when its grace is over.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::server::Domain;
use crate::server::drain::{call_ended, stream_ended};

type Wait = Pin<Box<WaitForCancellationFutureOwned>>;

/// The wait for the end of the server. Calls that never wait cost it nothing.
pub(super) struct ServerEnd {
    /// Of a call that answers with a stream: the server begins to stop.
    stopping: Option<CancellationToken>,
    ending: CancellationToken,
    stops: Option<Wait>,
    ends: Option<Wait>,
    domain: Domain,
}

impl ServerEnd {
    /// A call ends at `ending`, and one that answers with a stream at `stopping`.
    pub(super) fn new(stopping: Option<CancellationToken>, ending: CancellationToken, domain: Domain) -> Self {
        Self { stopping, ending, stops: None, ends: None, domain }
    }

    /// Whose errors these are.
    pub(super) fn domain(&self) -> Domain {
        self.domain
    }

    /// Whether the call answers with a stream and the server stops; nobody is woken for it.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// The status that the call ends with, if it has to. `between`: it may end here as the server begins to stop.
    pub(super) fn poll(&mut self, between: bool, cx: &mut Context<'_>) -> Option<Status> {
        if let Some(stopping) = &self.stopping {
            let wait = self.stops.get_or_insert_with(|| Box::pin(stopping.clone().cancelled_owned()));
            if stopping.is_cancelled() || wait.as_mut().poll(cx).is_ready() {
                if between {
                    return Some(stream_ended(self.domain));
                }
                self.stops = None;
            }
        }
        let ending = &self.ending;
        let wait = self.ends.get_or_insert_with(|| Box::pin(ending.clone().cancelled_owned()));
        (ending.is_cancelled() || wait.as_mut().poll(cx).is_ready()).then(|| call_ended(self.domain))
    }
}
