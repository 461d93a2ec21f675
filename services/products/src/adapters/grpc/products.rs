//! ProductService.

use meshwork_aip::{Violations, etag, mask, page};
use meshwork_api::ProductName;
use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1::product_service_server::ProductService;
use meshwork_api::meshwork::products::v1::{
    BatchGetProductsRequest, BatchGetProductsResponse, CreateProductRequest, DeleteProductRequest, GetProductRequest,
    ListProductsRequest, ListProductsResponse, Product, UpdateProductRequest,
};
use meshwork_chassis::Principal;
use meshwork_chassis::config::Reads;
use meshwork_chassis::consistency::ConsistencyToken;
use meshwork_chassis::money;
use meshwork_chassis::request::RequestKey;
use meshwork_text::display_text;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{freshness_of_list, respond, respond_written, unchecked};
use crate::adapters::convert;
use crate::adapters::errors::{DOMAIN, status, status_of_write};
use crate::app::App;
use crate::app::commands::{CreateProduct, DeleteProduct, UpdateProduct};
use crate::domain::{NewProduct, Price, ProductChange};

/// How many names a batch may have.
const MAX_BATCH: usize = 100;
/// How many characters a name for people may have.
const MAX_DISPLAY_NAME: usize = 200;
/// How many characters a description may have.
const MAX_DESCRIPTION: usize = 4000;
/// What a caller can't set; it is passed over (AIP-203).
const OUTPUT_ONLY: &[&str] = &["name", "create_time", "update_time", "etag"];

/// The methods of ProductService.
pub struct ProductsGrpc {
    app: App,
    reads: Reads,
}

impl ProductsGrpc {
    /// The methods, over these use cases; `reads` is what a product may be read from.
    pub fn new(app: App, reads: Reads) -> Self {
        Self { app, reads }
    }
}

#[tonic::async_trait]
impl ProductService for ProductsGrpc {
    async fn create_product(&self, request: Request<CreateProductRequest>) -> Result<Response<Product>, Status> {
        let principal = Principal::of(&request);
        let command = creation(&principal, request.into_inner())?;
        let is_repeatable = command.request.is_some();
        let written = self.app.create_product(command).await;
        let written = written.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(respond(&written, convert::product))
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        let mut violations = Violations::new();
        let token = ConsistencyToken::of(&request, &mut violations);
        let name = violations.name(&request.get_ref().name, "name");
        violations.finish(DOMAIN)?;
        let freshness = ConsistencyToken::freshness_of_get(token, self.reads);
        let product = self.app.get_product(name.ok_or_else(unchecked)?, freshness).await.map_err(status)?;
        Ok(Response::new(convert::product(&product)))
    }

    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let names = batch(&request)?;
        let products = self.app.batch_get_products(&names).await.map_err(status)?;
        Ok(Response::new(BatchGetProductsResponse { products: products.iter().map(convert::product).collect() }))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let mut violations = Violations::new();
        let freshness = freshness_of_list(&request, &mut violations);
        let ListProductsRequest { page_size, page_token } = request.into_inner();
        let wanted = page::read(page_size, &page_token, &[], &mut violations);
        violations.finish(DOMAIN)?;
        let found = self.app.list_products(&wanted, freshness).await.map_err(status)?;
        Ok(Response::new(ListProductsResponse {
            products: found.items.iter().map(convert::product).collect(),
            next_page_token: page::token(found.next.as_deref(), &[]),
        }))
    }

    async fn update_product(&self, request: Request<UpdateProductRequest>) -> Result<Response<Product>, Status> {
        let command = change(request.into_inner())?;
        let is_repeatable = command.expected.is_some();
        let written = self.app.update_product(command).await;
        let written = written.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(respond_written(&written, convert::product))
    }

    async fn delete_product(&self, request: Request<DeleteProductRequest>) -> Result<Response<()>, Status> {
        let command = removal(&request.into_inner())?;
        let is_repeatable = command.expected.is_some();
        let written = self.app.delete_product(command).await;
        let written = written.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(respond_written(&written, |()| ()))
    }
}

fn creation(principal: &Principal, mut request: CreateProductRequest) -> Result<CreateProduct, Status> {
    let mut violations = Violations::new();
    let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
    if !request.product_id.is_empty() {
        violations.chosen_id(&request.product_id, "product_id");
    }
    violations.check(request.product.is_some(), "product", "is required");
    let none = Product::default();
    let product = request.product.as_ref().unwrap_or(&none);
    let price = price(&mut violations, product.price.as_ref());
    let display_name = shown(&mut violations, &product.display_name);
    described(&mut violations, &product.description);
    violations.finish(DOMAIN)?;
    let key = RequestKey::of(principal, "CreateProduct", request_id, &request);
    let id = if request.product_id.is_empty() { Uuid::new_v4().to_string() } else { request.product_id };
    let (Ok(name), Some(price), Some(display_name)) = (ProductName::new(id), price, display_name) else {
        return Err(unchecked());
    };
    let Product { description, .. } = request.product.unwrap_or_default();
    Ok(CreateProduct { product: NewProduct { name, display_name, description, price }, request: key })
}

fn change(request: UpdateProductRequest) -> Result<UpdateProduct, Status> {
    let mut violations = Violations::new();
    violations.check(request.product.is_some(), "product", "is required");
    let product = request.product.unwrap_or_default();
    let name = violations.name(&product.name, "product.name");
    let expected = version(&mut violations, &product.etag, "product.etag");
    let fields = [
        ("display_name", !product.display_name.is_empty()),
        ("description", !product.description.is_empty()),
        ("price", product.price.is_some()),
    ];
    let paths = mask::resolve(request.update_mask.as_ref(), &fields, OUTPUT_ONLY, &mut violations);
    let display_name =
        if paths.contains(&"display_name") { shown(&mut violations, &product.display_name) } else { None };
    let description = paths.contains(&"description").then_some(product.description);
    if let Some(description) = &description {
        described(&mut violations, description);
    }
    let price = if paths.contains(&"price") { price(&mut violations, product.price.as_ref()) } else { None };
    violations.finish(DOMAIN)?;
    let (Some(name), Some(expected)) = (name, expected) else { return Err(unchecked()) };
    Ok(UpdateProduct { name, change: ProductChange { display_name, description, price }, expected })
}

fn removal(request: &DeleteProductRequest) -> Result<DeleteProduct, Status> {
    let mut violations = Violations::new();
    let name = violations.name(&request.name, "name");
    let expected = version(&mut violations, &request.etag, "etag");
    violations.finish(DOMAIN)?;
    let (Some(name), Some(expected)) = (name, expected) else { return Err(unchecked()) };
    Ok(DeleteProduct { name, expected })
}

fn batch(request: &Request<BatchGetProductsRequest>) -> Result<Vec<ProductName>, Status> {
    let mut violations = Violations::new();
    // One that is right asks for no more than there is: a batch shows every write.
    ConsistencyToken::of(request, &mut violations);
    let names = &request.get_ref().names;
    let fits = (1..=MAX_BATCH).contains(&names.len());
    violations.check(fits, "names", format_args!("must be 1 to {MAX_BATCH} names"));
    // A list that is too long is not looked at.
    let checked = names.iter().take(if fits { MAX_BATCH } else { 0 }).enumerate();
    let names: Vec<_> = checked.filter_map(|(at, name)| violations.name(name, &format!("names[{at}]"))).collect();
    violations.finish(DOMAIN)?;
    Ok(names)
}

/// The name for people that is to be shown.
fn shown(violations: &mut Violations, display_name: &str) -> Option<String> {
    let shown = display_text(display_name, MAX_DISPLAY_NAME);
    shown.map_err(|problem| violations.add("product.display_name", problem)).ok()
}

fn described(violations: &mut Violations, description: &str) {
    violations.text(description, "product.description", 0, MAX_DESCRIPTION);
}

fn price(violations: &mut Violations, money: Option<&Money>) -> Option<Price> {
    money::price(violations, money, "product.price").map(|(currency, minor)| Price { currency, minor })
}

/// The version that an etag names, any or one; `None` after a fault.
fn version(violations: &mut Violations, etag: &str, field: &str) -> Option<Option<i64>> {
    etag::parse(etag).map_err(|problem| violations.add(field, problem)).ok()
}
