//! Which method goes where.

mod choice;
mod matching;
mod settings;
mod table;
#[cfg(test)]
mod table_tests;
mod upstream;

pub use choice::{Percent, Share, Weighted};
pub use matching::{HeaderCondition, HeaderMatch, MirrorRule, Rule};
pub use settings::{Admits, CallerKind, ContractsFrom, InvalidRoutes, RouteSettings, UpstreamSettings};
pub use table::{Method, MethodRoute, Offer, OfferedMethod, OfferedService, PlannedRule, Route, RouteTable};
pub use upstream::{SERVICE, Upstream, UpstreamName};
