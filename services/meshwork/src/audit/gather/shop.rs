//! What the services show of themselves: products, reservations, orders, letters, and what is parked.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt};
use meshwork_aip::etag;
use meshwork_api::meshwork::admin::v1 as admin_pb;
use meshwork_api::meshwork::admin::v1::audit_service_client::AuditServiceClient;
use meshwork_api::meshwork::admin::v1::dead_letter_service_client::DeadLetterServiceClient;
use meshwork_api::meshwork::admin::v1::projection_service_client::ProjectionServiceClient;
use meshwork_api::meshwork::notifications::v1::notification_service_client::NotificationServiceClient;
use meshwork_api::meshwork::notifications::v1::{ListNotificationsRequest, ListNotificationsResponse};
use meshwork_api::meshwork::orders::v1 as orders_pb;
use meshwork_api::meshwork::orders::v1::order::State;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::products::v1 as products_pb;
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use tonic::Status;

use super::calls::{Calls, definite};
use super::names::Names;
use crate::audit::evidence::{Letter, Line, List, Order, Parked, Refused, Reservation, Stock, Term};
use crate::audit::fold::{amount, content};
use crate::cli::Parking;

/// How many are asked for at once: as many as a page may have.
const PAGE: i32 = 200;
/// How many calls are under way at once.
const CALLS: usize = 32;
/// How many orders are asked for by themselves: the gateway lets an account make a few calls a second.
const ASKED: usize = 32;
/// By how many customers orders are listed, and how many pages of each list that is narrowed are looked at.
const CUSTOMERS: usize = 16;
const PAGES: usize = 5;
/// The states that orders are listed by.
const STATES: [State; 6] =
    [State::Pending, State::Confirmed, State::Rejected, State::Shipped, State::Delivered, State::Cancelled];
/// How many parked events of a service are told.
const PARKED: usize = 1000;

/// All reservations.
pub async fn reservations(calls: &Calls<'_>, names: &Names) -> Result<Vec<Reservation>, Status> {
    let mut found = Vec::new();
    let ask = |page_token| {
        let request = products_pb::ListReservationsRequest { page_size: PAGE, page_token, ..Default::default() };
        let (mut client, request) = (InventoryServiceClient::new(calls.channel()), calls.request(None, request));
        async move { client.list_reservations(request).await }
    };
    let take = |page: products_pb::ListReservationsResponse| {
        found.extend(page.reservations.iter().map(|kept| Reservation {
            order: names.of(&kept.order),
            state: kept.state(),
            lines: kept.lines.iter().map(|line| (names.of(&line.product), line.quantity)).collect(),
        }));
        page.next_page_token
    };
    calls.pages(ask, take).await?;
    Ok(found)
}

/// The stocks of all products that are for sale.
pub async fn stocks(calls: &Calls<'_>, names: &Names) -> Result<Vec<Stock>, Status> {
    let mut found = Vec::new();
    let ask = || {
        let request = calls.request(Some(Parking::Products), admin_pb::ReadStocksRequest {});
        let mut client = AuditServiceClient::new(calls.channel());
        async move { client.read_stocks(request).await }
    };
    let take = |page: admin_pb::ReadStocksResponse| {
        found.extend(page.stocks.into_iter().map(|stock| {
            let admin_pb::ProductStock { product, available, held, allocated, shipped, received } = stock;
            Stock { product: names.of(&product), available, held, allocated, shipped, received }
        }));
    };
    calls.stream(ask, take).await?;
    Ok(found)
}

/// All orders, as lists show them.
pub async fn orders(calls: &Calls<'_>, names: &Names) -> Result<Vec<Order>, Status> {
    let mut found = Vec::new();
    let ask = |page_token| {
        let request = orders_pb::ListOrdersRequest { page_size: PAGE, page_token, ..Default::default() };
        let (mut client, request) = (OrderServiceClient::new(calls.channel()), calls.request(None, request));
        async move { client.list_orders(request).await }
    };
    let take = |page: orders_pb::ListOrdersResponse| {
        found.extend(page.orders.iter().map(|order| shown(names, order)));
        page.next_page_token
    };
    calls.pages(ask, take).await?;
    Ok(found)
}

/// Some of the orders, as they are shown by themselves: from all over the list. Those that are definitely not shown are
/// told too.
pub async fn asked(calls: &Calls<'_>, names: &Names, listed: &[Order]) -> Result<(Vec<Order>, Vec<Refused>), Status> {
    let some = listed.iter().step_by(listed.len().div_ceil(ASKED).max(1)).map(|order| order.name.clone());
    let asked = some.map(|name| async move {
        let ask = || {
            let request = orders_pb::GetOrderRequest { name: name.to_string(), ..Default::default() };
            let (mut client, request) = (OrderServiceClient::new(calls.channel()), calls.request(None, request));
            async move { client.get_order(request).await }
        };
        let answer = calls.answer(ask).await;
        match answer {
            Ok(order) => Ok(Ok(shown(names, &order))),
            Err(status) => definite(status).map(|answer| Err(Refused { subject: name, answer })),
        }
    });
    let answers: Vec<Result<Order, Refused>> =
        futures_util::stream::iter(asked).buffer_unordered(CALLS).try_collect().await?;
    let (mut orders, mut refused) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(order) => orders.push(order),
            Err(answer) => refused.push(answer),
        }
    }
    Ok((orders, refused))
}

/// Lists as users narrow them: to each state, and to some of the customers. Those that are definitely refused are told too.
pub async fn lists(calls: &Calls<'_>, names: &Names, listed: &[Order]) -> Result<(Vec<List>, Vec<Refused>), Status> {
    let mut known = HashSet::new();
    let customers: Vec<&Order> = listed.iter().filter(|order| known.insert(order.customer.clone())).collect();
    let some = customers.iter().step_by(customers.len().div_ceil(CUSTOMERS).max(1));
    let terms: Vec<Term> =
        STATES.into_iter().map(Term::State).chain(some.map(|order| Term::Customer(order.customer.clone()))).collect();
    let (mut lists, mut refused) = (Vec::new(), Vec::new());
    for term in terms {
        let subject = format!("orders with {term}");
        match narrowed(calls, names, term).await {
            Ok(list) => lists.push(list),
            Err(status) => refused.push(Refused { subject: names.of(&subject), answer: definite(status)? }),
        }
    }
    Ok((lists, refused))
}

/// A list from its beginning, as far as it is looked at.
async fn narrowed(calls: &Calls<'_>, names: &Names, term: Term) -> Result<List, Status> {
    let filter = term.to_string();
    let mut list = List { term, names: Vec::new(), is_cut: false };
    let ask = |page_token| {
        let filter = filter.clone();
        let request = orders_pb::ListOrdersRequest { page_size: PAGE, page_token, filter };
        let (mut client, request) = (OrderServiceClient::new(calls.channel()), calls.request(None, request));
        async move { client.list_orders(request).await }
    };
    let mut pages = 0;
    let take = |page: orders_pb::ListOrdersResponse| {
        list.names.extend(page.orders.iter().map(|order| names.of(&order.name)));
        pages += 1;
        list.is_cut = pages == PAGES && !page.next_page_token.is_empty();
        if list.is_cut { String::new() } else { page.next_page_token }
    };
    calls.pages(ask, take).await?;
    Ok(list)
}

fn shown(names: &Names, order: &orders_pb::Order) -> Order {
    let line = |line: &orders_pb::order::Line| Line {
        product: names.of(&line.product),
        quantity: line.quantity,
        content: content(&line.display_name, line.unit_price.as_ref()),
    };
    Order {
        name: names.of(&order.name),
        customer: names.of(&order.customer),
        lines: order.lines.iter().map(line).collect(),
        total: order.total.as_ref().map(amount),
        state: order.state(),
        state_reason: order.state_reason.clone(),
        tracking_number: order.tracking_number.clone(),
        version: etag::parse(&order.etag).ok().flatten().unwrap_or_default(),
        allocated: order.allocate_time.as_ref().map(|time| (time.seconds, time.nanos)),
        created: order.create_time.as_ref().map(|time| (time.seconds, time.nanos)),
        updated: order.update_time.as_ref().map(|time| (time.seconds, time.nanos)),
    }
}

/// All letters.
pub async fn letters(calls: &Calls<'_>, names: &Names) -> Result<Vec<Letter>, Status> {
    let mut found = Vec::new();
    let ask = |page_token| {
        let request = ListNotificationsRequest { page_size: PAGE, page_token, ..Default::default() };
        let (mut client, request) = (NotificationServiceClient::new(calls.channel()), calls.request(None, request));
        async move { client.list_notifications(request).await }
    };
    let take = |page: ListNotificationsResponse| {
        found.extend(page.notifications.into_iter().map(|letter| Letter {
            state: letter.state(),
            about: names.of(&letter.about),
            template: names.of(&letter.template),
            recipient: names.of(&letter.recipient),
            attempts: letter.attempts,
            handed_over: letter.send_time.is_some(),
            name: letter.name,
            event_id: letter.event_id,
        }));
        page.next_page_token
    };
    calls.pages(ask, take).await?;
    Ok(found)
}

/// What is parked: events of each service, and orders that the lists can't follow.
pub async fn parked(calls: &Calls<'_>) -> Result<Vec<Parked>, Status> {
    let mut found = Vec::new();
    for service in Parking::ALL {
        let mut of_service = Vec::new();
        let ask = |page_token| {
            let request = admin_pb::ListDeadLettersRequest { page_size: PAGE, page_token, ..Default::default() };
            let request = calls.request(Some(service), request);
            let mut client = DeadLetterServiceClient::new(calls.channel());
            async move { client.list_dead_letters(request).await }
        };
        let take = |page: admin_pb::ListDeadLettersResponse| {
            of_service.extend(page.dead_letters.into_iter().map(|letter| Parked {
                place: format!("{} of {}", letter.consumer, service.as_str()),
                subject: letter.subject,
                reason: letter.reason,
            }));
            // More need nobody to be counted.
            if of_service.len() < PARKED { page.next_page_token } else { String::new() }
        };
        calls.pages(ask, take).await?;
        found.append(&mut of_service);
    }
    let projections = calls.answer(|| {
        let request = calls.request(None, admin_pb::ListProjectionsRequest::default());
        let mut client = ProjectionServiceClient::new(calls.channel());
        async move { client.list_projections(request).await }
    });
    for projection in projections.await?.projections {
        for parked in projection.versions.into_iter().flat_map(|version| version.parked_streams) {
            let place = projection.name.clone();
            found.push(Parked { place, subject: parked.stream, reason: parked.reason });
        }
    }
    Ok(found)
}
