//! The budgets as their users have them.

use std::net::Ipv4Addr;

use super::{Account, Budgets, CallerLimits, Limits, Resource};
use crate::server::peer::Network;

mod callers;
mod model;
mod threads;

fn budgets(limits: CallerLimits) -> Budgets {
    Budgets::new(Limits::default().with(Resource::Streams, limits))
}

fn address(budgets: &Budgets, last: u8) -> Account {
    budgets.account_of_address(Network::of(Ipv4Addr::new(127, 0, 0, last).into()))
}
