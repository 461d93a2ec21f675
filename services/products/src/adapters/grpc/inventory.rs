//! InventoryService.

use std::str::FromStr;

use meshwork_aip::{Violations, filter, page};
use meshwork_api::meshwork::products::v1::inventory_service_server::InventoryService;
use meshwork_api::meshwork::products::v1::{
    AdjustStockRequest, GetStockRequest, ListReservationsRequest, ListReservationsResponse, ReceiveStockRequest, Stock,
};
use meshwork_api::{ProductName, StockName};
use meshwork_chassis::Principal;
use meshwork_chassis::config::Reads;
use meshwork_chassis::consistency::ConsistencyToken;
use meshwork_chassis::request::RequestKey;
use tonic::{Request, Response, Status};

use super::{freshness_of_list, respond, unchecked};
use crate::adapters::convert;
use crate::adapters::errors::{DOMAIN, status, status_of_write};
use crate::app::App;
use crate::app::commands::{AdjustStock, ReceiveStock};
use crate::ports::ReservationFilter;

/// How many pieces may come or go at once.
const MAX_QUANTITY: i64 = 1_000_000_000;
/// How many characters a reason may have.
const MAX_REASON: usize = 200;

/// The methods of InventoryService.
pub struct InventoryGrpc {
    app: App,
    reads: Reads,
}

impl InventoryGrpc {
    /// The methods, over these use cases; `reads` is what a stock may be read from.
    pub fn new(app: App, reads: Reads) -> Self {
        Self { app, reads }
    }
}

#[tonic::async_trait]
impl InventoryService for InventoryGrpc {
    async fn get_stock(&self, request: Request<GetStockRequest>) -> Result<Response<Stock>, Status> {
        let mut violations = Violations::new();
        let token = ConsistencyToken::of(&request, &mut violations);
        let product = product(&mut violations, &request.get_ref().name);
        violations.finish(DOMAIN)?;
        let freshness = ConsistencyToken::freshness_of_get(token, self.reads);
        let stock = self.app.get_stock(&product.ok_or_else(unchecked)?, freshness).await.map_err(status)?;
        Ok(Response::new(convert::stock(&stock)))
    }

    async fn receive_stock(&self, request: Request<ReceiveStockRequest>) -> Result<Response<Stock>, Status> {
        let principal = Principal::of(&request);
        let command = receipt(&principal, request.into_inner())?;
        let is_repeatable = command.request.is_some();
        let written = self.app.receive_stock(command).await;
        let written = written.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(respond(&written, convert::stock))
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Result<Response<Stock>, Status> {
        let principal = Principal::of(&request);
        let command = adjustment(&principal, request.into_inner())?;
        let is_repeatable = command.request.is_some();
        let written = self.app.adjust_stock(command).await;
        let written = written.map_err(|error| status_of_write(error, is_repeatable))?;
        Ok(respond(&written, convert::stock))
    }

    async fn list_reservations(
        &self,
        request: Request<ListReservationsRequest>,
    ) -> Result<Response<ListReservationsResponse>, Status> {
        let mut violations = Violations::new();
        let freshness = freshness_of_list(&request, &mut violations);
        let ListReservationsRequest { page_size, page_token, filter } = request.into_inner();
        let arguments = [filter.as_str()];
        let wanted = page::read(page_size, &page_token, &arguments, &mut violations);
        let chosen = chosen(&mut violations, &filter);
        violations.finish(DOMAIN)?;
        let found = self.app.list_reservations(&chosen, &wanted, freshness).await.map_err(status)?;
        Ok(Response::new(ListReservationsResponse {
            reservations: found.items.iter().map(convert::reservation).collect(),
            next_page_token: page::token(found.next.as_deref(), &arguments),
        }))
    }
}

fn receipt(principal: &Principal, mut request: ReceiveStockRequest) -> Result<ReceiveStock, Status> {
    let mut violations = Violations::new();
    let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
    let product = product(&mut violations, &request.name);
    let quantity = request.quantity;
    violations.check((1..=MAX_QUANTITY).contains(&quantity), "quantity", "must be 1 to 1,000,000,000");
    violations.finish(DOMAIN)?;
    let key = RequestKey::of(principal, "ReceiveStock", request_id, &request);
    Ok(ReceiveStock { product: product.ok_or_else(unchecked)?, quantity, request: key })
}

fn adjustment(principal: &Principal, mut request: AdjustStockRequest) -> Result<AdjustStock, Status> {
    let mut violations = Violations::new();
    let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
    let product = product(&mut violations, &request.name);
    let delta = request.delta;
    violations.check(
        delta != 0 && (-MAX_QUANTITY..=MAX_QUANTITY).contains(&delta),
        "delta",
        "must be -1,000,000,000 to 1,000,000,000, and not 0",
    );
    violations.text(&request.reason, "reason", 1, MAX_REASON);
    violations.finish(DOMAIN)?;
    let key = RequestKey::of(principal, "AdjustStock", request_id, &request);
    let (product, actor) = (product.ok_or_else(unchecked)?, principal.key());
    Ok(AdjustStock { product, delta, reason: request.reason, actor, request: key })
}

/// The product whose stock `name` names.
fn product(violations: &mut Violations, name: &str) -> Option<ProductName> {
    let stock: StockName = violations.name(name, "name")?;
    // The id of a stock is one of a product too.
    ProductName::new(stock.id()).ok()
}

fn chosen(violations: &mut Violations, text: &str) -> ReservationFilter {
    let terms = filter::parse(text, &["state", "order", "product"], violations);
    let state = terms.get("state").and_then(|word| {
        let state = convert::state_from_word(word);
        state.map_err(|problem| violations.add("filter", format_args!("state {problem}"))).ok()
    });
    ReservationFilter { state, order: term(violations, &terms, "order"), product: term(violations, &terms, "product") }
}

/// The value of a term, if the filter has it.
fn term<T>(violations: &mut Violations, terms: &filter::Filter, name: &str) -> Option<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let value = terms.get(name)?.parse();
    value.map_err(|problem| violations.add("filter", format_args!("{name} {problem}"))).ok()
}
