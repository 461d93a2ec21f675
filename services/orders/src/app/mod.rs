//! The use cases: a file per command and per query.

pub mod commands;
pub mod queries;

use std::sync::Arc;

use meshwork_api::UserName;

use self::commands::{FormerCustomers, OpenOrders};
use crate::domain::{Order, OrderError};
use crate::ports::{
    Catalogue, CatalogueError, Clock, Customers, CustomersError, ExecuteError, Executed, ListFollowing, OrderReadModel,
    OrderStore, Position, StoreError,
};

/// The use cases with what they need.
#[derive(Clone)]
pub struct App {
    /// The orders' histories.
    pub store: Arc<dyn OrderStore>,
    /// The orders as lists show them.
    pub read_model: Arc<dyn OrderReadModel>,
    /// Whether lists follow the histories.
    pub following: Arc<dyn ListFollowing>,
    /// The products service.
    pub catalogue: Arc<dyn Catalogue>,
    /// The users service.
    pub customers: Arc<dyn Customers>,
    /// How many open orders customers have.
    pub open_orders: Arc<OpenOrders>,
    /// Which customers are gone.
    pub former: Arc<FormerCustomers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The rules of orders don't allow it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The caller may not do it, or may not know whether it could be done.
    #[error("the order is another customer's, or there is none")]
    NotAllowed,
    /// The caller's version of the order is not the current one.
    #[error("the order is at another version")]
    EtagMismatch,
    /// The order has fewer events than the caller claims to know.
    #[error("is ahead of the order")]
    AheadOfOrder,
    /// The order hasn't come to the version as of which it is asked for.
    #[error("is ahead of the order")]
    NoSuchVersion,
    /// The request id came with another body before.
    #[error("the request_id came with another body before")]
    RequestReused,
    /// The order was changed by others at each try.
    #[error("the order was changed by others at each of several tries")]
    Contended,
    /// The catalogue gives no prices.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Somebody orders for a customer who has no account.
    #[error("names {0}, who has no account")]
    UnknownCustomer(UserName),
    /// Somebody orders whose account is deleted: their token is good until its end.
    #[error("the account of {0} was deleted, and orders nothing more")]
    FormerCustomer(UserName),
    /// Whether the customer exists isn't known.
    #[error(transparent)]
    Customers(#[from] CustomersError),
    /// The customer has as many open orders as may be.
    #[error("the customer has {at_most} open orders, which is as many as there may be")]
    TooManyOpen {
        /// How many there may be.
        at_most: u32,
    },
    /// A store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ExecuteError> for AppError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Refused(refused) => AppError::Order(refused),
            ExecuteError::VersionMismatch => AppError::EtagMismatch,
            ExecuteError::Reused => AppError::RequestReused,
            ExecuteError::Contended => AppError::Contended,
            ExecuteError::Store(error) => AppError::Store(error),
        }
    }
}

/// What a command gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T> {
    /// The answer.
    pub answer: T,
    /// Where the events stand that made the answer what it is: who has read so far knows of it.
    pub position: Option<Position>,
    /// Whether the answer was given before, to the same request.
    pub replayed: bool,
}

impl From<Executed> for Reply<Order> {
    fn from(Executed { order, position, replayed }: Executed) -> Self {
        Self { answer: order, position, replayed }
    }
}
