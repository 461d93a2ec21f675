//! What callers are told when something is refused.

use meshwork_aip::Violations;
use meshwork_aip::errors::{ETAG_MISMATCH, INVALID_FIELDS, REQUEST_ID_REUSED};
use meshwork_chassis::cache::CACHE_DISABLED;
use meshwork_chassis::errors::store::{self, Kind, StoreFailure};
use meshwork_chassis::errors::{self, ErrorKind};
use meshwork_chassis::events::{DEAD_LETTER_NOT_FOUND, STREAM_NOT_FOUND};
use tonic::{Code, Status};

use crate::domain::{MAX_PIECES, Refusal};
use crate::ports::StoreError;

/// The domain of this service's errors.
pub const DOMAIN: &str = "products.meshwork.dev";

/// The id is or was in use.
pub const PRODUCT_ID_TAKEN: ErrorKind = ErrorKind::new(
    "PRODUCT_ID_TAKEN",
    Code::AlreadyExists,
    "The product_id belongs to a product, or belonged to one that was deleted. Choose another, or leave it out.",
);
/// There is no such product.
pub const PRODUCT_NOT_FOUND: ErrorKind =
    ErrorKind::new("PRODUCT_NOT_FOUND", Code::NotFound, "There is no such product, or it was removed from sale.");
/// Orders hold pieces of the product.
pub const STOCK_RESERVED: ErrorKind = ErrorKind::new(
    "STOCK_RESERVED",
    Code::FailedPrecondition,
    "Orders hold pieces of the product. It can be deleted once they are shipped, cancelled or expired.",
);
/// Fewer pieces are available than are to be taken out.
pub const STOCK_TOO_LOW: ErrorKind = ErrorKind::new(
    "STOCK_TOO_LOW",
    Code::FailedPrecondition,
    "Fewer pieces are available than are to be taken out; pieces that orders hold can't be. Take out fewer.",
);
/// More pieces would have been received than a stock can count.
pub const STOCK_OVERFLOW: ErrorKind = ErrorKind::new(
    "STOCK_OVERFLOW",
    Code::FailedPrecondition,
    "A product can't receive more than 1,000,000,000,000,000 pieces in all.",
);

/// All errors of this service.
pub const TABLE: &[&ErrorKind] = &[
    &PRODUCT_ID_TAKEN,
    &PRODUCT_NOT_FOUND,
    &STOCK_RESERVED,
    &STOCK_TOO_LOW,
    &STOCK_OVERFLOW,
    &INVALID_FIELDS,
    &REQUEST_ID_REUSED,
    &ETAG_MISMATCH,
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &errors::DEPENDENCY_UNAVAILABLE,
    &errors::OUTCOME_UNKNOWN,
    &errors::WRITE_UNCONFIRMED,
    &errors::STORE_CONTENDED,
    &errors::STORE_DAMAGED,
    &errors::INTERNAL,
    &STREAM_NOT_FOUND,
    &DEAD_LETTER_NOT_FOUND,
    &CACHE_DISABLED,
];

impl StoreFailure for StoreError {
    fn failure(&self) -> Option<Kind> {
        match self {
            StoreError::Unavailable(_) => Some(Kind::Unavailable),
            StoreError::Conflict(_) => Some(Kind::Conflict),
            StoreError::OutcomeUnknown(_) => Some(Kind::OutcomeUnknown),
            StoreError::Damaged(_) => Some(Kind::Damaged),
            StoreError::Refused(_) | StoreError::RequestReused | StoreError::BadCursor => None,
        }
    }
}

/// The status for what a read has refused or failed at, or a write that isn't known when it comes again.
pub fn status(error: StoreError) -> Status {
    status_of_write(error, false)
}

/// The status for what a write has refused or failed at. `is_repeatable` says that the same request, made again, does nothing
/// twice: it has a request id, or names the version that it changes.
pub fn status_of_write(error: StoreError, is_repeatable: bool) -> Status {
    match error {
        StoreError::Refused(refusal) => refused(&refusal),
        StoreError::RequestReused => {
            REQUEST_ID_REUSED.status(DOMAIN, "the request_id came with another body before", &[])
        }
        StoreError::BadCursor => {
            let mut violations = Violations::new();
            violations.add("page_token", "must be a next_page_token of this list");
            match violations.finish(DOMAIN) {
                Err(status) => status,
                Ok(()) => errors::internal(DOMAIN, &error),
            }
        }
        error => store::status(DOMAIN, &error, is_repeatable, &[]),
    }
}

fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::ProductIdTaken { product } => {
            PRODUCT_ID_TAKEN.status(DOMAIN, refusal, &[("product", &product.to_string())])
        }
        Refusal::ProductNotFound { product } => {
            PRODUCT_NOT_FOUND.status(DOMAIN, refusal, &[("product", &product.to_string())])
        }
        Refusal::ProductChanged { product } => {
            ETAG_MISMATCH.status(DOMAIN, refusal, &[("product", &product.to_string())])
        }
        Refusal::StockReserved { product, pieces } => STOCK_RESERVED.status(
            DOMAIN,
            refusal,
            &[("product", &product.to_string()), ("pieces", &pieces.to_string())],
        ),
        Refusal::StockTooLow { product, available } => STOCK_TOO_LOW.status(
            DOMAIN,
            refusal,
            &[("product", &product.to_string()), ("available", &available.to_string())],
        ),
        Refusal::StockOverflow { product } => STOCK_OVERFLOW.status(
            DOMAIN,
            refusal,
            &[("product", &product.to_string()), ("limit", &MAX_PIECES.to_string())],
        ),
    }
}

#[cfg(test)]
mod tests {
    use meshwork_chassis::errors::{COMMON, faults};

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
            Some(status_of_write(error, is_repeatable))
        };
        assert_eq!(store::faults(answer), Vec::<String>::new());
        assert_eq!(status(StoreError::OutcomeUnknown("lost".to_owned())).code(), Code::Unknown);
    }

    #[test]
    fn the_table_is_sound_and_has_the_common_errors() {
        assert_eq!(faults(TABLE), Vec::<String>::new());
        for common in COMMON {
            assert!(TABLE.contains(common), "{} is missing", common.reason);
        }
    }
}
