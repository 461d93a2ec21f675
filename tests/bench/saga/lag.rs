//! How far the lists of orders are behind the events: from the answer to an order's creation until a list shows it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, ListOrdersRequest, Order, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, with};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// The metadata by which a command says what a query has to show.
const TOKEN: &str = "meshwork-consistency-token";
/// How long a list may take to show an order.
const PATIENCE: Duration = Duration::from_secs(30);

/// A customer who looks for each order of theirs.
pub(crate) struct Lag {
    channel: Channel,
    customer: Token,
    product: String,
}

/// What was seen.
pub(crate) struct Seen(Histogram<u64>);

impl Lag {
    /// How many orders are placed a second.
    pub(crate) const PER_SECOND: u32 = 20;

    pub(crate) async fn open(up: &Up) -> Self {
        let staff = up.staff().await;
        let channel = up.channel();
        let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 0 };
        let product = Product { display_name: "Mug".to_owned(), price: Some(price), ..Product::default() };
        let request = CreateProductRequest { product: Some(product), ..CreateProductRequest::default() };
        let product = ProductServiceClient::new(channel.clone()).create_product(with(&staff, request)).await.unwrap();
        let product = product.into_inner().name;
        let name = format!("{product}/stock");
        let request = ReceiveStockRequest { name, quantity: 1_000_000, ..ReceiveStockRequest::default() };
        InventoryServiceClient::new(channel.clone()).receive_stock(with(&staff, request)).await.unwrap();
        let (_, customer) = up.customer("lagging").await;
        Self { channel, customer, product }
    }

    /// Places orders for so many seconds, each at its time, and looks for each.
    pub(crate) async fn sample(&self, seconds: u32) -> Seen {
        let started = tokio::time::Instant::now();
        let mut samples = JoinSet::new();
        for at in 0..seconds * Self::PER_SECOND {
            tokio::time::sleep_until(started + Duration::from_secs(1) * at / Self::PER_SECOND).await;
            samples.spawn(one(self.channel.clone(), self.customer.clone(), self.product.clone()));
        }
        let mut seen = Histogram::new(3).unwrap();
        for micros in samples.join_all().await {
            seen.record(micros).unwrap();
        }
        Seen(seen)
    }
}

impl Seen {
    /// A quantile in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        (self.0.value_at_quantile(quantile) as f64 / 10.0).round() / 100.0
    }

    /// How many orders were looked for.
    pub(crate) fn samples(&self) -> u64 {
        self.0.len()
    }
}

/// Microseconds from the answer to an order's creation until a list of its customer shows it.
async fn one(channel: Channel, customer: Token, product: String) -> u64 {
    let mut client = OrderServiceClient::new(channel);
    let line = order::Line { product, quantity: 1, ..order::Line::default() };
    let order = Order { lines: vec![line], ..Order::default() };
    let request = CreateOrderRequest { order: Some(order), ..CreateOrderRequest::default() };
    let created = client.create_order(with(&customer, request)).await.unwrap();
    let begin = Instant::now();
    let token = created.metadata().get(TOKEN).unwrap().clone();
    let name = &created.get_ref().name;
    while begin.elapsed() < PATIENCE {
        let mut request = with(&customer, ListOrdersRequest::default());
        request.metadata_mut().insert(TOKEN, token.clone());
        let listed = client.list_orders(request).await.unwrap().into_inner();
        if listed.orders.iter().any(|order| order.name == *name) {
            return u64::try_from(begin.elapsed().as_micros()).unwrap();
        }
    }
    panic!("no list has shown {name} within {} s", PATIENCE.as_secs());
}
