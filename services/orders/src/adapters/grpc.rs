//! `meshwork.orders.v1.OrderService`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_aip::request::{RequestId, mark_replay};
use meshwork_aip::{Violations, echo, etag, filter, page};
use meshwork_api::meshwork::orders::v1 as proto;
use meshwork_api::meshwork::orders::v1::order_service_server::OrderService;
use meshwork_api::{OrderName, ProductName, UserName};
use meshwork_chassis::Principal;
use meshwork_chassis::clock::from_timestamp;
use meshwork_chassis::consistency::{ConsistencyToken, EventsPlace, mark_stale};
use meshwork_chassis::request::RequestKey;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{event_to_proto, order_to_proto, state_from_word};
use super::errors::{DOMAIN, missing_product, not_for, status, status_of_write};
use super::money::expected_money;
use crate::app::commands::{ChangeOrder, CreateOrder, NewLine};
use crate::app::queries::{AsOf, OrderChange, OrderWatch};
use crate::app::{App, AppError, Reply};
use crate::domain::{Command, Money, Order};
use crate::ports::{CatalogueError, OrderFilter, Position};

/// How many lines an order has at most.
const MAX_LINES: usize = 100;
/// How many pieces of a product an order has at most.
const MAX_QUANTITY: i64 = 1_000_000;
/// How many bytes a resume token has at most: the base64 of an id of 63 characters, an `@` and a number of 19 digits.
const MAX_RESUME_TOKEN: usize = 111;
/// How many changes a slow watcher may be behind before the watch waits for it.
const WATCH_BUFFER: usize = 16;

/// The service's methods.
pub struct OrderGrpc {
    app: App,
}

impl OrderGrpc {
    /// The methods over `app`.
    pub fn new(app: App) -> Self {
        Self { app }
    }

    async fn change(&self, change: ChangeOrder) -> Result<Response<proto::Order>, Status> {
        let name = change.name.to_string();
        let is_repeatable = change.request.is_some() || change.expected.is_some();
        let reply = self.app.change_order(change).await;
        let reply = reply.map_err(|error| status_of_write(&name, &error, is_repeatable))?;
        Ok(respond(reply))
    }
}

fn respond(reply: Reply<Order>) -> Response<proto::Order> {
    let mut response = Response::new(order_to_proto(&reply.answer));
    if let Some(Position { partition, n }) = reply.position {
        ConsistencyToken::from(EventsPlace { partition, n }).attach(&mut response);
    }
    if reply.replayed {
        mark_replay(&mut response);
    }
    response
}

/// Names the order of a request that has been checked.
fn checked<T>(name: Option<T>, violations: Violations) -> Result<T, Status> {
    violations.finish(DOMAIN)?;
    name.ok_or_else(|| meshwork_chassis::errors::internal(DOMAIN, &"a name passed its check and is not there"))
}

/// The version that an etag asks for.
fn expected(tag: &str, violations: &mut Violations) -> Option<i64> {
    etag::parse(tag).unwrap_or_else(|problem| {
        violations.add("etag", problem);
        None
    })
}

/// A resume token: the order's id and the version up to which its holder knows everything.
fn resume_token(name: &OrderName, version: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}@{version}", name.id()))
}

fn parse_resume_token(token: &str, name: Option<&OrderName>, violations: &mut Violations) -> i64 {
    if token.is_empty() {
        return 0;
    }
    let bytes = (token.len() <= MAX_RESUME_TOKEN).then(|| URL_SAFE_NO_PAD.decode(token).ok()).flatten();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let version = text.split_once('@').and_then(|(id, version)| {
        name.is_none_or(|name| name.id() == id).then_some(())?;
        version.parse().ok().filter(|version| *version >= 1)
    });
    version.unwrap_or_else(|| {
        violations.add("resume_token", "must be a resume_token that WatchOrder gave for this order, or empty");
        0
    })
}

/// The version behind which a page of events begins.
fn parse_version(cursor: &str, violations: &mut Violations) -> i64 {
    let version = cursor.parse().ok().filter(|version| *version >= 1);
    version.unwrap_or_else(|| {
        violations.add("page_token", "must be a next_page_token of this list");
        0
    })
}

/// As of when a GetOrder request asks.
fn read_as_of(request: &proto::GetOrderRequest, violations: &mut Violations) -> AsOf {
    violations.check(request.version >= 0, "version", "must not be negative");
    let Some(time) = &request.read_time else {
        return if request.version > 0 { AsOf::Version(request.version) } else { AsOf::Now };
    };
    violations.check(request.version == 0, "read_time", "must not be given together with version");
    from_timestamp(time).map_or_else(
        || {
            violations.add("read_time", "must be a time in the years 1 to 9999, its nanos 0 to 999,999,999");
            AsOf::Now
        },
        AsOf::Time,
    )
}

/// The parts of a CreateOrder request.
struct Placement {
    id: Option<RequestId>,
    name: Option<OrderName>,
    customer: Option<UserName>,
    lines: Vec<NewLine>,
    expected_total: Option<Money>,
}

fn read_placement(request: &proto::CreateOrderRequest) -> Result<Placement, Status> {
    let mut violations = Violations::new();
    let id = violations.request_id(&request.request_id);
    let name = (!request.order_id.is_empty()).then(|| {
        violations.uuid(&request.order_id, "order_id");
        OrderName::new(&request.order_id).ok()
    });
    let (mut customer, mut lines) = (None, Vec::new());
    match &request.order {
        None => violations.add("order", "is required"),
        Some(order) => {
            if !order.customer.is_empty() {
                customer = violations.name(&order.customer, "order.customer");
            }
            lines = read_lines(&order.lines, &mut violations);
        }
    }
    let expected_total = request.expected_total.as_ref().and_then(|money| {
        let expected = expected_money(money);
        let problem = "must be an amount of an ISO 4217 currency, not below zero, in whole steps of its smallest unit";
        violations.check(expected.is_some(), "expected_total", problem);
        expected
    });
    violations.finish(DOMAIN)?;
    Ok(Placement { id, name: name.flatten(), customer, lines, expected_total })
}

fn read_lines(lines: &[proto::order::Line], violations: &mut Violations) -> Vec<NewLine> {
    if !(1..=MAX_LINES).contains(&lines.len()) {
        violations.add("order.lines", format_args!("must have 1 to {MAX_LINES} lines"));
        return Vec::new();
    }
    let mut read: Vec<NewLine> = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let product: Option<ProductName> = violations.name(&line.product, &format!("order.lines[{at}].product"));
        violations.check(
            (1..=MAX_QUANTITY).contains(&line.quantity),
            &format!("order.lines[{at}].quantity"),
            "must be 1 to 1,000,000",
        );
        let Some(product) = product else { continue };
        if read.iter().any(|line| line.product == product) {
            violations.add(format_args!("order.lines[{at}].product"), format_args!("names {product} a second time"));
        }
        read.push(NewLine { product, quantity: line.quantity });
    }
    read
}

#[tonic::async_trait]
impl OrderService for OrderGrpc {
    async fn create_order(
        &self,
        request: Request<proto::CreateOrderRequest>,
    ) -> Result<Response<proto::Order>, Status> {
        let principal = Principal::of(&request);
        let mut request = request.into_inner();
        let Placement { id, name, customer, lines, expected_total } = read_placement(&request)?;
        request.request_id.clear();
        let caller = principal.user().cloned().ok_or_else(|| status("the order", &AppError::NotAllowed))?;
        let customer = customer.unwrap_or_else(|| caller.clone());
        let for_another = customer != caller;
        if for_another && !principal.is_staff() {
            return Err(not_for(&customer));
        }
        #[cfg(feature = "ablation")]
        let id = id.filter(|_| !meshwork_chassis::ablation::is_planted("forgets_requests"));
        let key = RequestKey::of(&principal, "CreateOrder", id, &request);
        let products: Vec<_> = lines.iter().map(|line| line.product.clone()).collect();
        let about = name.as_ref().map_or_else(|| "the order".to_owned(), ToString::to_string);
        let order = CreateOrder { name, customer, lines, for_another, expected_total, request: key };
        let is_repeatable = order.request.is_some();
        let reply = self.app.create_order(order).await;
        fail::fail_point!("orders::created");
        reply.map(respond).map_err(|error| match &error {
            AppError::Catalogue(CatalogueError::Missing(product)) => missing_product(&products, product),
            error => status_of_write(&about, error, is_repeatable),
        })
    }

    async fn get_order(&self, request: Request<proto::GetOrderRequest>) -> Result<Response<proto::Order>, Status> {
        let principal = Principal::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let name = violations.name(&request.name, "name");
        let as_of = read_as_of(&request, &mut violations);
        let name: OrderName = checked(name, violations)?;
        let order = self.app.get_order_as_of(&principal, &name, as_of).await;
        Ok(Response::new(order_to_proto(&order.map_err(|error| status(&name.to_string(), &error))?)))
    }

    async fn list_orders(
        &self,
        request: Request<proto::ListOrdersRequest>,
    ) -> Result<Response<proto::ListOrdersResponse>, Status> {
        let principal = Principal::of(&request);
        let mut violations = Violations::new();
        // What a caller has written to other services' databases doesn't concern the lists of orders.
        let seen = ConsistencyToken::of(&request, &mut violations).and_then(|token| token.events);
        let seen = seen.map(|EventsPlace { partition, n }| Position { partition, n });
        let request = request.into_inner();
        let terms = filter::parse(&request.filter, &["customer", "state"], &mut violations);
        let customer = terms.get("customer").and_then(|name| violations.name(name, "filter"));
        let state = terms.get("state").and_then(|word| {
            let state = state_from_word(word);
            let problem = format_args!("names the state {:?}, which orders don't have", echo(word));
            violations.check(state.is_some(), "filter", problem);
            state
        });
        let arguments = [request.filter.as_str()];
        let wanted = page::read(request.page_size, &request.page_token, &arguments, &mut violations);
        violations.finish(DOMAIN)?;
        let listed = self.app.list_orders(&principal, OrderFilter { customer, state }, &wanted, seen).await;
        let listed = listed.map_err(|error| status("the list", &error))?;
        let mut response = Response::new(proto::ListOrdersResponse {
            orders: listed.page.items.iter().map(order_to_proto).collect(),
            next_page_token: page::token(listed.page.next.as_deref(), &arguments),
        });
        if listed.stale {
            mark_stale(&mut response);
        }
        Ok(response)
    }

    async fn cancel_order(
        &self,
        request: Request<proto::CancelOrderRequest>,
    ) -> Result<Response<proto::Order>, Status> {
        let principal = Principal::of(&request);
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let name = violations.name(&request.name, "name");
        violations.text(&request.reason, "reason", 0, 200);
        let expected = expected(&request.etag, &mut violations);
        let id = violations.request_id(&std::mem::take(&mut request.request_id));
        let name = checked(name, violations)?;
        let key = RequestKey::of(&principal, "CancelOrder", id, &request);
        let reason = if request.reason.is_empty() { "cancelled on request".to_owned() } else { request.reason };
        let command = Command::Cancel { reason };
        self.change(ChangeOrder { name, principal, command, verb: "cancel", expected, request: key }).await
    }

    async fn ship_order(&self, request: Request<proto::ShipOrderRequest>) -> Result<Response<proto::Order>, Status> {
        let principal = Principal::of(&request);
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let name = violations.name(&request.name, "name");
        violations.text(&request.tracking_number, "tracking_number", 1, 100);
        let expected = expected(&request.etag, &mut violations);
        let id = violations.request_id(&std::mem::take(&mut request.request_id));
        let name = checked(name, violations)?;
        let key = RequestKey::of(&principal, "ShipOrder", id, &request);
        let command = Command::Ship { tracking_number: request.tracking_number };
        self.change(ChangeOrder { name, principal, command, verb: "ship", expected, request: key }).await
    }

    async fn deliver_order(
        &self,
        request: Request<proto::DeliverOrderRequest>,
    ) -> Result<Response<proto::Order>, Status> {
        let principal = Principal::of(&request);
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let name = violations.name(&request.name, "name");
        let expected = expected(&request.etag, &mut violations);
        let id = violations.request_id(&std::mem::take(&mut request.request_id));
        let name = checked(name, violations)?;
        let key = RequestKey::of(&principal, "DeliverOrder", id, &request);
        let command = Command::Deliver;
        self.change(ChangeOrder { name, principal, command, verb: "deliver", expected, request: key }).await
    }

    async fn list_order_events(
        &self,
        request: Request<proto::ListOrderEventsRequest>,
    ) -> Result<Response<proto::ListOrderEventsResponse>, Status> {
        let principal = Principal::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let name = violations.name(&request.parent, "parent");
        let arguments = [request.parent.as_str()];
        let wanted = page::read(request.page_size, &request.page_token, &arguments, &mut violations);
        let cursor = wanted.after.as_deref().map(|cursor| parse_version(cursor, &mut violations));
        let name: OrderName = checked(name, violations)?;
        let after = cursor.unwrap_or(0);
        let (order, events) = self
            .app
            .list_order_events(&principal, &name, after, wanted.size + 1)
            .await
            .map_err(|error| status(&name.to_string(), &error))?;
        let events: Vec<_> =
            events.iter().map(|event| (event.version, event_to_proto(&order, event, &principal))).collect();
        let bytes = |event: &proto::OrderEvent| event.encoded_len();
        let page = page::Page::cut(events, wanted.size, |(version, _)| version.to_string(), |(_, event)| bytes(event));
        Ok(Response::new(proto::ListOrderEventsResponse {
            order_events: page.items.into_iter().map(|(_, event)| event).collect(),
            next_page_token: page::token(page.next.as_deref(), &arguments),
        }))
    }

    type WatchOrderStream = ReceiverStream<Result<proto::WatchOrderResponse, Status>>;

    async fn watch_order(
        &self,
        request: Request<proto::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let principal = Principal::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let name: Option<OrderName> = violations.name(&request.name, "name");
        let after = parse_resume_token(&request.resume_token, name.as_ref(), &mut violations);
        let name = checked(name, violations)?;
        let watch = self.app.watch_order(&principal, &name, after).await;
        let watch = watch.map_err(|error| status(&name.to_string(), &error))?;
        let (responses, stream) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(follow(watch, name, principal, responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends each change until the order is final or the caller has gone. When the service stops, the server ends the stream.
async fn follow(
    mut watch: OrderWatch,
    name: OrderName,
    viewer: Principal,
    responses: mpsc::Sender<Result<proto::WatchOrderResponse, Status>>,
) {
    loop {
        let next = tokio::select! {
            () = responses.closed() => return,
            next = watch.next() => next,
        };
        let response = match next {
            Ok(Some(OrderChange { recorded, order })) => Ok(proto::WatchOrderResponse {
                order_event: Some(event_to_proto(&order, &recorded, &viewer)),
                resume_token: resume_token(&name, recorded.version),
                order: Some(order_to_proto(&order)),
            }),
            Ok(None) => return,
            Err(error) => Err(status(&name.to_string(), &error)),
        };
        let failed = response.is_err();
        if responses.send(response).await.is_err() || failed {
            return;
        }
    }
}
