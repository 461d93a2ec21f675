//! What callers are told when something is refused.

use meshwork_aip::Violations;
use meshwork_aip::errors::{ETAG_MISMATCH, INVALID_FIELDS, REQUEST_ID_REUSED};
use meshwork_chassis::cache::CACHE_DISABLED;
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
    &errors::INTERNAL,
    &STREAM_NOT_FOUND,
    &DEAD_LETTER_NOT_FOUND,
    &CACHE_DISABLED,
];

/// The status for what a use case has refused or failed at.
pub fn status(error: StoreError) -> Status {
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
        StoreError::Unavailable(_) => {
            tracing::warn!(%error, "a call could not be carried out");
            errors::DEPENDENCY_UNAVAILABLE.status(DOMAIN, "the store can't be reached at this moment; try again", &[])
        }
        StoreError::OutcomeUnknown(_) | StoreError::Damaged(_) => errors::internal(DOMAIN, &error),
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
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn only_what_may_pass_is_to_be_tried_again() {
        let unavailable = status(StoreError::Unavailable("/data is locked".to_owned()));
        assert_eq!(unavailable.code(), Code::Unavailable);
        let details = unavailable.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "DEPENDENCY_UNAVAILABLE");
        assert!(details.retry_info().unwrap().retry_delay.is_some());
        assert!(!unavailable.message().contains("/data"), "{unavailable}");
        for error in [StoreError::Damaged("/data".to_owned()), StoreError::OutcomeUnknown("/data".to_owned())] {
            let refused = status(error);
            assert_eq!(refused.code(), Code::Internal);
            assert!(refused.get_error_details().retry_info().is_none());
            assert!(!refused.message().contains("/data"), "{refused}");
        }
    }

    #[test]
    fn the_table_is_sound_and_has_the_common_errors() {
        assert_eq!(faults(TABLE), Vec::<String>::new());
        for common in COMMON {
            assert!(TABLE.contains(common), "{} is missing", common.reason);
        }
    }
}
