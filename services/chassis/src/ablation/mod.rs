//! Bugs that tests plant in a running system, to show that its audit finds them. A release has none of this.

mod bus;
mod names;

use std::sync::Arc;

use meshwork_events::Bus;

pub use names::{
    ADVERSITIES, AT_THE_EDGES, IN_ORDERS, IN_PRODUCTS, IN_THE_BUS, VARIABLE, is_planted, planted, unknown,
};

/// The bus with what is planted in it.
pub(crate) fn planted_bus(bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
    let is_any = IN_THE_BUS.into_iter().chain(["loses_allocations"]).any(is_planted);
    if is_any { Arc::new(bus::Planted(bus)) } else { bus }
}
