//! What outlier detection did.

use std::sync::Arc;

use super::Key;
use crate::observe::{Event, Observers};

/// What told that an endpoint is an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It succeeds less than the others.
    SuccessRate,
    /// It fails more than the threshold.
    FailurePercentage,
}

impl Method {
    /// As in the labels of gRFC A91.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
        }
    }
}

/// Why an outlier was not ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unenforced {
    /// Chance, by the policy's enforcement percentage.
    EnforcementPercentage,
    /// As many endpoints are ejected as the policy allows.
    MaxEjectionOverflow,
}

impl Unenforced {
    /// As in the labels of gRFC A91.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EnforcementPercentage => "enforcement_percentage",
            Self::MaxEjectionOverflow => "max_ejection_overflow",
        }
    }
}

/// A change, or one that would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An endpoint gets no calls for a while.
    Ejected {
        /// The endpoint.
        key: Key,
        /// The endpoint, for people.
        endpoint: Arc<str>,
        /// Why.
        method: Method,
    },
    /// An outlier stays.
    Unenforced {
        /// The endpoint.
        key: Key,
        /// The endpoint, for people.
        endpoint: Arc<str>,
        /// Why it is an outlier.
        method: Method,
        /// Why it stays.
        reason: Unenforced,
    },
    /// An endpoint gets calls again.
    Unejected {
        /// The endpoint.
        key: Key,
        /// The endpoint, for people.
        endpoint: Arc<str>,
    },
}

impl Change {
    /// Tells the observers.
    pub fn tell(&self, observers: &Observers) {
        observers.event(&match self {
            Self::Ejected { endpoint, method, .. } => {
                Event::Ejected { endpoint, method: method.as_str(), unenforced: None }
            }
            Self::Unenforced { endpoint, method, reason, .. } => {
                Event::Ejected { endpoint, method: method.as_str(), unenforced: Some(reason.as_str()) }
            }
            Self::Unejected { endpoint, .. } => Event::Unejected { endpoint },
        });
    }
}
