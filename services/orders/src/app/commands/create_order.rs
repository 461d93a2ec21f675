//! Placing an order.

use meshwork_api::{OrderName, ProductName, UserName};
use meshwork_chassis::request::RequestKey;
use uuid::Uuid;

use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Line, Order, OrderError, decide, fold};
use crate::ports::{Append, AppendError, Appended, Claim};

/// The ids of orders that were made from request ids are in this space (UUIDv5).
const ORDER_IDS: Uuid = Uuid::from_u128(0x8f1d_3c52_6a07_4b9e_9c64_21f0_5be7_d310);

/// An order to place. The caller has been authorised to order for `customer`.
#[derive(Clone, Debug)]
pub struct CreateOrder {
    /// Its name, if the caller has chosen it.
    pub name: Option<OrderName>,
    /// Who orders.
    pub customer: UserName,
    /// What.
    pub lines: Vec<NewLine>,
    /// What makes the request repeatable.
    pub request: Option<RequestKey>,
}

/// One product to order.
#[derive(Clone, Debug)]
pub struct NewLine {
    /// The product.
    pub product: ProductName,
    /// How many pieces.
    pub quantity: i64,
}

impl App {
    /// Places an order, or finds that the same request has placed it.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn create_order(&self, command: CreateOrder) -> Result<Reply<Order>, AppError> {
        let name = order_name(&command);
        let command_id = command_id("create", command.request.as_ref());
        // A repeated request is answered as it was, whatever has become of prices and of the order since.
        if let Some(request) = &command.request
            && let Some(version) = self.find_answer(request, &name, &command_id).await?
        {
            return self.reply_at(&name, version, true).await;
        }
        // Known before the request's id is claimed, which then may come again with another choice.
        if command.name.is_some() && self.load(&name).await?.is_some() {
            // Unless the order was placed a moment ago, by the same request.
            return match self.store.find(&name, &command_id).await? {
                Some(version) => self.reply_at(&name, version, true).await,
                None => Err(OrderError::Exists.into()),
            };
        }
        let create = Command::Create { lines: self.price(&command.lines).await?, customer: command.customer };
        let events = decide(None, &create)?;
        let at = self.clock.now();
        self.claim(command.request.as_ref(), at).await?;
        let order = fold(&name, events.iter().map(|event| (event, at))).ok_or(OrderError::Missing)?;
        fail::fail_point!("orders::append");
        match self.store.append(Append { order: name.clone(), before: None, command_id, events, at }).await {
            Ok(Appended { replayed: false, position, .. }) => {
                Ok(Reply { answer: order, position: Some(position), replayed: false })
            }
            // The same request was under way twice, and the other call was faster.
            Ok(Appended { version, replayed: true, .. }) => self.reply_at(&name, version, true).await,
            Err(AppendError::Conflict) => Err(OrderError::Exists.into()),
            Err(AppendError::Store(error)) => Err(error.into()),
        }
    }

    /// The lines at the prices of this moment.
    async fn price(&self, lines: &[NewLine]) -> Result<Vec<Line>, AppError> {
        let products: Vec<_> = lines.iter().map(|line| line.product.clone()).collect();
        let items = self.catalogue.items(&products).await?;
        Ok(lines
            .iter()
            .zip(items)
            .map(|(line, item)| Line {
                product: item.product,
                quantity: line.quantity,
                display_name: item.display_name,
                unit_price: item.price,
            })
            .collect())
    }

    /// The order's version with which an earlier call of this request was answered.
    pub(super) async fn find_answer(
        &self,
        request: &RequestKey,
        order: &OrderName,
        command_id: &str,
    ) -> Result<Option<i64>, AppError> {
        match self.store.look_up(request).await? {
            Claim::Free => Ok(None),
            Claim::Reused => Err(AppError::RequestReused),
            Claim::Ours { settled: Some(version) } => Ok(Some(version)),
            // The claim stands, but its effect may have been lost to a crash in between: then it is made now.
            Claim::Ours { settled: None } => Ok(self.store.find(order, command_id).await?),
        }
    }

    /// Claims the request's id, so that it can't come with another body, whichever order that would be about.
    pub(super) async fn claim(&self, request: Option<&RequestKey>, at: time::OffsetDateTime) -> Result<(), AppError> {
        match request {
            Some(request) if self.store.claim(request, at).await? == Claim::Reused => Err(AppError::RequestReused),
            _ => Ok(()),
        }
    }

    /// The answer to a command that has left the order at a version.
    pub(super) async fn reply_at(
        &self,
        name: &OrderName,
        version: i64,
        replayed: bool,
    ) -> Result<Reply<Order>, AppError> {
        let answer = self.order_at(name, version).await?;
        Ok(Reply { answer, position: self.store.position(name, version).await?, replayed })
    }

    /// The order as it was at a version.
    pub(in crate::app) async fn order_at(&self, name: &OrderName, version: i64) -> Result<Order, AppError> {
        let history = self.store.history(name, 0).await?;
        let history = history.iter().filter(|recorded| recorded.version <= version);
        Ok(fold(name, history.map(|recorded| (&recorded.event, recorded.at))).ok_or(OrderError::Missing)?)
    }
}

/// The order's name: the caller's choice; else the request's own, so that a repeated request meets its order; else new.
fn order_name(command: &CreateOrder) -> OrderName {
    if let Some(name) = &command.name {
        return name.clone();
    }
    let id = match &command.request {
        Some(request) => Uuid::new_v5(&ORDER_IDS, format!("{}/{}", request.principal, request.id).as_bytes()),
        None => Uuid::new_v4(),
    };
    OrderName::from_uuid(id)
}

/// The id under which a command is stored: the request's, else a new one.
pub(super) fn command_id(verb: &str, request: Option<&RequestKey>) -> String {
    match request {
        Some(request) => format!("{verb}/{}/{}", request.principal, request.id),
        None => format!("{verb}/{}", Uuid::new_v4()),
    }
}
