//! The life of one order, as its customer and staff lead it.

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::{
    CancelOrderRequest, CreateOrderRequest, DeliverOrderRequest, ListOrderEventsRequest, Order, ShipOrderRequest, order,
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use uuid::Uuid;

use super::calls::{Calls, Client, Outcome, Request};
use super::goods::Goods;
use super::plan::{Plan, Purpose};
use super::session::Session;
use super::story::Story;
use super::tally::{InFlight, Tally};
use crate::failure::Failure;
use crate::history::{Line, Method};

/// For how long an order is followed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after its creation an order is looked at first, and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));
/// How long after its creation an order is cancelled, at most.
const CHANGE_OF_MIND: Duration = Duration::from_millis(1500);

/// What all orders of a run have in common.
pub struct Shop {
    /// What is to be done.
    pub plan: Plan,
    /// Who places orders.
    pub customers: Vec<Arc<Session>>,
    /// Who ships and delivers; somebody, if the plan has orders that are.
    pub staff: Vec<Arc<Session>>,
    /// What is ordered.
    pub goods: Goods,
    /// How.
    pub calls: Calls,
    /// What comes of it.
    pub tally: Tally,
}

impl Shop {
    /// Places an order that is due, and follows it to its end.
    ///
    /// # Errors
    /// When the history can't be written.
    pub async fn order(self: Arc<Self>, index: u32, due: Instant, mut in_flight: InFlight) -> Result<(), Failure> {
        let Some(customer) = one_of(&self.customers, index) else { return Ok(()) };
        let placed = self.create(customer, self.goods.lines(self.plan.is_short(index))).await?;
        in_flight.placed();
        let name = match placed {
            Outcome::Done(name) => name,
            Outcome::Refused => {
                self.tally.failed();
                return Ok(());
            }
            Outcome::Unknown => return Ok(()),
        };
        self.tally.created(due.elapsed());
        let until = Instant::now() + PATIENCE;
        let purpose = self.plan.purpose(index);
        if purpose == Purpose::Cancel {
            sleep(CHANGE_OF_MIND.mul_f64(fastrand::f64())).await;
            self.cancel(customer, &name).await?;
        }
        let story = self.follow(customer, &name, until).await;
        self.tally.followed(&story);
        let keeps = story.allocated && !story.cancelled;
        match one_of(&self.staff, index) {
            Some(staff) if keeps && purpose == Purpose::Ship => self.hand_over(staff, customer, &name, index).await,
            _ => Ok(()),
        }
    }

    async fn create(&self, customer: &Session, lines: Vec<Line>) -> Result<Outcome, Failure> {
        let ordered = lines.iter().map(|line| order::Line {
            product: line.product.clone(),
            quantity: line.quantity.into(),
            ..order::Line::default()
        });
        let id = Uuid::new_v4().to_string();
        let message = CreateOrderRequest {
            order: Some(Order { lines: ordered.collect(), ..Order::default() }),
            request_id: id.clone(),
            ..CreateOrderRequest::default()
        };
        let (method, customer_name) = (Method::CreateOrder, customer.user().to_owned());
        let request = Request { method, id, customer: customer_name, order: None, lines };
        let send = |mut client: Client| {
            let message = customer.with(message.clone());
            async move { client.create_order(message).await }
        };
        self.calls.make(&request, send).await
    }

    async fn cancel(&self, customer: &Session, name: &str) -> Result<(), Failure> {
        let request = Request::about(Method::CancelOrder, customer.user(), name);
        let message = CancelOrderRequest {
            name: name.to_owned(),
            reason: "changed my mind".to_owned(),
            request_id: request.id.clone(),
            ..CancelOrderRequest::default()
        };
        let send = |mut client: Client| {
            let message = customer.with(message.clone());
            async move { client.cancel_order(message).await }
        };
        self.calls.make(&request, send).await.map(drop)
    }

    /// Ships an order, and delivers it.
    async fn hand_over(&self, staff: &Session, customer: &Session, name: &str, index: u32) -> Result<(), Failure> {
        let request = Request::about(Method::ShipOrder, customer.user(), name);
        let message = ShipOrderRequest {
            name: name.to_owned(),
            tracking_number: format!("LOAD-{index}"),
            request_id: request.id.clone(),
            ..ShipOrderRequest::default()
        };
        let send = |mut client: Client| {
            let message = staff.with(message.clone());
            async move { client.ship_order(message).await }
        };
        let Outcome::Done(_) = self.calls.make(&request, send).await? else { return Ok(()) };
        self.tally.shipped();
        let request = Request::about(Method::DeliverOrder, customer.user(), name);
        let (id, name) = (request.id.clone(), name.to_owned());
        let message = DeliverOrderRequest { name, request_id: id, ..DeliverOrderRequest::default() };
        let send = |mut client: Client| {
            let message = staff.with(message.clone());
            async move { client.deliver_order(message).await }
        };
        if let Outcome::Done(_) = self.calls.make(&request, send).await? {
            self.tally.delivered();
        }
        Ok(())
    }

    /// Looks at an order's events until it is settled, or the time is over.
    async fn follow(&self, customer: &Session, name: &str, until: Instant) -> Story {
        let between = self.plan.time_between_asks();
        let (mut pause, longest) = PAUSES;
        let mut story = Story::default();
        loop {
            sleep(pause).await;
            customer.turn(between).await;
            let message = ListOrderEventsRequest { parent: name.to_owned(), ..ListOrderEventsRequest::default() };
            match self.calls.client().list_order_events(customer.with(message)).await {
                Ok(events) => story = Story::of(&events.get_ref().order_events),
                Err(status) if status.code() == Code::ResourceExhausted => pause = longest,
                // It is asked again, as after any other answer.
                Err(_) => {}
            }
            if story.is_settled() || Instant::now() >= until {
                return story;
            }
            pause = (pause * 3 / 2).min(longest);
        }
    }
}

/// By turns.
fn one_of(sessions: &[Arc<Session>], index: u32) -> Option<&Session> {
    let at = usize::try_from(index).unwrap_or_default().checked_rem(sessions.len())?;
    sessions.get(at).map(AsRef::as_ref)
}
