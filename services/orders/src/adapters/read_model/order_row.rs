//! An order's row, whatever the driver.

use meshwork_api::OrderName;
use meshwork_eventstore::Commit;

use crate::adapters::event_store::recorded;
use crate::domain::{Order, OrderEvent, State, evolve};
use crate::ports::StoreError;

/// The words of waiting orders in the view, as their indexes have them.
const _: () = assert!(matches!(State::Pending.as_str().as_bytes(), b"PENDING"));
const _: () = assert!(matches!(State::Confirmed.as_str().as_bytes(), b"CONFIRMED"));

/// The order that a row holds.
pub(super) fn parse(body: &str) -> Result<Order, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged(format!("an order of the view: {error}")))
}

/// The order after a commit; `None` where a request has claimed the name and there is no order. The error says why the commit
/// can't be followed.
pub(super) fn follow(mut order: Option<Order>, name: &OrderName, commit: &Commit) -> Result<Option<Order>, StoreError> {
    let recorded = recorded(commit)?;
    if order.is_none()
        && let [claim] = recorded.as_slice()
        && claim.event == OrderEvent::RequestClaimed
    {
        return Ok(None);
    }
    for recorded in recorded {
        let seen = order.as_ref().map_or(0, |order| order.version);
        if recorded.version == seen + 1 {
            order = evolve(order, name, &recorded.event, recorded.at);
        } else if recorded.version > seen {
            return Err(StoreError::Damaged(format!("{name} goes from version {seen} to {}", recorded.version)));
        }
    }
    order.map(Some).ok_or_else(|| StoreError::Damaged(format!("{name} doesn't begin with its creation")))
}

/// A list goes on behind the order of this time, in microseconds since 1970, and id.
pub(super) fn cursor(created_at: i64, id: &str) -> String {
    format!("{created_at}/{id}")
}

/// Where a cursor points: the time and the id.
pub(super) fn parse_cursor(cursor: &str) -> Option<(i64, String)> {
    let (at, id) = cursor.split_once('/')?;
    let order = OrderName::new(id).ok()?;
    Some((at.parse().ok()?, order.id().to_owned()))
}
