//! An endpoint as the task of a channel tracks it.

use std::sync::Arc;

use super::member::Member;
use crate::client::outlier::Key;
use crate::client::subchannel::State;
use crate::observe::Connectivity;

/// An endpoint, and how it was when the last snapshot was made.
pub(super) struct TrackedEndpoint {
    pub key: Key,
    pub member: Arc<Member>,
    /// The state of its subchannel.
    pub state: State,
    /// TRANSIENT_FAILURE holds until READY (gRFC A48).
    pub failed: bool,
    /// The number of the connection by which it was READY last.
    connection: u64,
}

impl TrackedEndpoint {
    /// An endpoint that nobody has connected to.
    pub(super) fn new(key: Key, member: Arc<Member>) -> Self {
        Self { key, member, state: State::default(), failed: false, connection: 0 }
    }

    /// An endpoint that calls reach by connections of another subchannel meanwhile: its first connection here is none that
    /// was made after a loss.
    pub(super) fn beside(key: Key, member: Arc<Member>) -> Self {
        Self { connection: 1, ..Self::new(key, member) }
    }

    /// The same endpoint with what has changed of it.
    pub(super) fn with_member(self, member: Arc<Member>) -> Self {
        Self { member, ..self }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.state.connectivity == Connectivity::Ready
    }

    /// Whether its first connection stands, or could not be made.
    pub(super) fn is_settled(&self) -> bool {
        self.is_ready() || self.failed
    }

    /// Reads the state of the subchannel; true when the connection was lost, or could not be made.
    pub(super) fn update(&mut self) -> bool {
        let before = std::mem::replace(&mut self.state, self.member.subchannel.state());
        let connection = self.member.subchannel.connection_id();
        if self.is_ready() && connection != self.connection {
            self.connection = connection;
            let feedback = &self.member.feedback;
            feedback.load.forget();
            // A server that is back gets its probes at once.
            if let Some(breaker) = &feedback.breaker {
                breaker.half_open();
            }
        }
        if self.is_ready() {
            self.failed = false;
        } else if self.state.connectivity == Connectivity::TransientFailure {
            self.failed = true;
        }
        match self.state.connectivity {
            // Also each time that all addresses failed once more (gRFC A61).
            Connectivity::TransientFailure => self.state.generation != before.generation,
            now => before.connectivity == Connectivity::Ready && now != Connectivity::Ready,
        }
    }
}
