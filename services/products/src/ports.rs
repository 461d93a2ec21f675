//! What the use cases need of the world.

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::{OrderName, ProductName};
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;

use crate::domain::{Input, NewProduct, Product, ProductChange, Refusal, Reservation, State, Stock, StockChange};

/// A store has not done what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A rule forbids it. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request id came with another body before. Nothing was changed.
    #[error("the request id came with another body before")]
    RequestReused,
    /// The cursor of a page is none that the store gave.
    #[error("the page begins at no place of this list")]
    BadCursor,
    /// The store can't be reached at this moment. Nothing was changed; another try may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Others were in the way at each of several tries. Nothing was changed; another try may succeed.
    #[error("others were in the way at each of several tries: {0}")]
    Conflict(String),
    /// The store broke off while it kept the change, which may have been kept. Another try is safe where it is known as
    /// the same: by its request id, or by the event's version.
    #[error("whether the change was kept is unknown: {0}")]
    OutcomeUnknown(String),
    /// The store holds something that can't be, or can't carry out what it must. Another try fails as well.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// The answer to a request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the request was answered, the first time.
    pub value: T,
    /// Whether this is a later time.
    pub replayed: bool,
}

/// What a command has done, and where the store's log stands since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What it has done.
    pub value: T,
    /// What a read must have seen to show it; `None` where every read does.
    pub position: Option<WalPosition>,
}

/// Keeps the products. What it changes, it announces: each change and its event are written together. All times are by its
/// own clock.
#[async_trait]
pub trait Catalogue: Send + Sync + 'static {
    /// Adds a product, with no stock.
    ///
    /// # Errors
    /// [`Refusal::ProductIdTaken`] for an id that is or was in use; see [`StoreError`].
    async fn create(&self, product: NewProduct, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError>;

    /// Changes a product, if it has the version `expected`.
    ///
    /// # Errors
    /// As [`Product::changed`]; see [`StoreError`].
    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
    ) -> Result<Product, StoreError>;

    /// Removes a product from sale, if it has the version `expected`; returns it as it is since. Its id stays taken.
    ///
    /// # Errors
    /// As [`Product::deleted`]; see [`StoreError`].
    async fn delete(&self, name: ProductName, expected: Option<i64>) -> Result<Product, StoreError>;

    /// The products of these names, in the names' order.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`] for the first that there isn't, or no longer; see [`StoreError`].
    async fn get(&self, names: &[ProductName], freshness: Freshness) -> Result<Vec<Product>, StoreError>;

    /// Products that are for sale, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list(&self, page: &PageRequest, freshness: Freshness) -> Result<Page<Product>, StoreError>;

    /// What a read must have seen to show every change that was answered before this call; `None` where every read does.
    async fn position(&self) -> Option<WalPosition>;
}

/// Something that has happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderEvent {
    /// The order.
    pub order: OrderName,
    /// The order's version after it: contiguous, from 1.
    pub version: i64,
    /// What the reservation hears; `None` for what doesn't concern it.
    pub input: Option<Input>,
}

/// What has become of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was applied, now.
    Now,
    /// It was applied, and people must know of it.
    Alarm(&'static str),
    /// It was applied before; nothing was changed.
    Before,
    /// Events before it are missing; nothing was changed (NT-5).
    Hole {
        /// The order's version that was applied last; 0 for none.
        last: i64,
    },
    /// An earlier event of the order is parked; nothing was changed.
    Parked,
    /// It can't follow upon what came before; nothing was changed.
    Contradiction(&'static str),
}

/// Which reservations are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    /// Those in this state.
    pub state: Option<State>,
    /// That of this order.
    pub order: Option<OrderName>,
    /// Those with a line of this product.
    pub product: Option<ProductName>,
}

/// Keeps the stocks and the reservations.
///
/// What it changes for an order is one transaction: the note that the event was applied, the pieces, the ledger, the
/// reservation and what it tells the world. All times are by its own clock, which all instances of the service share.
#[async_trait]
pub trait Inventory: Send + Sync + 'static {
    /// A product's stock.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`]; see [`StoreError`].
    async fn stock(&self, product: &ProductName, freshness: Freshness) -> Result<Stock, StoreError>;

    /// Changes a stock.
    ///
    /// # Errors
    /// As [`Stock::changed`]; [`Refusal::ProductNotFound`]; see [`StoreError`].
    async fn change_stock(
        &self,
        product: ProductName,
        change: StockChange,
        request: Option<RequestKey>,
    ) -> Result<Answer<Stock>, StoreError>;

    /// Does what [`transition`](crate::domain::transition) decides about the event, once, however often it comes.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing was changed then.
    async fn apply(&self, event: OrderEvent) -> Result<Applied, StoreError>;

    /// The orders whose held reservations are past their time, longest first; at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn due(&self, limit: usize) -> Result<Vec<OrderName>, StoreError>;

    /// Lets an order's held pieces go if their time is over and nobody else is at the reservation; returns whether it did.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn expire(&self, order: OrderName) -> Result<bool, StoreError>;

    /// Reservations, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn reservations(
        &self,
        filter: &ReservationFilter,
        page: &PageRequest,
        freshness: Freshness,
    ) -> Result<Page<Reservation>, StoreError>;

    /// As [`Catalogue::position`], of stocks and reservations.
    async fn position(&self) -> Option<WalPosition>;
}
