//! What callers are refused.

use meshwork_api::ProductName;

/// A rule forbids what the caller asks for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id belongs to a product, or belonged to one that was deleted.
    #[error("{product} exists or has existed")]
    ProductIdTaken {
        /// The product.
        product: ProductName,
    },
    /// There is no such product, or no longer.
    #[error("there is no {product}")]
    ProductNotFound {
        /// The product.
        product: ProductName,
    },
    /// The product has changed since the caller read it.
    #[error("{product} has changed since it was read")]
    ProductChanged {
        /// The product.
        product: ProductName,
    },
    /// Orders hold pieces of the product.
    #[error("orders hold {pieces} pieces of {product}")]
    StockReserved {
        /// The product.
        product: ProductName,
        /// How many pieces are held or allocated.
        pieces: i64,
    },
    /// Fewer pieces are available than are to be taken out.
    #[error("only {available} pieces of {product} are available")]
    StockTooLow {
        /// The product.
        product: ProductName,
        /// How many pieces are available.
        available: i64,
    },
    /// More pieces would have been received than a stock can count.
    #[error("{product} would have received more than {} pieces", super::pieces::MAX_PIECES)]
    StockOverflow {
        /// The product.
        product: ProductName,
    },
}
