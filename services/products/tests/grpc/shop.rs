//! A running service, and how it is called.

use meshwork_chassis::ServerConfig;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use meshwork::Channel;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::admin::v1::audit_service_client::AuditServiceClient;
use meshwork_api::meshwork::products::v1 as pb;
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::{CancellationToken, Health, ServeError};
use meshwork_products::{Config, serve};
use meshwork_testkit::Issuer;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

/// How long a test waits for what must come.
const BOUND: Duration = Duration::from_secs(20);

/// The service and what stands around it.
pub struct Shop {
    pub issuer: Issuer,
    pub folder: TempDir,
    pub products: ProductServiceClient<Channel>,
    pub inventory: InventoryServiceClient<Channel>,
    pub audit: AuditServiceClient<Channel>,
    config: Config,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

pub fn config(folder: &Path, issuer: &Issuer) -> Config {
    Config {
        data: folder.join("products"),
        bus: folder.join("bus"),
        auth: AuthConfig { users: issuer.target(), ..AuthConfig::default() },
        ..Config::default()
    }
}

impl Shop {
    /// A service with these changes to its settings, in a folder of its own.
    pub async fn open_with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, folder) = (Issuer::start().await, tempfile::tempdir().unwrap());
        let config = change(config(folder.path(), &issuer));
        Self::start(issuer, folder, config)
    }

    pub async fn open() -> Self {
        Self::open_with(|config| config).await
    }

    /// Stops the service and starts it again on the same data.
    pub async fn reopen(self) -> Self {
        let Self { issuer, folder, config, .. } = self.close().await;
        Self::start(issuer, folder, config)
    }

    fn start(issuer: Issuer, folder: TempDir, config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let channel = Channel::connect_lazy(&format!("http://{}", listen.address())).unwrap();
        let products = ProductServiceClient::new(channel.clone());
        let (inventory, audit) = (InventoryServiceClient::new(channel.clone()), AuditServiceClient::new(channel));
        let server = ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() };
        let started = Config { listen, server, ..config.clone() };
        let server = tokio::spawn(serve(started, Health::new(), shutdown.clone()));
        Self { config, issuer, folder, products, inventory, audit, shutdown, server }
    }

    /// Stops the service; it must end by itself.
    pub async fn close(mut self) -> Self {
        self.shutdown.cancel();
        tokio::time::timeout(BOUND, &mut self.server).await.expect("the service ends").unwrap().unwrap();
        self
    }

    /// A request with a token of this role.
    pub fn by<T>(&self, role: &str, message: T) -> Request<T> {
        with_token(message, &self.issuer.token(&format!("some-{role}"), role))
    }

    pub fn staff<T>(&self, message: T) -> Request<T> {
        self.by("staff", message)
    }

    /// Adds a product with pieces.
    pub async fn stocked(&self, id: &str, pieces: i64) -> pb::Product {
        let added = self.products.clone().create_product(self.staff(creation(id))).await.unwrap().into_inner();
        if pieces > 0 {
            let receipt = pb::ReceiveStockRequest {
                name: format!("products/{id}/stock"),
                quantity: pieces,
                ..Default::default()
            };
            self.inventory.clone().receive_stock(self.staff(receipt)).await.unwrap();
        }
        added
    }

    pub async fn product(&self, id: &str) -> Result<pb::Product, Status> {
        let request = pb::GetProductRequest { name: format!("products/{id}") };
        self.products.clone().get_product(request).await.map(Response::into_inner)
    }

    pub async fn stock(&self, id: &str) -> Result<pb::Stock, Status> {
        let request = self.staff(pb::GetStockRequest { name: format!("products/{id}/stock") });
        self.inventory.clone().get_stock(request).await.map(Response::into_inner)
    }

    /// The reservation of an order.
    pub async fn reservation(&self, order: &str) -> Option<pb::Reservation> {
        let request =
            pb::ListReservationsRequest { filter: format!("order = \"orders/{order}\""), ..Default::default() };
        let found = self.inventory.clone().list_reservations(self.staff(request)).await.unwrap().into_inner();
        found.reservations.into_iter().next()
    }
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub fn euros(units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: "EUR".to_owned(), units, nanos })
}

pub fn lamp() -> pb::Product {
    pb::Product {
        display_name: "Lamp".to_owned(),
        description: "It shines".to_owned(),
        price: euros(19, 990_000_000),
        ..Default::default()
    }
}

pub fn creation(id: &str) -> pb::CreateProductRequest {
    pb::CreateProductRequest { product: Some(lamp()), product_id: id.to_owned(), request_id: String::new() }
}

/// Waits until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, found).await.unwrap_or_else(|_| panic!("{what} has not come"))
}

/// The call was refused with this code and reason, by our domain.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = result.expect_err(reason);
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{}", status.message());
    assert_eq!(info.domain, "products.meshwork.dev");
    status
}

/// The call was refused for these fields, no more and no fewer.
#[track_caller]
pub fn assert_fields<T: std::fmt::Debug>(result: Result<T, Status>, fields: &[&str]) -> Status {
    let status = assert_refused(result, Code::InvalidArgument, "INVALID_FIELDS");
    let found = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(found.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), fields, "{found:?}");
    assert!(found.iter().all(|fault| !fault.description.is_empty()));
    status
}
