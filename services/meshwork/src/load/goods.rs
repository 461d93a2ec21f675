//! What a load orders: products of its own, with stock for the run, and one that runs out.

use meshwork::Channel;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{
    AdjustStockRequest, CreateProductRequest, GetProductRequest, GetStockRequest, Product, ReceiveStockRequest,
};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::accounts::patiently;
use super::kept::Kept;
use super::plan::Plan;
use super::session::Session;
use crate::admin::told;
use crate::failure::Failure;
use crate::history::Line;

/// How many products there are, so that orders don't all wait for the same row.
const PRODUCTS: usize = 10;
/// The most pieces that a line asks for.
const MOST: u32 = 3;
/// How many pieces an order asks for of what runs out.
const OF_SCARCE: u32 = 2;
/// How many pieces there are of it at most: a run that is ended early is to see it run out too.
const SCARCE: i64 = 20;
/// How many pieces of each product there are beyond what the run is expected to need.
const RESERVE: i64 = 1000;

/// The products of a run.
pub struct Goods {
    products: Vec<String>,
    scarce: Option<String>,
}

impl Goods {
    /// Sees that the products are there, with stock for the plan; those that there are none of are made, and stand in the
    /// place of the ones that were kept.
    ///
    /// # Errors
    /// When the back end refuses it, or doesn't answer.
    pub async fn provide(channel: &Channel, staff: &Session, plan: &Plan, kept: &mut Kept) -> Result<Self, Failure> {
        let stores = Stores { channel, staff };
        stores.fill(plan, kept).await.map_err(|status| told(&status))
    }

    /// What an order asks for: one or two products, or the one that runs out.
    pub fn lines(&self, short: bool) -> Vec<Line> {
        if let (true, Some(scarce)) = (short, &self.scarce) {
            return vec![Line { product: scarce.clone(), quantity: OF_SCARCE }];
        }
        let count = self.products.len();
        let first = fastrand::usize(..count);
        let mut chosen = vec![first];
        if count > 1 && fastrand::bool() {
            chosen.push((first + fastrand::usize(1..count)) % count);
        }
        let line = |at: usize| Line { product: self.products[at].clone(), quantity: fastrand::u32(1..=MOST) };
        chosen.into_iter().map(line).collect()
    }
}

/// Where products are kept.
struct Stores<'a> {
    channel: &'a Channel,
    staff: &'a Session,
}

impl Stores<'_> {
    async fn fill(&self, plan: &Plan, kept: &mut Kept) -> Result<Goods, Status> {
        let mut products = std::mem::take(&mut kept.products);
        products.resize(PRODUCTS, String::new());
        // Three pieces an order among ten products, and as many again.
        let needed = i64::from(plan.orders()) * 6 / 10 + RESERVE;
        for product in products {
            let product = self.existing(product).await?;
            let lacking = needed - self.available(&product).await?;
            if lacking > 0 {
                self.receive(&product, lacking).await?;
            }
            kept.products.push(product);
        }
        let mut scarce = None;
        if plan.short_orders() > 0 {
            let product = self.existing(kept.scarce.take().unwrap_or_default()).await?;
            let lacking = scarce_pieces(plan.short_orders()) - self.available(&product).await?;
            if lacking > 0 {
                self.receive(&product, lacking).await?;
            } else if lacking < 0 {
                self.take_out(&product, lacking).await?;
            }
            kept.scarce = Some(product.clone());
            scarce = Some(product);
        }
        Ok(Goods { products: kept.products.clone(), scarce })
    }

    /// The product of this name, or a new one.
    async fn existing(&self, name: String) -> Result<String, Status> {
        if !name.is_empty() {
            let found = patiently(|| {
                let mut client = ProductServiceClient::new(self.channel.clone());
                let request = self.staff.with(GetProductRequest { name: name.clone() });
                async move { client.get_product(request).await }
            });
            match found.await {
                Ok(_) => return Ok(name),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        let product = Product {
            display_name: "Load".to_owned(),
            description: "Ordered by `meshwork load`.".to_owned(),
            price: Some(Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 }),
            ..Product::default()
        };
        let request = CreateProductRequest {
            product: Some(product),
            product_id: format!("load-{}", Uuid::new_v4()),
            request_id: Uuid::new_v4().to_string(),
        };
        let made = patiently(|| {
            let mut client = ProductServiceClient::new(self.channel.clone());
            let request = self.staff.with(request.clone());
            async move { client.create_product(request).await }
        });
        Ok(made.await?.into_inner().name)
    }

    /// How many pieces of a product can be ordered.
    async fn available(&self, product: &str) -> Result<i64, Status> {
        let request = GetStockRequest { name: stock(product) };
        let stock = patiently(|| {
            let mut client = InventoryServiceClient::new(self.channel.clone());
            let request = self.staff.with(request.clone());
            async move { client.get_stock(request).await }
        });
        match stock.await.map(Response::into_inner) {
            Ok(stock) => Ok(stock.available),
            Err(status) if status.code() == Code::NotFound => Ok(0),
            Err(status) => Err(status),
        }
    }

    async fn receive(&self, product: &str, quantity: i64) -> Result<(), Status> {
        let request_id = Uuid::new_v4().to_string();
        let request = ReceiveStockRequest { name: stock(product), quantity, request_id };
        let received = patiently(|| {
            let mut client = InventoryServiceClient::new(self.channel.clone());
            let request = self.staff.with(request.clone());
            async move { client.receive_stock(request).await }
        });
        received.await.map(drop)
    }

    /// Takes pieces out that an earlier run has left.
    async fn take_out(&self, product: &str, delta: i64) -> Result<(), Status> {
        let (reason, request_id) = ("left by an earlier load".to_owned(), Uuid::new_v4().to_string());
        let request = AdjustStockRequest { name: stock(product), delta, reason, request_id };
        let adjusted = patiently(|| {
            let mut client = InventoryServiceClient::new(self.channel.clone());
            let request = self.staff.with(request.clone());
            async move { client.adjust_stock(request).await }
        });
        adjusted.await.map(drop)
    }
}

/// How many pieces there are of what runs out: half as many as so many orders ask for, but few.
fn scarce_pieces(orders: u32) -> i64 {
    (i64::from(orders) * i64::from(OF_SCARCE) / 2).min(SCARCE)
}

/// The name of a product's stock.
fn stock(product: &str) -> String {
    format!("{product}/stock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_out_does_so_in_a_run_that_is_ended_early() {
        assert_eq!((scarce_pieces(1), scarce_pieces(12)), (1, 12), "half of what is asked for");
        assert_eq!(scarce_pieces(u32::MAX), SCARCE);
    }

    #[test]
    fn an_order_asks_for_one_or_two_products_or_for_the_one_that_runs_out() {
        let products: Vec<_> = (0..3).map(|id| format!("products/{id}")).collect();
        let goods = Goods { products: products.clone(), scarce: Some("products/scarce".to_owned()) };
        let mut counts = [0, 0];
        for _ in 0..500 {
            let lines = goods.lines(false);
            counts[lines.len() - 1] += 1;
            for line in &lines {
                assert!(products.contains(&line.product) && (1..=MOST).contains(&line.quantity), "{line:?}");
            }
            assert!(lines.len() == 1 || lines[0].product != lines[1].product, "{lines:?}");
        }
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        let short = goods.lines(true);
        assert_eq!(short, [Line { product: "products/scarce".to_owned(), quantity: OF_SCARCE }]);
    }
}
