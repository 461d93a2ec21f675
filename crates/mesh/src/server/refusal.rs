//! The statuses that the server itself answers with, each with its standard details (AIP-193).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

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
        if let Some(known) = names.get(name) {
            return Self(known);
        }
        let kept: &'static str = Box::leak(name.into());
        names.insert(kept);
        Self(kept)
    }

    /// A status whose ErrorInfo has this domain, `reason` and `metadata`.
    pub fn refuse(&self, code: Code, reason: &str, message: impl Into<String>, metadata: &[(&str, &str)]) -> Status {
        self.with_details(code, message, self.details(reason, metadata))
    }

    /// As [`Domain::refuse`], with RetryInfo: the same call may succeed after `delay`, or on another server at once.
    pub fn refuse_for(
        &self,
        delay: Duration,
        code: Code,
        reason: &str,
        message: impl Into<String>,
        metadata: &[(&str, &str)],
    ) -> Status {
        let mut details = self.details(reason, metadata);
        details.set_retry_info(Some(delay));
        self.with_details(code, message, details)
    }

    /// The details that every status of this domain begins with.
    pub fn details(&self, reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ErrorDetails::with_error_info(reason, self.0, metadata)
    }

    fn with_details(&self, code: Code, message: impl Into<String>, details: ErrorDetails) -> Status {
        Status::with_error_details(code, message, details)
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
