//! Placing an order.

use meshwork_api::{OrderName, ProductName, UserName};
use meshwork_chassis::request::RequestKey;
use uuid::Uuid;

use super::command_key::{command_id, command_key};
use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Line, Order, OrderError, decide};
use crate::ports::CommandKey;

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

/// What a caller is told.
type Answer = Result<Reply<Order>, AppError>;

impl App {
    /// Places an order, or finds that the same request has placed it.
    ///
    /// Where the order's name comes from the request, the order's stream is the request's claim: a body that comes again,
    /// or another one, meets it. A request whose caller has chosen the order's id claims its own in a stream beside it. Each
    /// of the two looks for the other before it writes. Only where one id comes both ways at the same moment, with two
    /// bodies, may both be placed: then each is answered with its own order from then on, and any other body is refused.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn create_order(&self, command: CreateOrder) -> Answer {
        let name = order_name(&command);
        let request = command.request.as_ref();
        let key = command_key(command_id("create", request), request);
        // What is known without prices is looked for while the catalogue is asked, and is enough where it is an answer.
        let prices = async { Ok::<_, Box<Answer>>(self.price(&command.lines).await) };
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
            // A repeated request is answered as it was, whatever has become of prices since.
            Err(error) if request.is_some() => return self.answered(&name, &key).await?.ok_or(error),
            Err(error) => return Err(error),
        };
        let create = Command::Create { customer: command.customer.clone(), lines };
        let at = self.clock.now();
        // A request that is refused leaves nothing behind, and may come again with another choice.
        if let (Some(_), Some(request)) = (&command.name, request)
            && decide(None, &create).is_ok()
        {
            self.claim(request, at).await?;
        }
        fail::fail_point!("orders::append");
        Ok(self.store.create(&name, &create, &key, at).await?.into())
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
            // The id may have come with a chosen order, or to the first release, which claimed the ids of all requests.
            (None, Some(request)) => match self.look_up(request).await {
                Err(AppError::RequestReused) => self.own(name, key).await.map(Some),
                looked_up => looked_up.map(|_| None),
            },
            (Some(_), None) => match self.load(name).await? {
                Some(_) => Err(OrderError::Exists.into()),
                None => Ok(None),
            },
            (Some(_), Some(request)) => {
                // The id may have come without a choice: then it has made the order that is named after it.
                let named_after = order_name_of(request);
                let known = tokio::try_join!(self.look_up(request), self.load(name), self.answered(&named_after, key));
                let (_, order, placed) = match known {
                    Err(AppError::RequestReused) => return self.own(name, key).await.map(Some),
                    known => known?,
                };
                if placed.is_some() || order.is_none() {
                    return Ok(placed);
                }
                // The order that is there may be this request's own.
                let own = self.answered(name, key).await?;
                own.map(Some).ok_or_else(|| OrderError::Exists.into())
            }
        }
    }

    /// The request's own answer, where its id has come with another body too.
    async fn own(&self, name: &OrderName, key: &CommandKey) -> Answer {
        self.answered(name, key).await?.ok_or(AppError::RequestReused)
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

/// The name of the order that a request makes whose caller has chosen none.
fn order_name_of(request: &RequestKey) -> OrderName {
    let key = format!("{}/{}", request.principal, request.id);
    OrderName::from_uuid(Uuid::new_v5(&ORDER_IDS, key.as_bytes()))
}
