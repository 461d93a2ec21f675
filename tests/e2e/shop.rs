//! A shop under test: its staff, its products, its orders.

use std::time::Duration;

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::notifications::v1::notification_service_client::NotificationServiceClient;
use meshwork_api::meshwork::notifications::v1::{ListNotificationsRequest, Notification};
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, GetOrderRequest, Order, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{
    CreateProductRequest, GetStockRequest, Product, ReceiveStockRequest, Stock,
};
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, with};
use tonic::transport::Channel;

/// How long anything may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition, within [`PATIENCE`].
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// Adds a product at 12.50 EUR with so many pieces in stock; returns its name.
pub async fn stocked_product(up: &Up, staff: &Token, id: &str, pieces: i64) -> String {
    add_product(up.channel(), staff, id, pieces).await
}

/// As [`stocked_product`], at a gateway.
pub async fn add_product(channel: Channel, staff: &Token, id: &str, pieces: i64) -> String {
    let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 };
    let product = Product { display_name: format!("Product {id}"), price: Some(price), ..Product::default() };
    let request =
        CreateProductRequest { product: Some(product), product_id: id.to_owned(), ..CreateProductRequest::default() };
    let product = ProductServiceClient::new(channel.clone()).create_product(with(staff, request)).await.unwrap();
    let name = product.into_inner().name;
    let request =
        ReceiveStockRequest { name: format!("{name}/stock"), quantity: pieces, ..ReceiveStockRequest::default() };
    InventoryServiceClient::new(channel).receive_stock(with(staff, request)).await.unwrap();
    name
}

/// The stock of a product.
pub async fn stock(up: &Up, staff: &Token, product: &str) -> Stock {
    stock_at(up.channel(), staff, product).await
}

/// As [`stock`], at a gateway.
pub async fn stock_at(channel: Channel, staff: &Token, product: &str) -> Stock {
    let request = GetStockRequest { name: format!("{product}/stock") };
    InventoryServiceClient::new(channel).get_stock(with(staff, request)).await.unwrap().into_inner()
}

/// A request for `quantity` pieces of a product.
pub fn order_request(product: &str, quantity: i64, request_id: &str) -> CreateOrderRequest {
    let line = order::Line { product: product.to_owned(), quantity, ..order::Line::default() };
    CreateOrderRequest {
        order: Some(Order { lines: vec![line], ..Order::default() }),
        request_id: request_id.to_owned(),
        ..CreateOrderRequest::default()
    }
}

/// An order as it is.
pub async fn get_order(channel: Channel, token: &Token, name: &str) -> Order {
    let request = GetOrderRequest { name: name.to_owned(), ..Default::default() };
    OrderServiceClient::new(channel).get_order(with(token, request)).await.unwrap().into_inner()
}

/// An order once the saga has nothing left to do for it.
pub async fn settled_order(channel: Channel, token: &Token, name: &str) -> Order {
    let settle = async {
        loop {
            let order = get_order(channel.clone(), token, name).await;
            if settled(&order) {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settle).await.unwrap_or_else(|_| panic!("{name} was never settled"))
}

/// Whether the saga has nothing left to do for an order.
pub fn settled(order: &Order) -> bool {
    match order.state() {
        order::State::Confirmed => order.allocate_time.is_some(),
        order::State::Pending => false,
        _ => true,
    }
}

/// All notifications that the token's owner may see.
pub async fn notifications(channel: &Channel, token: &Token) -> Vec<Notification> {
    let mut client = NotificationServiceClient::new(channel.clone());
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListNotificationsRequest { page_size: 200, page_token, ..ListNotificationsRequest::default() };
        let page = client.list_notifications(with(token, request)).await.unwrap().into_inner();
        all.extend(page.notifications);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}
