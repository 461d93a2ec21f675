//! I4, I11: what was answered stands, and once.

use std::collections::{HashMap, HashSet};

use meshwork_aip::etag;
use meshwork_api::meshwork::orders::v1::order::State;

use super::index::Index;
use crate::audit::evidence::{Event, Evidence, Name, Order};
use crate::audit::requests::{Asked, Requests, Told};
use crate::audit::verdict::Verdict;
use crate::history::Method;

const ACKNOWLEDGED: (&str, &str) = ("I4", "what was answered to clients stands");

/// What is said of a history that holds no calls.
const EMPTY: &str = "the history is empty: it has no calls";

/// I4.
pub fn acknowledged(index: &Index<'_>, history: Option<&Requests>) -> Verdict {
    let (id, title) = ACKNOWLEDGED;
    let Some(history) = history else { return Verdict::not_judged(id, title, "no history") };
    let mut verdict = Verdict::new(id, title);
    for asked in &history.asked {
        if asked.method == Method::CreateOrder && asked.tries > 0 && asked.tries == asked.refused {
            let made = made_by(index, asked);
            verdict.check(made.is_none(), made.map_or("", |order| order.name.as_ref()), || {
                format!("it is there, and every try of its request {} was refused", asked.request)
            });
        }
        let Asked { request, method, .. } = asked;
        if asked.empty > 0 {
            verdict.check(false, format_args!("request {request}"), || {
                format!("{method:?} was answered with OK, and without an order")
            });
        }
        for told in &asked.told {
            let problem = lost(index, asked, told);
            verdict.check(problem.is_none(), &told.order, || {
                format!("{} (request {request})", problem.unwrap_or_default())
            });
        }
    }
    for call in &history.stray {
        verdict.check(false, format_args!("call {call}"), || {
            "it is answered, and the history has no such call before".to_owned()
        });
    }
    if history.asked.is_empty() {
        EMPTY.clone_into(&mut verdict.detail);
    }
    verdict
}

/// The order that a request has created.
fn made_by<'e>(index: &Index<'e>, asked: &Asked) -> Option<&'e Order> {
    let order = index.order(index.created.get(asked.request.as_str())?)?;
    // Others may have sent a request of the same id.
    (*order.customer == *asked.customer).then_some(order)
}

/// What of an answer doesn't stand.
fn lost(index: &Index<'_>, asked: &Asked, told: &Told) -> Option<String> {
    let name = told.order.as_str();
    let Some(order) = index.order(name) else {
        return Some("it was answered to a client, and is not there".to_owned());
    };
    let created = index.events_of(name).iter().filter(|event| event.kind.as_ref() == "order_created").count();
    if created != 1 {
        return Some(format!("it was answered to a client, and was created {created} times"));
    }
    if let Some(wanted) = asked.order.as_deref().filter(|wanted| *wanted != name) {
        return Some(format!("it was answered to {:?} of {wanted}", asked.method));
    }
    if *order.customer != *asked.customer {
        return Some(format!("it is of {}, and was answered as one of {}", order.customer, asked.customer));
    }
    if told.total.is_some() && told.total != order.total {
        return Some("it has another total than was answered".to_owned());
    }
    if let Some(problem) = another_version(index, order, told) {
        return Some(problem);
    }
    let admits = |states: &[State]| states.contains(&order.state);
    let stands = match asked.method {
        Method::CreateOrder => has_lines(order, asked),
        Method::CancelOrder => admits(&[State::Cancelled]),
        Method::ShipOrder => admits(&[State::Shipped, State::Delivered]),
        Method::DeliverOrder => admits(&[State::Delivered]),
    };
    let state = order.state.as_str_name();
    (!stands).then(|| match asked.method {
        Method::CreateOrder => "it has other lines than the client has asked for".to_owned(),
        method => format!("{method:?} was answered to a client, and it is {state}"),
    })
}

/// What of the version and the state of an answer the order has never had together.
fn another_version(index: &Index<'_>, order: &Order, told: &Told) -> Option<String> {
    let etag = told.etag.as_deref()?;
    let Some(version) = etag::parse(etag).ok().flatten().filter(|version| *version >= 1) else {
        return Some(format!("it was answered with the etag {etag}, which is none"));
    };
    if version > order.version {
        return Some(format!("it was answered at version {version}, and its last is {}", order.version));
    }
    let state = state_at(index.events_of(&order.name), version)?.as_str_name().trim_start_matches("STATE_");
    let told = told.state.as_deref()?;
    (told != state).then(|| format!("it was answered as {told} at version {version}, where it is {state}"))
}

/// The state that an order had at a version.
fn state_at(events: &[&Event], version: i64) -> Option<State> {
    let state = |event: &&Event| match event.kind.as_ref() {
        "order_created" => Some(State::Pending),
        "order_confirmed" => Some(State::Confirmed),
        "order_rejected" => Some(State::Rejected),
        "order_shipped" => Some(State::Shipped),
        "order_delivered" => Some(State::Delivered),
        "order_cancelled" => Some(State::Cancelled),
        _ => None,
    };
    events.iter().filter(|event| event.version <= version).rev().find_map(state)
}

fn has_lines(order: &Order, asked: &Asked) -> bool {
    let wanted: HashSet<(&str, i64)> =
        asked.lines.iter().map(|line| (line.product.as_str(), i64::from(line.quantity))).collect();
    let has: HashSet<(&str, i64)> = order.lines.iter().map(|line| (line.product.as_ref(), line.quantity)).collect();
    has == wanted
}

/// I11.
pub fn once(evidence: &Evidence, history: Option<&Requests>) -> Verdict {
    let mut verdict = Verdict::new("I11", "one command makes one commit, and one request one order");
    for source in &evidence.sources {
        let mut seen = HashSet::new();
        let mut made: HashMap<u64, &Name> = HashMap::new();
        for commit in &source.commits {
            let Some(command) = commit.command else { continue };
            verdict.check(commit.tombstone || seen.insert((&commit.subject, command)), &commit.subject, || {
                format!("a command has made two commits, the second at {:?}", commit.place)
            });
            if !commit.creates {
                continue;
            }
            let first = *made.entry(command).or_insert(&commit.subject);
            if *first != commit.subject {
                verdict.violated(&commit.subject, format!("the request that has made it has made {first} too"));
            }
        }
    }
    let Some(history) = history else {
        verdict.detail = "no history: what requests were answered is not judged".to_owned();
        return verdict;
    };
    if history.asked.is_empty() {
        EMPTY.clone_into(&mut verdict.detail);
    }
    let mut created: HashMap<&str, &str> = HashMap::new();
    for Asked { request, told, method, answered_again, .. } in &history.asked {
        verdict.check(told.len() <= 1, format_args!("request {request}"), || {
            let orders: HashSet<_> = told.iter().map(|told| told.order.as_str()).collect();
            match orders.len() {
                1 => format!("{method:?} was answered in {} ways", told.len()),
                _ => {
                    let mut orders: Vec<_> = orders.into_iter().collect();
                    orders.sort_unstable();
                    format!("{method:?} was answered with {}", orders.join(" and "))
                }
            }
        });
        if *answered_again > 0 {
            verdict.violated(format_args!("request {request}"), "a call of it was answered twice, in two ways");
        }
        for told in told.iter().filter(|_| *method == Method::CreateOrder) {
            let first = *created.entry(&told.order).or_insert(request);
            if first != request {
                verdict.violated(&told.order, format!("two requests were answered with it, {first} and {request}"));
            }
        }
    }
    verdict
}
