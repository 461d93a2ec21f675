//! What the use cases need from the world.

mod projection;

use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::{OrderName, ProductName, UserName};
pub use meshwork_chassis::Clock;
use meshwork_chassis::consistency::Freshness;
use meshwork_chassis::request::RequestKey;
pub use meshwork_eventstore::Position;
use time::OffsetDateTime;

pub use self::projection::{
    Difference, ParkedStream, PartitionStatus, Phase, Projection, ProjectionError, ProjectionProgress,
    ProjectionReport, ProjectionStatus, VersionState, VersionStatus,
};
use crate::domain::{Command, Money, Order, OrderError, OrderEvent, State};

/// An event in an order's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The order's version after it.
    pub version: i64,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// What happened.
    pub event: OrderEvent,
    /// Who made it happen; `None` where no release has kept that.
    pub actor: Option<Actor>,
}

/// Who makes something happen to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A caller of the service: who ordered, or staff.
    Caller(UserName),
    /// The inventory, by what it has decided.
    Inventory,
    /// The service itself, when the inventory was silent or the customer's account was deleted.
    Watchdog,
}

/// What makes a command the same when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandKey {
    /// Its id: for an order, one that comes again changes nothing.
    pub id: String,
    /// The hash of what its sender asked for; [`NO_HASH`](Self::NO_HASH) where the id alone tells it.
    pub hash: [u8; 32],
    /// The request that it comes from, if its sender gave that an id.
    pub request: Option<RequestKey>,
}

impl CommandKey {
    /// The hash of a command whose id alone tells what it is. It stands for every hash: such a command that comes again is the
    /// same one, with whatever hash it is stored.
    ///
    /// The first release has stored all commands so, and takes one that it finds with another hash for damage. While it runs
    /// beside this one, both may carry out the same event of the inventory, or the same question of the watchdog, at the same
    /// moment: with a hash, whoever comes second in that release would park the event. What comes from a request has the
    /// request's hash, since its id may come with another body. So a request that this release has carried out and that is
    /// repeated at an instance of the first one is answered DATA_LOSS there. Nothing is doubled, and an instance of this one
    /// gives the answer.
    pub const NO_HASH: [u8; 32] = [0; 32];

    /// The key of a command that comes from no request, and whose id tells all of it: no other command ever has the same.
    pub fn told_by(id: String) -> Self {
        Self { id, hash: Self::NO_HASH, request: None }
    }
}

/// A command that was carried out, by this call or by an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The order after it.
    pub order: Order,
    /// Where its events stand among all events; `None` when there was nothing left to do.
    pub position: Option<Position>,
    /// Whether an earlier call has carried it out.
    pub replayed: bool,
}

/// A request that found nothing left to do, in this call or in an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The order's version that it found.
    pub version: i64,
    /// Whether it was an earlier call that did.
    pub replayed: bool,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The rules of orders don't allow it.
    #[error(transparent)]
    Refused(OrderError),
    /// The order is not at the version that was asked for.
    #[error("the order is at another version")]
    VersionMismatch,
    /// The command's id came with another payload before.
    #[error("the command's id came with another payload before")]
    Reused,
    /// The order was changed by others at each try.
    #[error("the order was changed by others at each of several tries")]
    Contended,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store has failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached; nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// Others were in the way at each of several tries; nothing was written.
    #[error("{0}")]
    Conflict(String),
    /// It was lost in the middle of a write, which may have been made; the same command can be sent again.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// What it holds can't be understood.
    #[error("{0}")]
    Damaged(String),
    /// The cursor of a page is none that this store gives.
    #[error("the page's cursor is of another form")]
    Cursor,
}

/// What is known of a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has used it.
    Free,
    /// It was claimed by the same request.
    Ours {
        /// The order's version at which the request found nothing left to do, if that is what became of it.
        settled: Option<i64>,
    },
    /// It was claimed by another request.
    Reused,
}

/// Waits for an order to change.
#[async_trait]
pub trait Changes: Send {
    /// Returns when the order may have changed, or after `at_most`.
    async fn next(&mut self, at_most: Duration);
}

/// The orders' histories: the truth.
#[async_trait]
pub trait OrderStore: Send + Sync + 'static {
    /// The events of an order with a version above `after`, in order. An order that doesn't exist has none, but for the claim of
    /// its name.
    ///
    /// # Errors
    /// When the store fails.
    async fn history(&self, order: &OrderName, after: i64) -> Result<Vec<Recorded>, StoreError>;

    /// An order as its history makes it; `None` for one that doesn't exist.
    ///
    /// # Errors
    /// When the store fails.
    async fn load(&self, order: &OrderName) -> Result<Option<Order>, StoreError>;

    /// An order as it was at a version, and where the events stand that brought it there; `None` when it hasn't come to it.
    ///
    /// # Errors
    /// When the store fails.
    async fn order_at(&self, order: &OrderName, version: i64) -> Result<Option<(Order, Position)>, StoreError>;

    /// Carries out a command that makes an order, without looking for one first. A command that has been carried out
    /// already changes nothing, and is answered as it was then; so is one of [`execute`](Self::execute).
    ///
    /// # Errors
    /// See [`ExecuteError`].
    async fn create(
        &self,
        order: &OrderName,
        command: &Command,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<Executed, ExecuteError>;

    /// Carries out a command on an order as it is. With `expected` the order must be at that version, unless the command has
    /// been carried out already.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    async fn execute(
        &self,
        order: &OrderName,
        command: &Command,
        expected: Option<i64>,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<Executed, ExecuteError>;

    /// What a command was answered, if it has been carried out.
    ///
    /// # Errors
    /// [`ExecuteError::Reused`] when its id came with another payload; else when the store fails.
    async fn answered(&self, order: &OrderName, key: &CommandKey) -> Result<Option<Executed>, ExecuteError>;

    /// Whether an order has this name, or none will ever have it since a request has claimed it
    /// ([`claim_placement`](Self::claim_placement)).
    ///
    /// # Errors
    /// When the store fails.
    async fn is_taken(&self, order: &OrderName) -> Result<bool, StoreError>;

    /// What is known of the id of a request that places an order of another name than `order`, which is named after the id. `key`
    /// is that of the placement.
    ///
    /// # Errors
    /// When the store fails.
    async fn look_up_placement(&self, order: &OrderName, key: &CommandKey) -> Result<Claim, StoreError>;

    /// Claims the id of a request that places an order of another name than `order`, which is named after the id: from then on
    /// no order has that name. `key` is that of the placement. A claim that the same request has made stands.
    ///
    /// # Errors
    /// [`ExecuteError::Reused`] when the id has come with another body, such as one that has made the order of that name;
    /// [`OrderError::Exists`] when the name is somebody else's; else when the store fails.
    async fn claim_placement(
        &self,
        order: &OrderName,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<(), ExecuteError>;

    /// What is known of a request's id: of one that changes an order, and of those that place one what earlier releases have
    /// claimed.
    ///
    /// # Errors
    /// When the store fails.
    async fn look_up(&self, request: &RequestKey) -> Result<Claim, StoreError>;

    /// Claims a request's id for its body. Returns [`Claim::Ours`], with nothing settled, or [`Claim::Reused`].
    ///
    /// # Errors
    /// When the store fails.
    async fn claim(&self, request: &RequestKey, at: OffsetDateTime) -> Result<Claim, StoreError>;

    /// Notes that a request, which has claimed its id, found nothing left to do at this version of its order. The first
    /// note stands: the answer tells it.
    ///
    /// # Errors
    /// When the store fails.
    async fn settle(&self, request: &RequestKey, version: i64, at: OffsetDateTime) -> Result<Settled, StoreError>;

    /// Tells of changes of an order from now on; subscribe before reading.
    fn changes(&self, order: &OrderName) -> Box<dyn Changes>;
}

/// Which orders are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this customer.
    pub customer: Option<UserName>,
    /// In this state.
    pub state: Option<State>,
}

/// A page of the orders as the view shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewPage {
    /// The orders.
    pub page: Page<Order>,
    /// Whether the view knows of an order of this list that it can't follow: it may be missing, or shown as it was.
    pub incomplete: bool,
    /// Whether the list may lack what was waited for: the view has not come there in time.
    pub behind: bool,
}

/// What a list must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Everything up to this, of its partition.
    pub position: Position,
    /// How long the list may wait for that.
    pub at_most: Duration,
}

/// An order that waits for the inventory, as the view shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The order's id as the view has it: in a damaged one, perhaps no order's.
    pub id: String,
    /// When it has changed last.
    pub updated_at: OffsetDateTime,
}

/// The orders as lists show them: follows the store with a short delay.
#[async_trait]
pub trait OrderReadModel: Send + Sync + 'static {
    /// A page of orders, newest first, of a server as fresh as `freshness`. It shows what is awaited, or comes as it is and says
    /// so.
    ///
    /// # Errors
    /// [`StoreError::Cursor`] for a cursor of another form; else when the store fails.
    async fn list(
        &self,
        filter: &OrderFilter,
        page: &PageRequest,
        freshness: Freshness,
        awaited: Option<Awaited>,
    ) -> Result<ViewPage, StoreError>;

    /// At most `limit` orders that wait for the inventory and haven't changed since `before`: those that did so least
    /// recently, `after` being the one to go on behind. Orders whose history can't be followed are left out.
    ///
    /// # Errors
    /// When the store fails.
    async fn waiting(
        &self,
        before: OffsetDateTime,
        after: Option<&Waiting>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError>;

    /// How many orders of a customer are open, which is pending or confirmed, up to `at_most`: what is beyond isn't
    /// counted.
    ///
    /// # Errors
    /// When the store fails.
    async fn open_orders(&self, customer: &UserName, at_most: u32) -> Result<u32, StoreError>;
}

/// Whether lists follow the orders' histories.
pub trait ListFollowing: Send + Sync + 'static {
    /// Whether lists stand still in this partition, since its histories aren't those that they have followed: then what lists
    /// show of it is not what is there, however far they have come.
    fn stands_still(&self, partition: u16) -> bool;
}

/// A product as the catalogue has it at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueItem {
    /// The product.
    pub product: ProductName,
    /// What it is called.
    pub display_name: String,
    /// The price of one piece.
    pub price: Money,
}

/// Why the catalogue gives no prices.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A product is not for sale.
    #[error("{0} is not for sale")]
    Missing(ProductName),
    /// The catalogue doesn't answer.
    #[error("the catalogue doesn't answer: {0}")]
    Unavailable(String),
}

/// The products service, as orders sees it.
#[async_trait]
pub trait Catalogue: Send + Sync + 'static {
    /// The products, in the order of their names.
    ///
    /// # Errors
    /// See [`CatalogueError`].
    async fn items(&self, products: &[ProductName]) -> Result<Vec<CatalogueItem>, CatalogueError>;
}

/// Why it isn't known whether a customer exists: the users service doesn't answer.
#[derive(Debug, thiserror::Error)]
#[error("the users service doesn't answer: {0}")]
pub struct CustomersError(pub String);

/// The users service, as orders sees it.
#[async_trait]
pub trait Customers: Send + Sync + 'static {
    /// Whether there is an account of this name, and it isn't deleted.
    ///
    /// # Errors
    /// When the users service doesn't answer.
    async fn exists(&self, customer: &UserName) -> Result<bool, CustomersError>;

    /// Whether the account of this name is deleted, as it was about a second ago. One that there is none of isn't: nobody may
    /// have heard of it yet.
    ///
    /// # Errors
    /// As [`Customers::exists`].
    async fn is_deleted(&self, customer: &UserName) -> Result<bool, CustomersError>;
}
