//! A shop in a running `up`: one product, one customer, and orders of it.

use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::orders::v1::order_event::Event;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, GetOrderRequest, ListOrderEventsRequest, Order, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, with};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// How long the last orders of a run may take to be settled.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many customers place orders at once.
const BUYERS: usize = 32;

/// A run of orders.
pub(crate) struct Run {
    /// Orders a second, from the first one's creation to the last one's confirmation.
    pub(crate) per_second: f64,
    /// Microseconds from the call of CreateOrder to its answer.
    pub(crate) create: Histogram<u64>,
    /// Microseconds from created to confirmed, by the times of the order's events.
    pub(crate) confirm: Histogram<u64>,
    /// How many orders were refused, or not confirmed within [`PATIENCE`].
    pub(crate) unconfirmed: usize,
}

/// The shop.
pub(crate) struct Shop {
    channel: Channel,
    customer: Token,
    product: String,
}

impl Shop {
    pub(crate) async fn open(up: &Up) -> Self {
        let staff = up.staff().await;
        let channel = up.channel();
        let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 0 };
        let product = Product { display_name: "Mug".to_owned(), price: Some(price), ..Product::default() };
        let request = CreateProductRequest { product: Some(product), ..CreateProductRequest::default() };
        let product = ProductServiceClient::new(channel.clone()).create_product(with(&staff, request)).await.unwrap();
        let product = product.into_inner().name;
        let request = ReceiveStockRequest {
            name: format!("{product}/stock"),
            quantity: 1_000_000,
            ..ReceiveStockRequest::default()
        };
        InventoryServiceClient::new(channel.clone()).receive_stock(with(&staff, request)).await.unwrap();
        let (_, customer) = up.customer("bench").await;
        Self { channel, customer, product }
    }

    /// Places orders, as many a second as [`BUYERS`] can, and waits until all are settled.
    pub(crate) async fn run(&self, orders: usize) -> Run {
        let mut create = Histogram::new(3).unwrap();
        let mut calls = JoinSet::new();
        let mut answers = Vec::with_capacity(orders);
        for _ in 0..orders {
            if calls.len() >= BUYERS {
                answers.push(calls.join_next().await.unwrap().unwrap());
            }
            calls.spawn(place(self.channel.clone(), self.customer.clone(), self.product.clone()));
        }
        answers.extend(calls.join_all().await);
        let settled = Instant::now() + PATIENCE;
        for (name, micros) in answers.iter().flatten() {
            create.record(*micros).unwrap();
            while self.get(name).await.state() == order::State::Pending && Instant::now() < settled {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut confirm = Histogram::new(3).unwrap();
        let (mut first, mut last) = (SystemTime::now(), SystemTime::UNIX_EPOCH);
        for (name, _) in answers.iter().flatten() {
            let Some((created, confirmed)) = self.created_and_confirmed(name).await else { continue };
            let micros = confirmed.duration_since(created).unwrap_or_default().as_micros();
            confirm.record(u64::try_from(micros).unwrap()).unwrap();
            (first, last) = (first.min(created), last.max(confirmed));
        }
        let confirmed = usize::try_from(confirm.len()).unwrap();
        let seconds = last.duration_since(first).unwrap_or_default().as_secs_f64().max(f64::MIN_POSITIVE);
        let per_second = (confirm.len() as f64 / seconds).round();
        Run { per_second, create, confirm, unconfirmed: orders - confirmed }
    }

    async fn get(&self, name: &str) -> Order {
        let request = with(&self.customer, GetOrderRequest { name: name.to_owned(), ..Default::default() });
        OrderServiceClient::new(self.channel.clone()).get_order(request).await.unwrap().into_inner()
    }

    /// When the order was created and when it was confirmed, as it recorded them; nothing if it isn't confirmed.
    async fn created_and_confirmed(&self, name: &str) -> Option<(SystemTime, SystemTime)> {
        let request = ListOrderEventsRequest { parent: name.to_owned(), ..ListOrderEventsRequest::default() };
        let mut client = OrderServiceClient::new(self.channel.clone());
        let events = client.list_order_events(with(&self.customer, request)).await.unwrap().into_inner().order_events;
        let at = |wanted: fn(&Event) -> bool| {
            let event = events.iter().find(|event| event.event.as_ref().is_some_and(wanted))?;
            SystemTime::try_from(event.create_time.unwrap()).ok()
        };
        Some((
            at(|event| matches!(event, Event::OrderCreated(_)))?,
            at(|event| matches!(event, Event::OrderConfirmed(_)))?,
        ))
    }
}

/// Places an order; returns its name and how many microseconds the call took, or nothing if it was refused.
async fn place(channel: Channel, customer: Token, product: String) -> Option<(String, u64)> {
    let line = order::Line { product, quantity: 1, ..order::Line::default() };
    let request = CreateOrderRequest {
        order: Some(Order { lines: vec![line], ..Order::default() }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateOrderRequest::default()
    };
    let called = Instant::now();
    let order = OrderServiceClient::new(channel).create_order(with(&customer, request)).await.ok()?.into_inner();
    Some((order.name, u64::try_from(called.elapsed().as_micros()).unwrap()))
}
