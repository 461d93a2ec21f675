//! The shop that is called: a running `up` without limits to the rate, and callers of both sides.

use std::net::SocketAddr;
use std::path::Path;

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, Order, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, UNLIMITED, with};

use super::base::Names;

const USER: &str = "users.meshwork.dev/User";
const PRODUCT: &str = "products.meshwork.dev/Product";
const PROJECTION: &str = "admin.meshwork.dev/Projection";

/// What methods are called with that would take from the others what they need, if a distortion left the request good.
const INSTEAD: &[(&str, &str, &str)] = &[
    // An account and a product that nobody else needs.
    ("/meshwork.users.v1.UserService/DeleteUser", USER, "users/doomed"),
    ("/meshwork.products.v1.ProductService/DeleteProduct", PRODUCT, "products/doomed"),
    // Each would read all events again, and put other lists in the place of those that are asked.
    ("/meshwork.admin.v1.ProjectionService/RebuildProjection", PROJECTION, "projections/none"),
    ("/meshwork.admin.v1.ProjectionService/RollbackProjection", PROJECTION, "projections/none"),
];

/// Somebody who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The value of `authorization`.
    pub(crate) token: String,
    pub(crate) is_staff: bool,
    names: Names,
}

impl Caller {
    /// What there is for a method to be called with.
    pub(crate) fn names(&self, path: &str) -> Names {
        match INSTEAD.iter().find(|(method, ..)| *method == path) {
            Some((_, resource, name)) => self.names.instead(resource, name),
            None => self.names.clone(),
        }
    }
}

/// The running shop.
pub(crate) struct Shop {
    up: Up,
    pub(crate) gateway: SocketAddr,
    /// A customer, then one of the staff.
    pub(crate) callers: [Caller; 2],
    /// The account and the token of who calls meanwhile.
    pub(crate) second: (String, String),
}

impl Shop {
    /// Starts `up` on `folder` and fills it.
    pub(crate) async fn open(folder: &Path) -> Self {
        let up = Up::start(folder, UNLIMITED);
        let staff = up.staff().await;
        let (customer, token) = up.customer("distorted").await;
        let (second, second_token) = up.customer("second-caller").await;
        let spare = up.sign_up("spare").await;
        up.sign_up("doomed").await;
        let product = stock(&up, &staff, "lamp").await;
        stock(&up, &staff, "doomed").await;
        let order = an_order(&up, &token, &product).await;
        let names = |user: String| {
            Names(vec![
                ("users.meshwork.dev/UserSession", format!("{user}/sessions/none")),
                ("users.meshwork.dev/ApiKey", format!("{user}/apiKeys/none")),
                (USER, user),
                (PRODUCT, product.clone()),
                ("products.meshwork.dev/Stock", format!("{product}/stock")),
                ("orders.meshwork.dev/Order", order.clone()),
                (PROJECTION, "projections/orders".to_owned()),
            ])
        };
        // What the staff changes in an account is not what the customer needs.
        let callers = [
            Caller { token: header(&token), is_staff: false, names: names(customer) },
            Caller { token: header(&staff), is_staff: true, names: names(spare) },
        ];
        Self { gateway: up.address("gateway"), callers, second: (second, header(&second_token)), up }
    }

    /// The last lines that it has logged.
    pub(crate) fn last_lines(&self) -> String {
        let log = self.up.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn header(token: &Token) -> String {
    token.to_str().unwrap().to_owned()
}

/// Makes a product with enough stock.
async fn stock(up: &Up, staff: &Token, id: &str) -> String {
    let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 0 };
    let product = Product { display_name: format!("The {id}"), price: Some(price), ..Product::default() };
    let request = CreateProductRequest { product: Some(product), product_id: id.to_owned(), ..Default::default() };
    let made = ProductServiceClient::new(up.channel()).create_product(with(staff, request)).await.unwrap();
    let name = made.into_inner().name;
    let received = ReceiveStockRequest { name: format!("{name}/stock"), quantity: 1_000_000, ..Default::default() };
    InventoryServiceClient::new(up.channel()).receive_stock(with(staff, received)).await.unwrap();
    name
}

async fn an_order(up: &Up, customer: &Token, product: &str) -> String {
    let line = order::Line { product: product.to_owned(), quantity: 1, ..order::Line::default() };
    let order = Order { lines: vec![line], ..Order::default() };
    let request = CreateOrderRequest { order: Some(order), ..CreateOrderRequest::default() };
    OrderServiceClient::new(up.channel()).create_order(with(customer, request)).await.unwrap().into_inner().name
}
