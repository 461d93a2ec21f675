//! How calls end with their server: streams as it begins to stop, the others when its grace is over.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::server::Domain;
use crate::server::drain::call_ended;
use crate::server::stream_end::StreamEnd;

/// The wait for the end of the server. Calls that never wait cost it nothing.
pub(super) struct ServerEnd {
    /// Of a call that answers with a stream.
    stream: Option<StreamEnd>,
    ending: CancellationToken,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    domain: Domain,
}

impl ServerEnd {
    /// A call ends at `ending`, and one that answers with a stream by `stream` before.
    pub(super) fn new(stream: Option<StreamEnd>, ending: CancellationToken, domain: Domain) -> Self {
        Self { stream, ending, ended: None, domain }
    }

    /// Whose errors these are.
    pub(super) fn domain(&self) -> Domain {
        self.domain
    }

    /// The status of a call that always has something to say, if it has to end.
    pub(super) fn before_data(&self) -> Option<Status> {
        self.stream.as_ref().and_then(StreamEnd::before_data)
    }

    /// Data of the answer passes.
    pub(super) fn on_data(&mut self, data: &[u8]) {
        if let Some(stream) = &mut self.stream {
            stream.on_data(data);
        }
    }

    /// The status of a call that has nothing to say at the moment, if it has to end; else it is woken then.
    pub(super) fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        if let Some(status) = self.stream.as_mut().and_then(|stream| stream.on_wait(cx)) {
            return Some(status);
        }
        let ended = self.ended.get_or_insert_with(|| Box::pin(self.ending.clone().cancelled_owned()));
        ended.as_mut().poll(cx).is_ready().then(|| call_ended(self.domain))
    }
}
