//! The table of this service's errors.

use std::time::Duration;

use meshwork_aip::Violations;
use meshwork_aip::errors::{ETAG_MISMATCH, REQUEST_ID_REUSED};
use meshwork_api::{ProductName, ProjectionName};
use meshwork_chassis::errors::store::{self, Kind, StoreFailure};
use meshwork_chassis::errors::{COMMON, DEPENDENCY_UNAVAILABLE, ErrorKind, NOT_ALLOWED, internal};
use meshwork_chassis::events::{DEAD_LETTER_ERRORS, EVENT_SOURCE_ERRORS};
use tonic::{Code, Status};

use super::money::amount;
use crate::app::AppError;
use crate::domain::OrderError;
use crate::ports::{CatalogueError, CustomersError, ProjectionError, StoreError};

/// The domain of this service's errors.
pub const DOMAIN: &str = "orders.meshwork.dev";

/// There is no such order.
pub const ORDER_NOT_FOUND: ErrorKind = ErrorKind::new("ORDER_NOT_FOUND", Code::NotFound, "There is no such order.");
/// The chosen id is in use.
pub const ORDER_ID_TAKEN: ErrorKind =
    ErrorKind::new("ORDER_ID_TAKEN", Code::AlreadyExists, "There is an order with this id. Choose another, or none.");
/// The order's state doesn't allow the command.
pub const ORDER_STATE: ErrorKind = ErrorKind::new(
    "ORDER_STATE",
    Code::FailedPrecondition,
    "The order's state doesn't allow this. ErrorInfo tells the state.",
);
/// The total is another than the caller has seen.
pub const TOTAL_CHANGED: ErrorKind = ErrorKind::new(
    "TOTAL_CHANGED",
    Code::FailedPrecondition,
    "The order's total at the prices of this moment is another than expected_total. ErrorInfo tells the new total and \
     its currency. Nothing was written.",
);
/// The customer has as many open orders as may be.
pub const TOO_MANY_OPEN_ORDERS: ErrorKind = ErrorKind::new(
    "TOO_MANY_OPEN_ORDERS",
    Code::ResourceExhausted,
    "The customer has as many orders that are pending or confirmed as there may be. ErrorInfo tells the limit. Wait \
     until some of them are shipped, or cancel some.",
);
/// The caller's account was deleted.
pub const CUSTOMER_DELETED: ErrorKind = ErrorKind::new(
    "CUSTOMER_DELETED",
    Code::PermissionDenied,
    "The customer's account was deleted. A token that was issued before is good until its end, but places no orders.",
);
/// The pieces are not allocated yet.
pub const STOCK_NOT_ALLOCATED: ErrorKind = ErrorKind::retryable(
    "STOCK_NOT_ALLOCATED",
    Code::FailedPrecondition,
    Duration::from_millis(500),
    "The inventory has not allocated the order's pieces yet. Try again in a moment.",
);

/// There is no such projection.
pub const PROJECTION_NOT_FOUND: ErrorKind =
    ErrorKind::new("PROJECTION_NOT_FOUND", Code::NotFound, "There is no such projection. ListProjections names them.");
/// Another rebuild or rollback is under way.
pub const REBUILD_RUNNING: ErrorKind = ErrorKind::retryable(
    "REBUILD_RUNNING",
    Code::Aborted,
    Duration::from_secs(5),
    "Another rebuild or rollback of the projection is under way. Try again when it is done.",
);
/// The new version differs from the live one.
pub const PROJECTION_DIFFERS: ErrorKind = ErrorKind::new(
    "PROJECTION_DIFFERS",
    Code::FailedPrecondition,
    "Rows of the new version differ from those of the live one, which stays. ErrorInfo names the first of them. Where \
     that is meant, set accept_differences.",
);
/// An event can't be applied.
pub const PROJECTION_POISONED: ErrorKind = ErrorKind::new(
    "PROJECTION_POISONED",
    Code::FailedPrecondition,
    "An event can't be applied to the new version. The live version stays. ErrorInfo names the stream.",
);
/// The event store doesn't hold what a version has applied.
pub const PROJECTION_DIVERGED: ErrorKind = ErrorKind::new(
    "PROJECTION_DIVERGED",
    Code::FailedPrecondition,
    "The event store was put back to an older copy, or is another one: it doesn't hold what a version of the projection \
     has applied. ErrorInfo tells the version. Nothing has changed. Put the right store back, or rebuild the projection with \
     accept_differences.",
);
/// There is no version to go back to.
pub const NOTHING_TO_ROLL_BACK: ErrorKind = ErrorKind::new(
    "NOTHING_TO_ROLL_BACK",
    Code::FailedPrecondition,
    "No version of the projection is kept that was live before.",
);
/// The stream is followed.
pub const STREAM_NOT_PARKED: ErrorKind = ErrorKind::new(
    "STREAM_NOT_PARKED",
    Code::NotFound,
    "The stream is not parked. GetProjection lists those that are.",
);
/// The stream still can't be followed.
pub const STREAM_STILL_PARKED: ErrorKind = ErrorKind::new(
    "STREAM_STILL_PARKED",
    Code::FailedPrecondition,
    "The stream's event still can't be applied; the stream stays parked.",
);
/// The new version is always a little behind the live one.
pub const PROJECTION_BEHIND: ErrorKind = ErrorKind::retryable(
    "PROJECTION_BEHIND",
    Code::Aborted,
    Duration::from_secs(10),
    "What changes the lists did not catch up with them in time. Nothing has changed. Try again when less is written.",
);

/// All errors of this service.
pub const TABLE: &[&[&ErrorKind]] = &[
    COMMON,
    EVENT_SOURCE_ERRORS,
    DEAD_LETTER_ERRORS,
    &[
        &ORDER_NOT_FOUND,
        &ORDER_ID_TAKEN,
        &ORDER_STATE,
        &TOTAL_CHANGED,
        &TOO_MANY_OPEN_ORDERS,
        &CUSTOMER_DELETED,
        &STOCK_NOT_ALLOCATED,
        &PROJECTION_NOT_FOUND,
        &REBUILD_RUNNING,
        &PROJECTION_DIFFERS,
        &PROJECTION_POISONED,
        &PROJECTION_DIVERGED,
        &NOTHING_TO_ROLL_BACK,
        &STREAM_NOT_PARKED,
        &STREAM_STILL_PARKED,
        &PROJECTION_BEHIND,
    ],
];

impl StoreFailure for StoreError {
    fn failure(&self) -> Option<Kind> {
        match self {
            StoreError::Unavailable(_) => Some(Kind::Unavailable),
            StoreError::Conflict(_) => Some(Kind::Conflict),
            StoreError::OutcomeUnknown(_) => Some(Kind::OutcomeUnknown),
            StoreError::Damaged(_) => Some(Kind::Damaged),
            StoreError::Cursor => None,
        }
    }
}

/// The status for a read that was not carried out, about the order `name`, or for a write that isn't known when it comes again.
pub(super) fn status(name: &str, error: &AppError) -> Status {
    status_of_write(name, error, false)
}

/// The status for a write that was not carried out, about the order `name`. `is_repeatable` says that the same request, made
/// again, does nothing twice: it has a request id, or names the version that it changes.
pub(super) fn status_of_write(name: &str, error: &AppError, is_repeatable: bool) -> Status {
    let about = [("order", name)];
    match error {
        AppError::Order(OrderError::Missing) => {
            ORDER_NOT_FOUND.status(DOMAIN, format!("there is no order {name}"), &about)
        }
        AppError::Order(OrderError::Exists) => ORDER_ID_TAKEN.status(DOMAIN, error, &about),
        AppError::Order(OrderError::State { state, .. }) => {
            ORDER_STATE.status(DOMAIN, error, &[("order", name), ("state", state.as_str())])
        }
        AppError::Order(OrderError::NotAllocated) => STOCK_NOT_ALLOCATED.status(DOMAIN, error, &about),
        AppError::Order(OrderError::Currencies { line }) => violation(&format!("order.lines[{line}].product"), error),
        AppError::Order(OrderError::TotalChanged { total }) => {
            let (amount, currency) = (amount(total), total.currency.as_str());
            let message = format!("the order's total is {amount} {currency} by now");
            TOTAL_CHANGED.status(DOMAIN, message, &[("order", name), ("total", &amount), ("currency", currency)])
        }
        AppError::Order(OrderError::Total) => violation("order.lines", error),
        AppError::NotAllowed => {
            NOT_ALLOWED.status(DOMAIN, format!("{name} is another customer's, or there is none"), &about)
        }
        AppError::EtagMismatch => {
            ETAG_MISMATCH.status(DOMAIN, format!("{name} has changed since it was read; read it again"), &about)
        }
        AppError::AheadOfOrder => violation("resume_token", error),
        AppError::NoSuchVersion => violation("version", error),
        AppError::RequestReused => {
            REQUEST_ID_REUSED.status(DOMAIN, "the request_id came with another body before; send a new one", &[])
        }
        AppError::Contended => store::status_of(DOMAIN, Kind::Conflict, error, is_repeatable, &about),
        AppError::Catalogue(CatalogueError::Missing(_)) => violation("order.lines", error),
        AppError::Catalogue(CatalogueError::Unavailable(cause)) => {
            tracing::warn!(cause, "the catalogue doesn't answer");
            DEPENDENCY_UNAVAILABLE.status(DOMAIN, "the products service doesn't answer; try again", &[])
        }
        AppError::UnknownCustomer(_) => violation("order.customer", error),
        AppError::FormerCustomer(customer) => {
            CUSTOMER_DELETED.status(DOMAIN, error, &[("customer", customer.to_string().as_str())])
        }
        AppError::Customers(CustomersError(cause)) => {
            tracing::warn!(cause, "the users service doesn't answer");
            DEPENDENCY_UNAVAILABLE.status(DOMAIN, "the users service doesn't answer; try again", &[])
        }
        AppError::TooManyOpen { at_most } => {
            TOO_MANY_OPEN_ORDERS.status(DOMAIN, error, &[("limit", at_most.to_string().as_str())])
        }
        AppError::Store(StoreError::Cursor) => violation("page_token", &"must be a next_page_token of this list"),
        AppError::Store(error) => store::status(DOMAIN, error, is_repeatable, &about),
    }
}

/// The status for a projection that there is none of.
pub(super) fn unknown_projection() -> Status {
    PROJECTION_NOT_FOUND.status(DOMAIN, "there is no such projection", &[])
}

/// The status for what was not done to the projection `name`.
pub(super) fn projection_status(name: &ProjectionName, error: &ProjectionError) -> Status {
    let name = name.to_string();
    let about = [("projection", name.as_str())];
    match error {
        ProjectionError::Running => REBUILD_RUNNING.status(DOMAIN, error, &about),
        ProjectionError::Differs(report) => {
            let keys: Vec<_> = report.differences.iter().take(5).map(|difference| difference.key.as_str()).collect();
            let (rows, differing, keys) = (report.rows.to_string(), report.differing.to_string(), keys.join(", "));
            let metadata =
                [about[0], ("rows", rows.as_str()), ("differing_rows", differing.as_str()), ("first", keys.as_str())];
            PROJECTION_DIFFERS.status(DOMAIN, format!("{error}, first {keys}"), &metadata)
        }
        ProjectionError::Poisoned { stream, reason } => {
            let metadata = [about[0], ("stream", stream.as_str()), ("reason", reason.as_str())];
            PROJECTION_POISONED.status(DOMAIN, error, &metadata)
        }
        ProjectionError::Diverged { version, .. } => {
            let message = format!("{error}: `meshwork projections rebuild {name} --accept-differences`");
            PROJECTION_DIVERGED.status(DOMAIN, message, &[about[0], ("version", version.to_string().as_str())])
        }
        ProjectionError::NothingToRollBack => NOTHING_TO_ROLL_BACK.status(DOMAIN, error, &about),
        ProjectionError::NotParked => STREAM_NOT_PARKED.status(DOMAIN, error, &about),
        ProjectionError::StillParked(reason) => {
            STREAM_STILL_PARKED.status(DOMAIN, error, &[about[0], ("reason", reason.as_str())])
        }
        ProjectionError::Behind | ProjectionError::Moving(_) => PROJECTION_BEHIND.status(DOMAIN, error, &about),
        // A rebuild or a retry that comes again goes on, or finds that it is done.
        ProjectionError::Store(error) => store::status_of(DOMAIN, error.kind(), error, true, &about),
    }
}

/// The status for a missing product, with the line that names it.
pub(super) fn missing_product(lines: &[ProductName], missing: &ProductName) -> Status {
    let line = lines.iter().position(|product| product == missing).unwrap_or_default();
    violation(&format!("order.lines[{line}].product"), &format_args!("names {missing}, which is not for sale"))
}

/// The status for an order of somebody else's.
pub(super) fn not_for(customer: &impl std::fmt::Display) -> Status {
    NOT_ALLOWED.status(DOMAIN, "only staff may order for somebody else", &[("customer", &customer.to_string())])
}

/// The status for a field that only the use case could find wrong.
fn violation(field: &str, problem: &dyn std::fmt::Display) -> Status {
    let mut violations = Violations::new();
    violations.add(field, problem);
    match violations.finish(DOMAIN) {
        Err(status) => status,
        Ok(()) => internal(DOMAIN, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8_a_store_that_fails_is_answered_by_the_table_of_all_services() {
        let answer = |kind, cause: String, is_repeatable| {
            let error = match kind {
                Kind::Unavailable => StoreError::Unavailable(cause),
                Kind::OutcomeUnknown => StoreError::OutcomeUnknown(cause),
                Kind::Conflict => StoreError::Conflict(cause),
                Kind::Damaged => StoreError::Damaged(cause),
            };
            Some(status_of_write("orders/a", &AppError::Store(error), is_repeatable))
        };
        assert_eq!(store::faults(answer), Vec::<String>::new());
        let contended =
            |kind: Kind, _: String, _: bool| (kind == Kind::Conflict).then(|| status("orders/a", &AppError::Contended));
        assert_eq!(store::faults(contended), Vec::<String>::new());
    }

    #[test]
    fn e8_the_event_store_is_answered_by_the_same_table() {
        use meshwork_eventstore::StoreError as EventStoreError;

        let error = |kind, cause: String| match kind {
            Kind::Unavailable => Some(EventStoreError::Unavailable(cause)),
            Kind::OutcomeUnknown => Some(EventStoreError::OutcomeUnknown(cause)),
            Kind::Damaged => Some(EventStoreError::Damaged { place: "orders/a".to_owned(), problem: cause }),
            // Of streams it is told as a version that isn't there any more, and tried again.
            Kind::Conflict => None,
        };
        let of_an_order = |kind, cause: String, is_repeatable| {
            let error = AppError::Store(error(kind, cause)?.into());
            Some(status_of_write("orders/a", &error, is_repeatable))
        };
        assert_eq!(store::faults(of_an_order), Vec::<String>::new());
        let name = ProjectionName::new("orders").unwrap();
        let of_the_view = |kind, cause: String, is_repeatable: bool| {
            let error = ProjectionError::Store(error(kind, cause)?);
            is_repeatable.then(|| projection_status(&name, &error))
        };
        assert_eq!(store::faults(of_the_view), Vec::<String>::new());
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(meshwork_chassis::errors::faults(&TABLE.concat()), Vec::<String>::new());
    }
}
