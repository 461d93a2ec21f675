//! Placing an order.

use meshwork_api::{OrderName, ProductName, UserName};
use meshwork_chassis::request::RequestKey;
use uuid::Uuid;

use super::command_key::{command_id, command_key};
use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Line, Money, Order, OrderError, agree, decide};
use crate::ports::{Claim, CommandKey};

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
    /// Whether somebody else orders for the customer: then the customer's account is looked for, and the limit of open
    /// orders doesn't count.
    pub for_another: bool,
    /// The total that the caller has seen, if it must be that of this moment.
    pub expected_total: Option<Money>,
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

/// What a caller is told.
type Answer = Result<Reply<Order>, AppError>;

impl App {
    /// Places an order, or finds that the same request has placed it.
    ///
    /// Where the order's name comes from the request, the order's stream is the request's claim: a body that comes again,
    /// or another one, meets it. A request whose caller has chosen the order's id claims its own in that same stream, so that
    /// of several bodies that come at the same moment one stands. Earlier releases have let two be placed, and claimed ids in
    /// streams of their own: each of the two is answered with its own order, and any other body is refused.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn create_order(&self, command: CreateOrder) -> Answer {
        let name = order_name(&command);
        let request = command.request.as_ref();
        let key = command_key(command_id("create", request), request);
        // What is known without prices is looked for while the catalogue is asked, and is enough where it is an answer.
        let prices = async { Ok::<_, Box<Answer>>(self.priced(&command).await) };
        let known = async {
            let known = self.known(&command, &name, &key).await.transpose();
            known.map_or(Ok(()), |answer| Err(Box::new(answer)))
        };
        let priced = match tokio::try_join!(prices, known) {
            Ok((priced, ())) => priced,
            Err(answer) => return *answer,
        };
        let lines = match priced {
            Ok(lines) => lines,
            // A repeated request is answered as it was, whatever has become of prices and of the customer since.
            Err(error) if request.is_some() => return self.answered(&name, &key).await?.ok_or(error),
            Err(error) => return Err(error),
        };
        let create = Command::Create { customer: command.customer.clone(), lines };
        let at = self.clock.now();
        // A request that is refused leaves nothing behind, and may come again with another choice.
        if let Some(named_after) = claimed(request, &name)
            && decide(None, &create).is_ok()
        {
            self.store.claim_placement(&named_after, &key, at).await?;
        }
        fail::fail_point!("orders::append");
        let done = self.store.create(&name, &create, &key, at).await?;
        if !done.replayed {
            self.open_orders.placed(&command.customer);
        }
        Ok(done.into())
    }

    /// What the caller is told without a price being known, as far as the append of the order doesn't tell it; `None` where
    /// nothing stands in the order's way.
    async fn known(
        &self,
        command: &CreateOrder,
        name: &OrderName,
        key: &CommandKey,
    ) -> Result<Option<Reply<Order>>, AppError> {
        match (&command.name, &command.request) {
            (None, None) => Ok(None),
            // The id may have come to an earlier release, which claimed it elsewhere.
            (None, Some(request)) => match self.look_up(request).await {
                Err(AppError::RequestReused) => self.own(name, key).await.map(Some),
                looked_up => looked_up.map(|_| None),
            },
            (Some(_), None) => match self.is_taken(name).await? {
                true => Err(OrderError::Exists.into()),
                false => Ok(None),
            },
            (Some(_), Some(request)) => {
                let placement = self.look_up_placement(request, name, key);
                let known = tokio::try_join!(self.look_up(request), self.is_taken(name), placement);
                let (_, is_taken, ()) = match known {
                    Err(AppError::RequestReused) => return self.own(name, key).await.map(Some),
                    known => known?,
                };
                if !is_taken {
                    return Ok(None);
                }
                // The order that is there may be this request's own.
                let own = self.answered(name, key).await?;
                own.map(Some).ok_or_else(|| OrderError::Exists.into())
            }
        }
    }

    async fn is_taken(&self, name: &OrderName) -> Result<bool, AppError> {
        Ok(self.store.is_taken(name).await?)
    }

    /// Looks whether the id of a request whose caller has chosen the order's name has come with another body: without a choice,
    /// it has made the order that is named after it; with another one, it has claimed that name.
    async fn look_up_placement(
        &self,
        request: &RequestKey,
        name: &OrderName,
        key: &CommandKey,
    ) -> Result<(), AppError> {
        let Some(named_after) = claimed(Some(request), name) else { return Ok(()) };
        match self.store.look_up_placement(&named_after, key).await? {
            Claim::Reused => Err(AppError::RequestReused),
            Claim::Free | Claim::Ours { .. } => Ok(()),
        }
    }

    /// The request's own answer, where its id has come with another body too.
    async fn own(&self, name: &OrderName, key: &CommandKey) -> Answer {
        self.answered(name, key).await?.ok_or(AppError::RequestReused)
    }

    /// The lines at the prices of this moment, for a customer who may order them, at the total that the caller has
    /// seen.
    async fn priced(&self, command: &CreateOrder) -> Result<Vec<Line>, AppError> {
        let (lines, customer) = tokio::join!(self.price(&command.lines), self.look_at_customer(command));
        let lines = lines?;
        customer?;
        if let Some(expected) = &command.expected_total {
            agree(&lines, expected)?;
        }
        Ok(lines)
    }

    /// Looks whether the customer may have the order. Who orders for themselves has a token, which tells that they
    /// exist, or did a moment ago.
    async fn look_at_customer(&self, command: &CreateOrder) -> Result<(), AppError> {
        let customer = &command.customer;
        if command.for_another {
            return match self.customers.exists(customer).await? {
                true => Ok(()),
                false => Err(AppError::UnknownCustomer(customer.clone())),
            };
        }
        let now = self.clock.now();
        let (is_gone, reached) = tokio::join!(
            self.former.has(self.customers.as_ref(), customer, now),
            self.open_orders.reached(self.read_model.as_ref(), customer, now)
        );
        match (is_gone, reached) {
            (true, _) => Err(AppError::FormerCustomer(customer.clone())),
            (false, Some(at_most)) => Err(AppError::TooManyOpen { at_most }),
            (false, None) => Ok(()),
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
}

/// The order's name: the caller's choice; else the request's own, so that a repeated request meets its order; else new.
fn order_name(command: &CreateOrder) -> OrderName {
    match (&command.name, &command.request) {
        (Some(name), _) => name.clone(),
        (None, Some(request)) => order_name_of(request),
        (None, None) => OrderName::from_uuid(Uuid::new_v4()),
    }
}

/// The name that a request claims which makes the order `name`; none where that is its own.
fn claimed(request: Option<&RequestKey>, name: &OrderName) -> Option<OrderName> {
    request.map(order_name_of).filter(|named_after| named_after != name)
}

/// The name of the order that a request makes whose caller has chosen none.
fn order_name_of(request: &RequestKey) -> OrderName {
    let key = format!("{}/{}", request.principal, request.id);
    OrderName::from_uuid(Uuid::new_v5(&ORDER_IDS, key.as_bytes()))
}
