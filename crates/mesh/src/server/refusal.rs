//! The statuses that the server itself answers with, each with its standard details (AIP-193).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use crate::errors;

/// The metadata that tells a gRPC client after how many milliseconds to retry (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Who speaks in `google.rpc.ErrorInfo`: the domain of the errors that the server's layers answer with. The default is
/// `meshwork`.
#[derive(Clone, Copy, Debug)]
pub struct Domain(&'static str);

/// Domains are few and live as long as the process: each is kept once, so that layers and calls have it at no cost.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

impl Domain {
    /// A domain, such as `orders.example.com`.
    ///
    /// ```
    /// use meshwork::server::Domain;
    /// let domain = Domain::new("orders.example.com");
    /// ```
    pub fn new(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        // A panic can't leave the set half changed.
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(name) {
            return Self(name);
        }
        let name: &'static str = Box::leak(name.into());
        names.insert(name);
        Self(name)
    }

    /// A status whose ErrorInfo has this domain, `reason` and `metadata`. It is bounded as those of an
    /// [`ErrorKind`](crate::errors::ErrorKind) are.
    pub fn refuse(&self, code: Code, reason: &str, message: impl Display, metadata: &[(&str, &str)]) -> Status {
        errors::status(code, message, self.details(reason, metadata))
    }

    /// As [`Domain::refuse`], with RetryInfo: the same call may succeed after `delay`, or on another server at once.
    pub fn refuse_for(
        &self,
        delay: Duration,
        code: Code,
        reason: &str,
        message: impl Display,
        metadata: &[(&str, &str)],
    ) -> Status {
        errors::status(code, message, errors::error_info(self.0, reason, Some(delay), metadata))
    }

    /// The details that every status of this domain begins with.
    pub fn details(&self, reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
        errors::error_info(self.0, reason, None, metadata)
    }
}

/// The name of the domain.
impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self("meshwork")
    }
}

/// Tells a client to retry after `delay`, and not before, wherever it does (gRFC A6): for limits that all servers share.
pub fn push_back(status: &mut Status, delay: Duration) {
    // Rounded up: a client that comes a little too early would be refused once more.
    let millis = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(millis));
}
