//! The products service, called with a token of the service role.

use async_trait::async_trait;
use meshwork_api::ProductName;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{BatchGetProductsRequest, Product};
use meshwork_chassis::auth::WithToken;
use tonic::Code;
use tonic_types::StatusExt;

use super::money::money_from_proto;
use crate::ports::{Catalogue, CatalogueError, CatalogueItem};

/// The products service.
pub struct GrpcCatalogue(ProductServiceClient<WithToken>);

impl GrpcCatalogue {
    /// The products service behind `channel`.
    pub fn new(channel: WithToken) -> Self {
        Self(ProductServiceClient::new(channel))
    }
}

#[async_trait]
impl Catalogue for GrpcCatalogue {
    async fn items(&self, products: &[ProductName]) -> Result<Vec<CatalogueItem>, CatalogueError> {
        let names: Vec<_> = products.iter().map(ToString::to_string).collect();
        let response = self.0.clone().batch_get_products(BatchGetProductsRequest { names }).await;
        let found = response.map_err(|status| refusal(&status, products))?.into_inner().products;
        if found.len() != products.len() {
            let problem = format!("asked for {} products, it gave {}", products.len(), found.len());
            return Err(CatalogueError::Unavailable(problem));
        }
        products.iter().zip(found).map(|(name, product)| item(name, product)).collect()
    }
}

fn refusal(status: &tonic::Status, products: &[ProductName]) -> CatalogueError {
    let details = status.get_error_details();
    let missing = details.error_info().and_then(|info| info.metadata.get("product"));
    let missing = missing.and_then(|name| products.iter().find(|product| product.to_string() == *name));
    match (status.code(), missing) {
        (Code::NotFound, Some(product)) => CatalogueError::Missing(product.clone()),
        _ => CatalogueError::Unavailable(status.message().to_owned()),
    }
}

fn item(name: &ProductName, product: Product) -> Result<CatalogueItem, CatalogueError> {
    if product.name != name.to_string() {
        return Err(CatalogueError::Unavailable(format!("asked for {name}, it gave {}", product.name)));
    }
    let price = money_from_proto(product.price.as_ref());
    let price = price.ok_or_else(|| CatalogueError::Unavailable(format!("{name} has no price that can be charged")))?;
    Ok(CatalogueItem { product: name.clone(), display_name: product.display_name, price })
}
