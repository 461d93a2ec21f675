//! How long a call may go on.

use std::sync::OnceLock;

use tokio::time::Instant;
use tonic::Status;

use super::state::Pipeline;
use crate::deadline::ExpiryStatus as _;
use crate::server::Domain;
use crate::server::auth::Principal;
use crate::server::expiry::credentials_expired;

/// When a call is over: at its deadline, and not later than the credentials of its caller expire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallTime {
    pub deadline: Option<Instant>,
    pub expiry: Option<Instant>,
}

impl CallTime {
    /// The earlier of both: what takes a timer takes one.
    pub fn end(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.expiry).min()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.end().is_some_and(|end| end <= Instant::now())
    }

    /// The status of a call that is over; `when` says how far it had come.
    pub fn status(&self, domain: Domain, when: &str) -> Status {
        match self.expiry {
            Some(expiry) if self.deadline.is_none_or(|deadline| expiry < deadline) => credentials_expired(domain, when),
            _ => domain.status(when),
        }
    }
}

/// When the credentials of a call's caller expire: found out in the middle of its steps, and asked for by who waits for them.
#[derive(Debug, Default)]
pub(super) struct CallExpiry(OnceLock<Instant>);

impl CallExpiry {
    /// The call is that of `principal`. How long its credentials hold is reckoned once, by the clock that they were verified by;
    /// from there on the clock of calls counts.
    ///
    /// # Errors
    /// The status of a call whose credentials have expired.
    pub fn begin(&self, pipeline: &Pipeline, principal: Option<&Principal>) -> Result<(), Status> {
        let at = principal.and_then(Principal::expires_at);
        let (Some(at), Some(authenticator)) = (at, &pipeline.authenticator) else { return Ok(()) };
        let left = at.duration_since(authenticator.now()).unwrap_or_default();
        if left.is_zero() {
            return Err(credentials_expired(pipeline.domain, "before it began"));
        }
        // A time that is too far away to be told never comes.
        if let Some(at) = Instant::now().checked_add(left) {
            let _ = self.0.set(at);
        }
        Ok(())
    }

    /// When it is, if it is known and they do expire.
    pub fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}
