//! What clients were told is held against a sound shop: each answer that does not stand is told.

use time::OffsetDateTime;
use uuid::Uuid;

use super::judge;
use super::planted::sound;
use crate::audit::evidence::{Evidence, Order};
use crate::audit::requests::Requests;
use crate::audit::verdict::{Finding, Verdict};
use crate::history::{Amount, Answer, Call, Line, Method, Record};

/// A history of one order, answered with this name.
fn history(order: &str, quantity: u32) -> Requests {
    let mut history = Requests::default();
    asked(&mut history, "r", Method::CreateOrder, order, quantity, quantity.into());
    history
}

/// Adds a call and its answer.
fn asked(history: &mut Requests, request: &str, method: Method, order: &str, quantity: u32, units: i64) {
    let (call, time) = (Uuid::new_v4(), OffsetDateTime::UNIX_EPOCH);
    let lines = match method {
        Method::CreateOrder => vec![Line { product: "products/1".to_owned(), quantity }],
        _ => Vec::new(),
    };
    let (request, customer) = (request.to_owned(), "users/1".to_owned());
    history.add(Record::Call(Call { call, request, time, method, customer, order: None, lines }));
    history.add(Record::Answer(Answer {
        call,
        time,
        status: "OK".to_owned(),
        unknown: false,
        order: Some(order.to_owned()),
        state: Some("PENDING".to_owned()),
        etag: Some("\"v1\"".to_owned()),
        total: Some(Amount { currency_code: "EUR".to_owned(), units, nanos: 0 }),
    }));
}

/// What is told of the invariant on a sound shop with this history.
#[track_caller]
fn told_of(id: &str, history: &Requests) -> Verdict {
    judge(&sound(), Some(history)).into_iter().find(|verdict| verdict.id == id).unwrap()
}

#[test]
fn i4_answers_that_do_not_stand() {
    let verdict = told_of("I4", &history("orders/b", 2));
    assert_eq!((verdict.finding(), verdict.checked), (Finding::Holds, 1), "{verdict:?}");
    for (order, quantity, words) in [("orders/x", 2, "is not there"), ("orders/b", 3, "other lines")] {
        let mut history = Requests::default();
        asked(&mut history, "r", Method::CreateOrder, order, quantity, 2);
        let verdict = told_of("I4", &history);
        assert_eq!(verdict.finding(), Finding::Violated);
        let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
        assert!(example.subject == order && example.problem.contains(words), "{verdict:?}");
    }
    let mut evidence = sound();
    let orders = evidence.sources.iter_mut().find(|source| source.service == "orders").unwrap();
    let again = orders.events[0].clone();
    orders.events.push(again);
    let verdict = judge(&evidence, Some(&history("orders/a", 1))).remove(3);
    assert!(verdict.examples[0].problem.contains("was created 2 times"), "{verdict:?}");
}

#[test]
fn i4_commands_whose_effect_is_gone() {
    for (method, order, units, stands) in [
        (Method::CancelOrder, "orders/c", 3, true),
        (Method::CancelOrder, "orders/d", 4, false),
        (Method::ShipOrder, "orders/a", 1, true),
        (Method::ShipOrder, "orders/d", 4, false),
        (Method::DeliverOrder, "orders/a", 1, true),
        (Method::DeliverOrder, "orders/d", 4, false),
    ] {
        let mut history = Requests::default();
        asked(&mut history, "r", method, order, 1, units);
        let verdict = told_of("I4", &history);
        assert_eq!(verdict.finding() == Finding::Holds, stands, "{verdict:?}");
        assert!(stands || verdict.examples[0].problem.contains("was answered to a client, and it is"), "{verdict:?}");
    }
}

/// Sees that an order was answered otherwise than it is, in such words.
#[track_caller]
fn answered_otherwise(words: &str, damage: impl FnOnce(&mut Evidence)) {
    let mut evidence = sound();
    damage(&mut evidence);
    let verdict = judge(&evidence, Some(&history("orders/b", 2))).remove(3);
    let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
    assert!(example.subject == "orders/b" && example.problem.contains(words), "{verdict:?}");
}

#[test]
fn i4_an_order_that_is_another_than_was_answered() {
    fn order(shop: &mut Evidence) -> &mut Order {
        shop.folded[1].order.as_mut().unwrap()
    }
    answered_otherwise("it is of users/2", |shop| order(shop).customer = "users/2".into());
    answered_otherwise("another total", |shop| order(shop).total = None);
    answered_otherwise("version 1, and its last is 0", |shop| order(shop).version = 0);
}

#[test]
fn i4_an_order_of_a_request_of_which_every_try_was_refused() {
    let judged = |answers: &[(&str, bool)], customer: &str| {
        let mut history = Requests::default();
        for (status, unknown) in answers {
            let (call, time) = (Uuid::new_v4(), OffsetDateTime::UNIX_EPOCH);
            let (method, customer) = (Method::CreateOrder, customer.to_owned());
            let lines = vec![Line { product: "products/1".to_owned(), quantity: 2 }];
            let request = "by orders/b".to_owned();
            history.add(Record::Call(Call { call, request, time, method, customer, order: None, lines }));
            let (status, unknown) = ((*status).to_owned(), *unknown);
            let order = (status == "OK").then(|| "orders/b".to_owned());
            let (state, etag, total) = (None, None, None);
            history.add(Record::Answer(Answer { call, time, status, unknown, order, state, etag, total }));
        }
        told_of("I4", &history)
    };
    let (refused, unknown) = (("FAILED_PRECONDITION", false), ("UNAVAILABLE", true));
    let verdict = judged(&[refused, refused], "users/1");
    let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
    assert!(example.subject == "orders/b" && example.problem.contains("every try"), "{verdict:?}");
    for (answers, customer) in [
        (&[unknown, refused][..], "users/1"),
        (&[("OK", false), refused][..], "users/1"),
        // Somebody else has sent a request of the same id.
        (&[refused][..], "users/2"),
    ] {
        assert_eq!(judged(answers, customer).finding(), Finding::Holds, "{answers:?}");
    }
}

#[test]
fn i4_a_call_without_an_answer_may_have_been_carried_out_or_not() {
    let mut history = history("orders/b", 2);
    let lines = vec![Line { product: "products/1".to_owned(), quantity: 1 }];
    let (call, time, request) = (Uuid::new_v4(), OffsetDateTime::UNIX_EPOCH, "lost".to_owned());
    let (method, customer) = (Method::CreateOrder, "users/1".to_owned());
    history.add(Record::Call(Call { call, request, time, method, customer, order: None, lines }));
    let unknown = Answer {
        call,
        time,
        status: "UNAVAILABLE".to_owned(),
        unknown: true,
        order: None,
        state: None,
        etag: None,
        total: None,
    };
    for id in ["I4", "I11"] {
        assert_eq!(told_of(id, &history).finding(), Finding::Holds);
    }
    history.add(Record::Answer(unknown.clone()));
    for id in ["I4", "I11"] {
        assert_eq!(told_of(id, &history).finding(), Finding::Holds);
    }
    // Nobody knows what it answers.
    history.add(Record::Answer(Answer { call: Uuid::nil(), ..unknown }));
    let verdict = told_of("I4", &history);
    let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
    assert!(example.subject == format!("call {}", Uuid::nil()) && example.problem.contains("no such call"));
}

/// What is answered with OK: the order, its state and its etag.
type Told<'a> = Option<(&'a str, &'a str, &'a str)>;
/// A call: its request, its method, the order that it is about, and its answers.
type Sent<'a> = (&'a str, Method, Option<&'a str>, &'a [Told<'a>]);

/// A history of these calls.
fn told_history(calls: &[Sent<'_>]) -> Requests {
    let mut history = Requests::default();
    for (request, method, about, answers) in calls {
        let (call, time, method) = (Uuid::new_v4(), OffsetDateTime::UNIX_EPOCH, *method);
        let (request, customer, order) = ((*request).to_owned(), "users/1".to_owned(), about.map(str::to_owned));
        let lines = vec![Line { product: "products/1".to_owned(), quantity: 2 }];
        history.add(Record::Call(Call { call, request, time, method, customer, order, lines }));
        for answer in *answers {
            history.add(Record::Answer(Answer {
                call,
                time,
                status: "OK".to_owned(),
                unknown: false,
                order: answer.map(|(order, ..)| order.to_owned()),
                state: answer.map(|(_, state, _)| state.to_owned()),
                etag: answer.map(|(.., etag)| etag.to_owned()),
                total: None,
            }));
        }
    }
    history
}

/// Sees that an invariant is violated by a history, once, about this subject and in such words.
#[track_caller]
fn told_once(id: &str, history: &Requests, subject: &str, words: &str) {
    let verdict = told_of(id, history);
    let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
    assert!(example.subject == subject && example.problem.contains(words), "{verdict:?}");
}

#[test]
fn i4_an_answer_with_a_state_or_an_etag_that_its_order_never_had() {
    let answered = |state, etag| {
        let answers = [Some(("orders/b", state, etag))];
        told_history(&[("r", Method::CreateOrder, None, &answers)])
    };
    for (state, etag) in [("PENDING", "\"v1\""), ("REJECTED", "\"v2\"")] {
        assert_eq!(told_of("I4", &answered(state, etag)).finding(), Finding::Holds);
    }
    for (state, etag, words) in [
        ("CONFIRMED", "\"v1\"", "as CONFIRMED at version 1, where it is PENDING"),
        ("PENDING", "\"v2\"", "where it is REJECTED"),
        ("PENDING", "v1", "the etag v1, which is none"),
        ("PENDING", "\"v0\"", "which is none"),
        ("PENDING", "\"v3\"", "its last is 2"),
    ] {
        told_once("I4", &answered(state, etag), "orders/b", words);
    }
}

#[test]
fn i4_answers_about_another_order_or_about_none() {
    let other = Some(("orders/c", "CANCELLED", "\"v4\""));
    let cancelled = |about| told_history(&[("r", Method::CancelOrder, Some(about), &[other])]);
    assert_eq!(told_of("I4", &cancelled("orders/c")).finding(), Finding::Holds);
    told_once("I4", &cancelled("orders/d"), "orders/c", "it was answered to CancelOrder of orders/d");
    let none = told_history(&[("r", Method::CreateOrder, None, &[None])]);
    told_once("I4", &none, "request r", "without an order");
}

#[test]
fn i11_a_call_that_was_answered_twice_and_an_order_of_two_requests() {
    let (first, other) = (Some(("orders/b", "PENDING", "\"v1\"")), Some(("orders/d", "PENDING", "\"v1\"")));
    let twice = told_history(&[("r", Method::CreateOrder, None, &[first, first])]);
    assert_eq!(told_of("I11", &twice).finding(), Finding::Holds);
    let otherwise = told_of("I11", &told_history(&[("r", Method::CreateOrder, None, &[first, other])]));
    let problems: Vec<_> = otherwise.examples.iter().map(|example| example.problem.as_str()).collect();
    assert_eq!(
        problems,
        ["CreateOrder was answered with orders/b and orders/d", "a call of it was answered twice, in two ways"]
    );
    let answers = [first];
    let of_two =
        told_history(&[("r", Method::CreateOrder, None, &answers), ("s", Method::CreateOrder, None, &answers)]);
    told_once("I11", &of_two, "orders/b", "two requests were answered with it, r and s");
}

#[test]
fn a_history_without_calls_is_said_to_be_empty() {
    for id in ["I4", "I11"] {
        let verdict = told_of(id, &Requests::default());
        assert!(verdict.finding() == Finding::Holds && verdict.detail.contains("empty"), "{verdict:?}");
    }
}

#[test]
fn i11_requests_that_were_answered_in_two_ways() {
    let mut same = history("orders/b", 2);
    asked(&mut same, "r", Method::CreateOrder, "orders/b", 2, 2);
    assert_eq!(told_of("I11", &same).finding(), Finding::Holds);
    for (order, units, words) in [("orders/a", 1, "orders/a and orders/b"), ("orders/b", 9, "in 2 ways")] {
        let mut history = history("orders/b", 2);
        asked(&mut history, "r", Method::CreateOrder, order, 2, units);
        let verdict = told_of("I11", &history);
        let [example] = &verdict.examples[..] else { panic!("{verdict:?}") };
        assert!(example.subject == "request r" && example.problem.contains(words), "{verdict:?}");
    }
}
