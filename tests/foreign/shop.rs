//! The shop that foreign clients meet.

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, Product, ReceiveStockRequest};
use meshwork_testkit::Up;
use meshwork_testkit::up::{UNLIMITED, with};
use tempfile::TempDir;

/// The product on its shelf.
pub const PRODUCT: &str = "products/foreign-mug";

/// A running `up` with a product.
pub struct Shop {
    pub up: Up,
    /// Removed at the end.
    _folder: TempDir,
}

impl Shop {
    /// Starts it, with `settings` beside those of tests.
    pub fn open(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<_> = UNLIMITED.iter().chain(settings).copied().collect();
        let up = Up::start(folder.path(), &settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(stock(&up));
        Self { up, _folder: folder }
    }

    /// Where the gateway is, `HOST:PORT`.
    pub fn address(&self) -> String {
        self.up.address("gateway").to_string()
    }
}

async fn stock(up: &Up) {
    let staff = up.gateway().staff().await;
    let price = Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 };
    let product = Product { display_name: "Mug".to_owned(), price: Some(price), ..Product::default() };
    let product_id = PRODUCT.strip_prefix("products/").unwrap().to_owned();
    let request = CreateProductRequest { product: Some(product), product_id, ..CreateProductRequest::default() };
    ProductServiceClient::new(up.channel()).create_product(with(&staff, request)).await.unwrap();
    let name = format!("{PRODUCT}/stock");
    let request = ReceiveStockRequest { name, quantity: 1_000, ..ReceiveStockRequest::default() };
    InventoryServiceClient::new(up.channel()).receive_stock(with(&staff, request)).await.unwrap();
}
