//! Between the domain and the contracts.

use meshwork_aip::{etag, filter};
use meshwork_api::meshwork::products::v1 as pb;
use meshwork_api::{ReservationName, StockName};
use meshwork_chassis::clock::timestamp;
use meshwork_chassis::money::money;

use crate::domain::{Product, Reservation, State, Stock, UnknownState};

pub(super) fn product(product: &Product) -> pb::Product {
    pb::Product {
        name: product.name.to_string(),
        display_name: product.display_name.clone(),
        description: product.description.clone(),
        price: Some(money(&product.price.currency, product.price.minor)),
        create_time: Some(timestamp(product.created_at)),
        update_time: Some(timestamp(product.updated_at)),
        etag: etag::format(product.version),
    }
}

pub(super) fn stock(stock: &Stock) -> pb::Stock {
    pb::Stock {
        // The id of a product is one of a stock too.
        name: StockName::new(stock.product.id()).map(|name| name.to_string()).unwrap_or_default(),
        available: stock.available,
        held: stock.held,
        allocated: stock.allocated,
        shipped: stock.shipped,
        received: stock.received,
        update_time: Some(timestamp(stock.updated_at)),
    }
}

pub(super) fn reservation(reservation: &Reservation) -> pb::Reservation {
    let line = |line: &crate::domain::Line| pb::reservation::Line {
        product: line.product.to_string(),
        quantity: line.quantity,
    };
    pb::Reservation {
        name: ReservationName::new(reservation.order.id()).map(|name| name.to_string()).unwrap_or_default(),
        order: reservation.order.to_string(),
        state: state(reservation.state).into(),
        lines: reservation.lines.iter().map(line).collect(),
        expire_time: reservation.expires_at.map(timestamp),
        create_time: Some(timestamp(reservation.created_at)),
        update_time: Some(timestamp(reservation.updated_at)),
    }
}

/// The state that a filter names, as `HELD` or as `STATE_HELD`.
///
/// # Errors
/// When there is no such state.
pub(super) fn state_from_word(word: &str) -> Result<State, UnknownState> {
    let by_name = |name: &str| State::ALL.into_iter().find(|known| state(*known).as_str_name() == name);
    filter::enum_value(word, "STATE_", by_name).ok_or(UnknownState)
}

fn state(state: State) -> pb::reservation::State {
    match state {
        State::Held => pb::reservation::State::Held,
        State::Allocated => pb::reservation::State::Allocated,
        State::Shipped => pb::reservation::State::Shipped,
        State::Expired => pb::reservation::State::Expired,
        State::Released => pb::reservation::State::Released,
        State::Rejected => pb::reservation::State::Rejected,
        State::Tombstone => pb::reservation::State::Tombstone,
    }
}
