//! The end of a stream with its server: between two messages, so that the last one is whole.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::Domain;
use super::drain::stream_ended;
use crate::bodies::Framing;

/// Where in its answer a stream is, and whether it has to end there because the server stops. A stream that never waits costs
/// no place among those who do.
pub(in crate::server) struct StreamEnd {
    stopping: CancellationToken,
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    framing: Framing,
    /// Whether data was let through since the stop began.
    passing: bool,
    domain: Domain,
}

impl StreamEnd {
    /// A stream that ends when `stopping` is cancelled; its status carries `domain`.
    pub(in crate::server) fn new(stopping: CancellationToken, domain: Domain) -> Self {
        Self { stopping, stopped: None, framing: Framing::default(), passing: false, domain }
    }

    /// The status of a stream that always has a message: it ends after one more.
    pub(in crate::server) fn before_data(&self) -> Option<Status> {
        (self.passing && self.framing.between()).then(|| stream_ended(self.domain))
    }

    /// Data passes.
    pub(in crate::server) fn on_data(&mut self, data: &[u8]) {
        // Messages of any length may be answered.
        let _ = self.framing.read(data, usize::MAX);
        self.passing = self.stopping.is_cancelled();
    }

    /// The status of a stream that has nothing to say at the moment, and that is woken by the stop otherwise.
    pub(in crate::server) fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        if !self.framing.between() {
            // What wakes it is the rest of its message.
            return None;
        }
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(self.stopping.clone().cancelled_owned()));
        stopped.as_mut().poll(cx).is_ready().then(|| stream_ended(self.domain))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;
    use tonic::Code;

    use super::*;

    fn code(status: Option<Status>) -> Option<Code> {
        status.map(|status| status.code())
    }

    #[test]
    fn a_stream_ends_between_two_messages_and_never_within_one() {
        let (stopping, cx) = (CancellationToken::new(), &mut Context::from_waker(noop_waker_ref()));
        let mut end = StreamEnd::new(stopping.clone(), Domain::default());
        end.on_data(&[0, 0, 0, 0, 2, 7]);
        assert!(end.on_wait(cx).is_none());
        stopping.cancel();
        assert!(end.on_wait(cx).is_none() && end.before_data().is_none(), "a byte is missing");
        end.on_data(&[7]);
        assert_eq!(code(end.before_data()), Some(Code::Unavailable));
        assert_eq!(code(end.on_wait(cx)), Some(Code::Unavailable));
    }

    #[test]
    fn a_stream_that_always_has_a_message_ends_after_one_more() {
        let stopping = CancellationToken::new();
        let mut end = StreamEnd::new(stopping.clone(), Domain::default());
        end.on_data(&[0, 0, 0, 0, 1, 7]);
        stopping.cancel();
        assert!(end.before_data().is_none());
        end.on_data(&[0, 0, 0, 0, 1, 7]);
        assert_eq!(code(end.before_data()), Some(Code::Unavailable));
    }
}
