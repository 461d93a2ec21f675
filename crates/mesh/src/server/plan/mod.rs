//! What is known of each method before its first call: one plan, made when the server starts or when contracts change.

mod build;
mod current;
pub(in crate::server) mod exempt;
mod limit;
mod method;
pub(in crate::server) mod methods;
mod parse;
mod plans;
mod settings;
#[cfg(test)]
mod tests;

pub(in crate::server) use self::build::{AddedContracts, PlanInputs};
pub(in crate::server) use self::current::{CallPlan, CurrentPlans, LaterPlans};
pub use self::exempt::{is_health_check, is_reflection};
pub(in crate::server) use self::limit::{MethodCalls, MethodCounts, MethodPlace};
pub(in crate::server) use self::method::{Exemption, MethodPlan, PlannedAccess};
pub use self::methods::StreamingMethods;
pub(in crate::server) use self::methods::Streams;
pub use self::parse::InvalidMethodSettings;
pub(in crate::server) use self::plans::Plans;
pub use self::settings::{MethodSetting, MethodSettings};
