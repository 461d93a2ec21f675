//! A stand-in for the products service's catalogue.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::products::v1::product_service_server::{ProductService, ProductServiceServer};
use meshwork_api::meshwork::products::v1::{
    BatchGetProductsRequest, BatchGetProductsResponse, CreateProductRequest, DeleteProductRequest, GetProductRequest,
    ListProductsRequest, ListProductsResponse, Product, UpdateProductRequest,
};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How the catalogue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Sound,
    /// Not at all.
    Down,
    /// With one product too few.
    Short,
    /// In another order than asked for.
    Shuffled,
    /// With a price that is no whole number of cents.
    Fractional,
    /// With prices that are one unit of their currency higher.
    Dearer,
    /// With a product that is not found, without saying which.
    Vague,
}

#[derive(Default)]
struct State {
    mood: Mutex<Option<Mood>>,
    authorizations: Mutex<Vec<String>>,
}

/// A ProductService that answers BatchGetProducts. It ends when it is dropped.
pub struct Catalogue {
    state: Arc<State>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Catalogue {
    /// Serves on a free port.
    pub async fn start() -> Self {
        let state = Arc::<State>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ProductServiceServer::new(Shelf(state.clone()));
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { state, address, server }
    }

    /// Where it serves: `http://HOST:PORT`.
    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers like this from now on.
    pub fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = Some(mood);
    }

    /// The `authorization` of each call so far.
    pub fn authorizations(&self) -> Vec<String> {
        self.state.authorizations.lock().unwrap().clone()
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Shelf(Arc<State>);

/// The product of that name, if it is for sale: tea and cups in euro, rice in yen, palaces (`products/palace…`) of which
/// 1025 cost more cents than can be counted, and any number of pieces (`products/p-…`).
fn product(name: &str) -> Option<Product> {
    let (display_name, currency, units, nanos) = match name {
        "products/tea" => ("Green tea", "EUR", 4, 200_000_000),
        "products/cup" => ("Cup", "EUR", 12, 0),
        "products/rice" => ("Rice", "JPY", 500, 0),
        name if name.starts_with("products/palace") => ("Palace", "EUR", 90_000_000_000_000, 0),
        name if name.starts_with("products/p-") => ("Piece", "EUR", 1, 0),
        _ => return None,
    };
    Some(Product {
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        price: Some(Money { currency_code: currency.to_owned(), units, nanos }),
        ..Product::default()
    })
}

fn not_found(metadata: &[(&str, &str)]) -> Status {
    let metadata: std::collections::HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let details = ErrorDetails::with_error_info("PRODUCT_NOT_FOUND", "products.meshwork.dev", metadata);
    Status::with_error_details(Code::NotFound, "there is no such product", details)
}

#[tonic::async_trait]
impl ProductService for Shelf {
    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.0.authorizations.lock().unwrap().extend(authorization);
        let mood = self.0.mood.lock().unwrap().unwrap_or(Mood::Sound);
        let mut products = Vec::new();
        for name in request.into_inner().names {
            products.push(product(&name).ok_or_else(|| not_found(&[("product", name.as_str())]))?);
        }
        match mood {
            Mood::Sound => {}
            Mood::Down => return Err(Status::unavailable("closed for today")),
            Mood::Short => drop(products.pop()),
            Mood::Shuffled => products.reverse(),
            Mood::Fractional => products[0].price.as_mut().unwrap().nanos += 1,
            Mood::Dearer => products.iter_mut().for_each(|product| product.price.as_mut().unwrap().units += 1),
            Mood::Vague => return Err(not_found(&[])),
        }
        Ok(Response::new(BatchGetProductsResponse { products }))
    }

    async fn create_product(&self, _: Request<CreateProductRequest>) -> Result<Response<Product>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn get_product(&self, _: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_products(&self, _: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn update_product(&self, _: Request<UpdateProductRequest>) -> Result<Response<Product>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn delete_product(&self, _: Request<DeleteProductRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("not played"))
    }
}
