//! The shop as the demo's customer and staff see it.

use std::time::Duration;

use meshwork::Channel;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::notifications::v1::notification_service_client::NotificationServiceClient;
use meshwork_api::meshwork::notifications::v1::{ListNotificationsRequest, notification};
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, Order, WatchOrderRequest, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{CreateUserRequest, SignInRequest, User};
use meshwork_chassis::config::Credentials;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};
use uuid::Uuid;

/// How often the demo looks whether the mail is sent.
const POLL: Duration = Duration::from_millis(100);

/// An account of the demo's own.
#[derive(Debug)]
pub struct Customer {
    /// Its name.
    pub name: String,
    email: String,
    password: String,
}

/// The gateway, with the tokens of a customer and of staff.
pub struct Shop {
    channel: Channel,
    customer: Option<MetadataValue<Ascii>>,
    staff: Option<MetadataValue<Ascii>>,
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A request with a token.
fn with<T>(token: Option<&MetadataValue<Ascii>>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.clone());
    }
    request
}

impl Shop {
    /// Nobody is signed in yet.
    pub fn new(channel: Channel) -> Self {
        Self { channel, customer: None, staff: None }
    }

    /// Makes an account.
    pub async fn sign_up(&self) -> Result<Customer, Status> {
        let id = Uuid::new_v4().simple().to_string();
        let (email, password) = (format!("demo-{id}@example.com"), format!("demo-{}", Uuid::new_v4()));
        let user = User {
            email: email.clone(),
            display_name: "Demo Customer".to_owned(),
            password: password.clone(),
            ..User::default()
        };
        let request = CreateUserRequest { user: Some(user), request_id: request_id(), ..CreateUserRequest::default() };
        let user = UserServiceClient::new(self.channel.clone()).create_user(request).await?.into_inner();
        Ok(Customer { name: user.name, email, password })
    }

    /// Signs the customer in.
    pub async fn sign_in(&mut self, customer: &Customer) -> Result<(), Status> {
        self.customer = Some(self.session(&customer.email, &customer.password).await?);
        Ok(())
    }

    /// Signs staff in.
    pub async fn sign_in_as_staff(&mut self, credentials: &Credentials) -> Result<(), Status> {
        self.staff = Some(self.session(&credentials.email, credentials.password.expose()).await?);
        Ok(())
    }

    async fn session(&self, email: &str, password: &str) -> Result<MetadataValue<Ascii>, Status> {
        let request = SignInRequest { email: email.to_owned(), password: password.to_owned() };
        let session = AuthServiceClient::new(self.channel.clone()).sign_in(request).await?.into_inner();
        let token = format!("Bearer {}", session.access_token).parse();
        token.map_err(|_| Status::internal("the access token can't be sent as a header"))
    }

    /// Adds a product; returns its name.
    pub async fn create_product(&self) -> Result<String, Status> {
        let product = Product {
            display_name: "Coffee mug".to_owned(),
            description: "Holds 0.3 l and the morning together.".to_owned(),
            price: Some(Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 }),
            ..Product::default()
        };
        let request = CreateProductRequest {
            product: Some(product),
            request_id: request_id(),
            ..CreateProductRequest::default()
        };
        let request = with(self.staff.as_ref(), request);
        Ok(ProductServiceClient::new(self.channel.clone()).create_product(request).await?.into_inner().name)
    }

    /// Takes ten pieces into stock.
    pub async fn receive_stock(&self, product: &str) -> Result<(), Status> {
        let request = ReceiveStockRequest { name: format!("{product}/stock"), quantity: 10, request_id: request_id() };
        let request = with(self.staff.as_ref(), request);
        InventoryServiceClient::new(self.channel.clone()).receive_stock(request).await?;
        Ok(())
    }

    /// Orders two pieces; returns the order's name.
    pub async fn place_order(&self, product: &str) -> Result<String, Status> {
        let line = order::Line { product: product.to_owned(), quantity: 2, ..order::Line::default() };
        let order = Order { lines: vec![line], ..Order::default() };
        let request =
            CreateOrderRequest { order: Some(order), request_id: request_id(), ..CreateOrderRequest::default() };
        let request = with(self.customer.as_ref(), request);
        Ok(OrderServiceClient::new(self.channel.clone()).create_order(request).await?.into_inner().name)
    }

    /// Watches the order until the inventory has answered; returns its state then.
    pub async fn follow(&self, order: &str) -> Result<order::State, Status> {
        let request = WatchOrderRequest { name: order.to_owned(), resume_token: String::new() };
        let request = with(self.customer.as_ref(), request);
        let mut changes = OrderServiceClient::new(self.channel.clone()).watch_order(request).await?.into_inner();
        let mut state = order::State::Unspecified;
        while let Some(change) = changes.message().await? {
            state = change.order.map_or(state, |order| order.state());
            if state != order::State::Pending {
                break;
            }
        }
        Ok(state)
    }

    /// Waits until the mail that tells of the order's confirmation is sent; returns the notification's name.
    pub async fn wait_for_mail(&self, order: &str) -> Result<String, Status> {
        let mut client = NotificationServiceClient::new(self.channel.clone());
        loop {
            let request = ListNotificationsRequest {
                filter: format!("about = {order:?}"),
                ..ListNotificationsRequest::default()
            };
            let list = client.list_notifications(with(self.customer.as_ref(), request)).await?.into_inner();
            let sent = list.notifications.into_iter().find(|notification| {
                notification.template == "order_confirmed" && notification.state() == notification::State::Sent
            });
            if let Some(notification) = sent {
                return Ok(notification.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
