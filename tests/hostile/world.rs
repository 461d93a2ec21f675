//! What the attacks meet: a running `up` with its default settings, but for the life of tokens, a product, and accounts of both
//! sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, Order, order};
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_api::meshwork::users::v1::{CreateUserRequest, Session, SignInRequest, User};
use meshwork_testkit::Up;
use meshwork_testkit::up::{LONG_TOKENS, with};
use prost::Message;
use tonic::Code;

use super::raw::Raw;
use super::wire::{Wire, head_of, message};

/// The methods that are called.
pub(crate) mod method {
    pub(crate) const SIGN_IN: &str = "/meshwork.users.v1.AuthService/SignIn";
    pub(crate) const REFRESH: &str = "/meshwork.users.v1.AuthService/RefreshSession";
    pub(crate) const CREATE_USER: &str = "/meshwork.users.v1.UserService/CreateUser";
    pub(crate) const GET_USER: &str = "/meshwork.users.v1.UserService/GetUser";
    pub(crate) const UPDATE_USER: &str = "/meshwork.users.v1.UserService/UpdateUser";
    pub(crate) const GET_PRODUCT: &str = "/meshwork.products.v1.ProductService/GetProduct";
    pub(crate) const BATCH_GET: &str = "/meshwork.products.v1.ProductService/BatchGetProducts";
    pub(crate) const LIST_PRODUCTS: &str = "/meshwork.products.v1.ProductService/ListProducts";
    pub(crate) const CREATE_ORDER: &str = "/meshwork.orders.v1.OrderService/CreateOrder";
    pub(crate) const GET_ORDER: &str = "/meshwork.orders.v1.OrderService/GetOrder";
    pub(crate) const LIST_ORDERS: &str = "/meshwork.orders.v1.OrderService/ListOrders";
    pub(crate) const CANCEL_ORDER: &str = "/meshwork.orders.v1.OrderService/CancelOrder";
    pub(crate) const LIST_EVENTS: &str = "/meshwork.orders.v1.OrderService/ListOrderEvents";
    pub(crate) const WATCH_ORDER: &str = "/meshwork.orders.v1.OrderService/WatchOrder";
    pub(crate) const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    pub(crate) const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
}

/// How many accounts the attackers have.
const ACCOUNTS: usize = 40;
/// How many products there are.
const PRODUCTS: usize = 3;
/// The password of all accounts.
pub(crate) const PASSWORD: &str = "a password of ten or more";

/// The address from which the second caller comes.
pub(crate) const SECOND_CALLER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// An account with a token, and an order of its own.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) email: String,
    /// The value of the header `authorization`.
    pub(crate) token: String,
    pub(crate) order: String,
}

/// The running shop.
pub(crate) struct World {
    up: Up,
    pub(crate) gateway: SocketAddr,
    pub(crate) products: Vec<String>,
    /// The account of the second caller.
    pub(crate) second: Account,
    accounts: Vec<Account>,
    turn: AtomicUsize,
    addresses: AtomicU16,
}

impl World {
    /// Starts `up` on `folder` and fills it. All goes on with the tokens that it begins with.
    pub(crate) async fn open(folder: &Path) -> Self {
        let up = Up::start(folder, &[LONG_TOKENS]);
        let gateway = up.address("gateway");
        let products = stock(&up).await;
        let mut accounts = Vec::with_capacity(ACCOUNTS);
        // A few at a time: more would only wait for the service's two places for passwords.
        for batch in (0..ACCOUNTS).collect::<Vec<_>>().chunks(4) {
            let made = batch.iter().map(|at| {
                let from = Ipv4Addr::new(127, 1, 0, u8::try_from(*at).unwrap() + 1);
                tokio::spawn(sign_up(from, gateway, format!("attacker-{at}"), products[0].clone()))
            });
            for account in made.collect::<Vec<_>>() {
                accounts.push(account.await.unwrap());
            }
        }
        let from = Ipv4Addr::new(127, 1, 0, 250);
        let second = sign_up(from, gateway, "second-caller".to_owned(), products[0].clone()).await;
        let (turn, addresses) = (AtomicUsize::new(0), AtomicU16::new(0));
        Self { up, gateway, products, second, accounts, turn, addresses }
    }

    /// An address that nobody has used, with its whole burst before it.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let at = self.addresses.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::new(127, 1, 1 + u8::try_from(at / 250).unwrap(), 1 + u8::try_from(at % 250).unwrap())
    }

    /// The account whose last turn is the longest ago: its rate limit has recovered most.
    pub(crate) fn account(&self) -> Account {
        self.accounts[self.turn.fetch_add(1, Ordering::Relaxed) % self.accounts.len()].clone()
    }

    /// All accounts of the attackers.
    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The resident memory of the shop, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.up.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.up.log()
    }
}

/// Makes products with enough stock for everybody.
async fn stock(up: &Up) -> Vec<String> {
    let staff = up.staff().await;
    let mut products = Vec::with_capacity(PRODUCTS);
    for at in 0..PRODUCTS {
        let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 0 };
        let product = Product { display_name: format!("Mug {at}"), price: Some(price), ..Product::default() };
        let request = CreateProductRequest { product: Some(product), ..CreateProductRequest::default() };
        let made = ProductServiceClient::new(up.channel()).create_product(with(&staff, request)).await.unwrap();
        let name = made.into_inner().name;
        let stock = ReceiveStockRequest { name: format!("{name}/stock"), quantity: 1_000_000, ..Default::default() };
        InventoryServiceClient::new(up.channel()).receive_stock(with(&staff, stock)).await.unwrap();
        products.push(name);
    }
    products
}

/// Makes an account, from `from`, and an order of it.
async fn sign_up(from: Ipv4Addr, gateway: SocketAddr, id: String, product: String) -> Account {
    let wire = Wire::open(from, gateway).await.unwrap();
    let email = format!("{id}@example.com");
    let user = User {
        email: email.clone(),
        display_name: format!("Customer {id}"),
        password: PASSWORD.to_owned(),
        ..User::default()
    };
    let request = CreateUserRequest { user: Some(user), user_id: id, ..CreateUserRequest::default() };
    let made: User = must(&wire, method::CREATE_USER, None, &request).await;
    let session: Session = must(&wire, method::SIGN_IN, None, &sign_in(&email)).await;
    let token = format!("Bearer {}", session.access_token);
    let order: Order = must(&wire, method::CREATE_ORDER, Some(&token), &an_order_of(&product)).await;
    Account { name: made.name, email, token, order: order.name }
}

/// Makes a call of the setup, which must be admitted.
async fn must<A: Message + Default>(wire: &Wire, path: &str, token: Option<&str>, request: &impl Message) -> A {
    let answer = wire.call(head_of(path, token, None), request).await.unwrap();
    assert_eq!(answer.code, Code::Ok, "{path}: {}", answer.message);
    message(&answer)
}

/// Signs in with the password that all accounts have.
pub(crate) fn sign_in(email: &str) -> SignInRequest {
    SignInRequest { email: email.to_owned(), password: PASSWORD.to_owned() }
}

/// An order of one piece.
pub(crate) fn an_order_of(product: &str) -> CreateOrderRequest {
    let line = order::Line { product: product.to_owned(), quantity: 1, ..order::Line::default() };
    CreateOrderRequest {
        order: Some(Order { lines: vec![line], ..Order::default() }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateOrderRequest::default()
    }
}

/// What an attack has at hand.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    pub(crate) tally: Arc<super::tally::Tally>,
    /// When the attack ends.
    pub(crate) until: tokio::time::Instant,
}

impl Scene {
    /// Whether the attack goes on.
    pub(crate) fn lasts(&self) -> bool {
        tokio::time::Instant::now() < self.until
    }

    /// Connects from `from`; `None`, after a pause, when the shop refuses.
    pub(crate) async fn wire(&self, from: Ipv4Addr) -> Option<Wire> {
        match Wire::open(from, self.world.gateway).await {
            Ok(wire) => Some(wire),
            Err(_) => {
                self.tally.note("no connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                None
            }
        }
    }

    /// As [`Scene::wire`], for HTTP/1.1.
    pub(crate) async fn raw(&self, from: Ipv4Addr) -> Option<Raw> {
        match Raw::open(from, self.world.gateway).await {
            Ok(raw) => Some(raw),
            Err(_) => {
                self.tally.note("no connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                None
            }
        }
    }

    /// Runs `work`, but no longer than the attack lasts.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.until, work).await.ok()
    }
}
