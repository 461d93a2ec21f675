//! The plans that hold at the moment.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::method::MethodPlan;
use super::plans::{PlanId, Plans};

/// The plans of a server: those that it was built with, until others take their place.
pub(in crate::server) struct CurrentPlans {
    built: Plans,
    /// `None`: there will be no others.
    later: Option<Arc<LaterPlans>>,
}

/// Plans in the place of those that a server was built with; none as long as these hold.
pub(in crate::server) type LaterPlans = ArcSwapOption<Plans>;

/// The plan of one call, and the plans that it is of: they stay as they were when the call began, whatever takes their place.
pub(in crate::server) struct CallPlan {
    /// `None`: of those that the server was built with.
    later: Option<Arc<Plans>>,
    id: PlanId,
}

impl CurrentPlans {
    /// Plans that nothing takes the place of.
    pub(in crate::server) fn fixed(built: Plans) -> Self {
        Self { built, later: None }
    }

    /// `built`, until there are some in `later`.
    pub(in crate::server) fn changing(built: Plans, later: Arc<LaterPlans>) -> Self {
        Self { built, later: Some(later) }
    }

    /// The plan for a call of the method at `path` that begins now.
    pub(in crate::server) fn find(&self, path: &str) -> CallPlan {
        let later = self.later.as_ref().and_then(|later| later.load_full());
        let id = later.as_deref().unwrap_or(&self.built).find(path);
        CallPlan { later, id }
    }

    /// The plan that [`CurrentPlans::find`] has found.
    pub(in crate::server) fn get<'a>(&'a self, call: &'a CallPlan) -> &'a MethodPlan {
        call.later.as_deref().unwrap_or(&self.built).get(call.id)
    }
}
