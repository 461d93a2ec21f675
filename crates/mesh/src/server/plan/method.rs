//! The plan of one method: all that a call of it is held to.

use std::borrow::Cow;
use std::time::Duration;

use smallvec::SmallVec;

use super::exempt;
use super::limit::MethodCalls;
use super::methods::Streams;
use crate::server::auth::{Access, Principal};
use crate::server::budget::Resource;
use crate::server::rate::RateLimits;
use crate::server::router::Route;

/// What a call of a method is held to. It stands for one method, or for those of a service, or of all others, that
/// nothing is known of.
pub(in crate::server) struct MethodPlan {
    /// Whether it stands for one method, which is named somewhere else than by callers.
    pub named: bool,
    /// What it streams; `None` when the descriptors don't know the method.
    pub streams: Option<Streams>,
    pub exemption: Exemption,
    pub access: PlannedAccess,
    /// The least of what the server and the method's setting allow; the client may allow less.
    pub timeout: Option<Duration>,
    pub first_message: Duration,
    /// The most bytes of a message of the request.
    pub max_message: usize,
    pub by_address: PlannedRules,
    pub by_principal: PlannedRules,
    /// What a call takes of its caller's budget; `None` for checks of health.
    pub resource: Option<Resource>,
    /// The limit of calls of this method in flight.
    pub calls: Option<MethodCalls>,
    /// What answers; `None`: UNIMPLEMENTED.
    pub route: Option<Route>,
}

impl MethodPlan {
    /// Whether `principal` may call the method at `path`; `None` is an anonymous caller.
    pub(in crate::server) fn admits(&self, path: &str, principal: Option<&Principal>) -> bool {
        match &self.access {
            PlannedAccess::Open => true,
            PlannedAccess::Admits(access) => access.admits(principal),
            PlannedAccess::Closed | PlannedAccess::Absent => false,
            PlannedAccess::AskFallback => !self.route.as_ref().is_some_and(|route| route.has(path)),
        }
    }

    /// Whom the table admits to the method, if it names it.
    pub(in crate::server) fn admitted(&self) -> Option<&Access> {
        match &self.access {
            PlannedAccess::Admits(access) => Some(access),
            PlannedAccess::Open | PlannedAccess::Closed | PlannedAccess::Absent | PlannedAccess::AskFallback => None,
        }
    }
}

/// What a method passes by for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Exemption {
    None,
    /// `Check` and all else of health but `Watch`: passes by identity, limits and budgets.
    HealthCheck,
    /// Passes by identity and limits, and takes of the budget of watches.
    HealthWatch,
    /// Passes by identity, and takes of the budget of watches.
    Reflection,
}

impl Exemption {
    pub(in crate::server) fn of(path: &str) -> Self {
        if exempt::is_health_watch(path) {
            Self::HealthWatch
        } else if exempt::is_health_check(path) {
            Self::HealthCheck
        } else if exempt::is_reflection(path) {
            Self::Reflection
        } else {
            Self::None
        }
    }

    /// What a call of a method that streams so takes of its caller's budget, if it takes anything.
    pub(in crate::server) fn resource(self, streams: Option<Streams>) -> Option<Resource> {
        match self {
            Self::HealthCheck => None,
            Self::HealthWatch | Self::Reflection => Some(Resource::Watches),
            Self::None if streams.is_some_and(Streams::any) => Some(Resource::Streams),
            Self::None => Some(Resource::Calls),
        }
    }
}

/// Who may call a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum PlannedAccess {
    /// Everybody: there is no table, or the method is exempt from it.
    Open,
    /// Whom the table says.
    Admits(Access),
    /// Nobody: something answers the method, and the table doesn't name it.
    Closed,
    /// Nobody, since no service has it, or its service doesn't by its descriptors: UNIMPLEMENTED, and nobody is asked. The
    /// service might have more methods than the descriptors that were given, and a user's layer might answer by itself.
    Absent,
    /// Nobody if the fallback has the path, and everybody otherwise: the fallback refuses it then.
    AskFallback,
}

/// Which rules of a rate limit count a method, by their places.
pub(in crate::server) enum PlannedRules {
    Planned(SmallVec<[usize; 2]>),
    /// The plan stands for methods that rules may tell apart.
    ByPath(RateLimits),
}

impl PlannedRules {
    /// Those that count the method at `path`, which is one of the plan's.
    pub(in crate::server) fn of(&self, path: &str) -> Cow<'_, SmallVec<[usize; 2]>> {
        match self {
            Self::Planned(rules) => Cow::Borrowed(rules),
            Self::ByPath(limits) => Cow::Owned(limits.rules_for(path)),
        }
    }
}
