//! Every invariant holds in a sound shop, and each kind of damage is told by the invariant that it violates.

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order::State;
use meshwork_api::meshwork::products::v1::reservation;

use super::judge;
use super::planted::{NOW, sound};
use crate::audit::evidence::{Carried, Evidence, Letter, List, Parked, Refused, Source, Term};
use crate::audit::verdict::{Finding, Verdict};

/// The verdicts on a sound shop with this damage.
fn verdicts(damage: impl FnOnce(&mut Evidence)) -> Vec<Verdict> {
    let mut evidence = sound();
    damage(&mut evidence);
    judge(&evidence, None)
}

/// Sees that damage is told by this invariant, about this subject and in such words.
#[track_caller]
fn told(id: &str, subject: &str, words: &str, damage: impl FnOnce(&mut Evidence)) {
    let verdicts = verdicts(damage);
    let verdict = verdicts.iter().find(|verdict| verdict.id == id).unwrap();
    let is_told = verdict.examples.iter().any(|example| example.subject == subject && example.problem.contains(words));
    assert!(is_told && verdict.finding() == Finding::Violated, "{verdict:?}");
}

/// The invariants that damage violates.
fn violated(damage: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let verdicts = verdicts(damage);
    verdicts.iter().filter(|verdict| verdict.finding() == Finding::Violated).map(|verdict| verdict.id).collect()
}

fn source<'e>(evidence: &'e mut Evidence, service: &str) -> &'e mut Source {
    evidence.sources.iter_mut().find(|source| source.service == service).unwrap()
}

/// What is published of the orders.
fn carried(evidence: &mut Evidence) -> &mut Vec<Carried> {
    &mut source(evidence, "orders").carried
}

#[test]
fn in_a_sound_shop_all_hold_and_something_was_looked_at_for_each() {
    let verdicts = verdicts(|_| {});
    let ids: Vec<_> = verdicts.iter().map(|verdict| verdict.id).collect();
    assert_eq!(ids, ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I14", "I15"]);
    for verdict in &verdicts {
        let expected = if verdict.id == "I4" { Finding::NotJudged } else { Finding::Holds };
        assert_eq!(verdict.finding(), expected, "{verdict:?}");
        // In a sound shop nothing is parked.
        assert!(verdict.checked > 0 || ["I4", "I15"].contains(&verdict.id), "{verdict:?}");
    }
    assert!(verdicts[3].detail.contains("no history") && verdicts[10].detail.contains("no history"));
}

#[test]
fn i1_pieces_that_are_nowhere_or_less_than_none() {
    told("I1", "products/1", "of 10", |shop| shop.stocks[0].available += 1);
    told("I1", "products/1", "-5 available", |shop| {
        shop.stocks[0].available = -5;
        shop.stocks[0].received = 0;
    });
}

#[test]
fn i2_stocks_that_reservations_do_not_explain() {
    told("I2", "products/1", "reservations have 0, 4, 1", |shop| shop.stocks[0].held = 1);
    told("I2", "products/1", "there is no stock", |shop| shop.stocks.clear());
    told("I2", "products/1", "reservations have 0, 5, 1", |shop| shop.reservations[3].lines[0].1 = 5);
}

#[test]
fn i3_pieces_that_are_sold_twice() {
    told("I3", "products/1", "orders have 5 of it", |shop| shop.stocks[0].received = 4);
    told("I3", "products/1", "reservations keep 11", |shop| shop.reservations[3].lines[0].1 = 10);
}

#[test]
fn i5_orders_that_wait() {
    let folded = |shop: &mut Evidence, state| shop.folded[3].order.as_mut().unwrap().state = state;
    told("I5", "orders/d", "waits for the inventory", |shop| folded(shop, State::Pending));
    told("I5", "orders/d", "not allocated", |shop| shop.folded[3].order.as_mut().unwrap().allocated = None);
}

#[test]
fn i6_orders_and_reservations_that_disagree() {
    use reservation::State::{Held, Released, Shipped, Tombstone};
    for (at, order, state) in
        [(0, "orders/a", Released), (1, "orders/b", Held), (2, "orders/c", Shipped), (3, "orders/d", Held)]
    {
        told("I6", order, state.as_str_name().trim_start_matches("STATE_"), |shop| shop.reservations[at].state = state);
    }
    told("I6", "orders/d", "no reservation", |shop| drop(shop.reservations.pop()));
    told("I6", "orders/x", "there is no such order", |shop| shop.reservations[3].order = "orders/x".into());
    assert_eq!(violated(|shop| shop.reservations[2].state = Tombstone), Vec::<&str>::new(), "it was cancelled");
}

#[test]
fn i6_a_reservation_of_something_else_than_was_ordered() {
    // Nothing of it is in the stock any more.
    let released = |shop: &mut Evidence| shop.reservations[2].lines[0].1 = 7;
    assert_eq!(violated(released), ["I6"]);
    told("I6", "orders/c", "other lines", released);
    told("I6", "orders/b", "other lines", |shop| shop.reservations[1].lines.clear());
    assert_eq!(
        violated(|shop| {
            shop.reservations[2].state = reservation::State::Tombstone;
            shop.reservations[2].lines.clear();
        }),
        Vec::<&str>::new()
    );
}

#[test]
fn i6_an_order_that_is_shipped_before_its_pieces_are_allocated() {
    let swapped = |shop: &mut Evidence| {
        let events = &mut source(shop, "orders").events;
        let (allocated, shipped) = (events[2].kind.clone(), events[3].kind.clone());
        (events[2].kind, events[3].kind) = (shipped, allocated);
    };
    told("I6", "orders/a", "shipped before", swapped);
}

#[test]
fn i7_sources_that_are_not_whole() {
    told("I7", "orders/a", "version 3 comes where 2 should", |shop| {
        source(shop, "orders").events.remove(1);
    });
    told("I7", "orders p00", "position 3 comes where 2 should", |shop| {
        source(shop, "orders").commits.remove(1);
    });
    told("I7", "orders p00", "should at 99", |shop| source(shop, "orders").heads[0].1 = 99);
    told("I7", "orders/a", "can't be read: no bytes", |shop| {
        source(shop, "orders").commits[0].problem = "no bytes".to_owned();
    });
    told("I7", "orders/a", "version 1 has the id other:1", |shop| {
        source(shop, "orders").events[0].odd_id = Some("other:1".into());
    });
    told("I7", "orders/a", "version 1 comes where 2 should", |shop| source(shop, "orders").events[1].version = 1);
}

#[test]
fn i7_an_outbox_may_have_removed_its_beginning_and_a_history_may_not() {
    let cut = |source: &mut Source| {
        source.commits.remove(0);
        source.events.remove(0);
    };
    assert_eq!(violated(|shop| cut(source(shop, "products"))), Vec::<&str>::new());
    told("I7", "orders p00", "position 2 comes where 1 should", |shop| cut(source(shop, "orders")));
}

/// The users lie in two shards. One's first and third events are in the second, since it has moved there and back.
fn moved(shop: &mut Evidence) {
    let users = source(shop, "users");
    let template = (users.events[0].clone(), users.commits[0].clone(), users.carried[0].clone());
    (users.events, users.commits, users.carried) = (Vec::new(), Vec::new(), Vec::new());
    users.heads = (0..8).map(|partition| (partition, 0)).collect();
    for (version, partition, n) in [(2, 1, 1), (1, 5, 1), (3, 5, 2)] {
        let (mut event, mut commit, mut carried) = template.clone();
        (event.version, event.place) = (version, (partition, n, 0));
        // An outbox doesn't keep what command made a commit.
        (commit.place, commit.command) = ((partition, n), None);
        (carried.event, carried.lane) = (event.clone(), format!("users.p{partition:02}").into());
        users.events.push(event);
        users.commits.push(commit);
        users.carried.push(carried);
        users.heads[usize::try_from(partition).unwrap()].1 = n;
    }
    let user = users.events[0].subject.clone();
    let known = shop.consumers[1].applied.iter_mut().find(|(subject, _)| *subject == user).unwrap();
    known.1 = 3;
}

#[test]
fn i7_and_i9_what_has_moved_between_shards_goes_on_where_it_was() {
    assert_eq!(violated(moved), Vec::<&str>::new());
    told("I7", "users/1", "version 3 comes where 2 should", |shop| {
        moved(shop);
        source(shop, "users").events.remove(0);
    });
    told("I7", "users/1", "version 2 comes where 1 should", |shop| {
        moved(shop);
        source(shop, "users").events.remove(1);
    });
    told("I9", "users/1", "notifications has applied version 3, and the last is 4", |shop| {
        moved(shop);
        source(shop, "users").events[2].version = 4;
    });
    // What its first shard had of it has aged there.
    let aged = |shop: &mut Evidence| {
        moved(shop);
        let users = source(shop, "users");
        users.events.remove(1);
        users.commits.remove(1);
    };
    assert_eq!(violated(aged), Vec::<&str>::new());
}

#[test]
fn i8_what_is_published_is_not_what_was_appended() {
    told("I8", "orders/a", "version 2 is not published", |shop| drop(carried(shop).remove(1)));
    told("I8", "orders/a", "another content", |shop| carried(shop)[1].event.content = 77);
    told("I8", "orders/a", "another time", |shop| carried(shop)[1].event.micros = 1);
    told("I8", "orders/a", "another position", |shop| carried(shop)[1].event.place.2 = 1);
    told("I8", "orders/x", "was not appended", |shop| carried(shop)[1].event.subject = "orders/x".into());
    told("I8", "orders/a", "version 2 is published twice", |shop| {
        let again = carried(shop)[1].clone();
        carried(shop).push(again);
    });
    told("I8", "orders/a", "comes behind", |shop| carried(shop).swap(1, 2));
}

#[test]
fn i8_what_was_repaired_may_come_twice_and_what_has_aged_is_not_missed() {
    let repaired = |shop: &mut Evidence| {
        let mut again = shop.sources[2].carried[1].clone();
        again.repaired = true;
        shop.sources[2].carried.push(again);
    };
    assert_eq!(violated(repaired), Vec::<&str>::new());
    let aged = |shop: &mut Evidence| {
        shop.sources[2].events[0].time = NOW - shop.sources[2].retention;
        shop.sources[2].carried.remove(0);
    };
    assert_eq!(violated(aged), Vec::<&str>::new());
}

#[test]
fn i9_consumers_that_have_not_applied_what_there_is() {
    let applied = |shop: &mut Evidence, order: &str, version: i64| {
        let known = shop.consumers[0].applied.iter_mut().find(|(subject, _)| subject.as_ref() == order).unwrap();
        known.1 = version;
    };
    told("I9", "orders/a", "inventory has applied version 4, and the last is 5", |shop| applied(shop, "orders/a", 4));
    told("I9", "orders/a", "inventory has applied version 6", |shop| applied(shop, "orders/a", 6));
    told("I9", "orders/a", "notifications has applied version 0", |shop| {
        shop.consumers[1].applied.retain(|(subject, _)| subject.as_ref() != "orders/a");
    });
    told("I9", "orders/x", "its source has none", |shop| shop.consumers[0].applied.push(("orders/x".into(), 1)));
    // One of its own events that it has parked leaves no version behind.
    assert_eq!(violated(|shop| shop.consumers[0].applied.push(("reservations/a".into(), 0))), Vec::<&str>::new());
}

#[test]
fn i9_a_consumer_without_versions_is_behind_where_an_order_still_reacts() {
    let behind = |shop: &mut Evidence| shop.consumers[2].noted[0].1 = (0, 1, 0);
    assert_eq!(violated(behind), Vec::<&str>::new(), "nothing of it would make a difference");
    told("I9", "products p00", "orders has not applied version 1 of reservations/d", |shop| {
        behind(shop);
        shop.folded[3].order.as_mut().unwrap().state = State::Pending;
    });
}

#[test]
fn i9_a_consumer_that_would_pass_over_what_comes() {
    told("I9", "products p00", "orders notes position 6 as handled, and the last is 5", |shop| {
        shop.consumers[2].noted[0].1 = (0, 6, 0);
    });
    told("I9", "orders p00", "inventory notes position 99", |shop| {
        shop.consumers[0].noted.push(("orders".to_owned(), (0, 99, 0)));
    });
    let unknown = |shop: &mut Evidence| {
        let products = source(shop, "products");
        products.heads[0].1 = -1;
        products.commits.clear();
        products.events.clear();
        products.carried.clear();
    };
    assert_eq!(violated(unknown), Vec::<&str>::new());
}

#[test]
fn i8_and_i9_whoever_is_not_told_of_at_all() {
    for service in ["users", "products", "orders"] {
        told("I8", service, "nothing is told of its source", |shop| {
            shop.sources.retain(|source| source.service != service);
        });
        told("I8", service, "nothing is told of what is published", |shop| source(shop, service).stream.clear());
    }
    for (at, name) in [(0, "inventory"), (1, "notifications"), (2, "orders")] {
        told("I9", name, "nothing is told", |shop| drop(shop.consumers.remove(at)));
    }
    told("I9", "notifications", "of users", |shop| shop.consumers[1].streams.retain(|stream| stream != "users"));
}

#[test]
fn i9_effects_that_came_twice() {
    told("I9", "orders/a", "more than one order_confirmed", |shop| {
        source(shop, "orders").events[2].kind = "order_confirmed".into();
    });
    assert_eq!(
        violated(|shop| {
            for at in [1, 2] {
                source(shop, "orders").events[at].kind = "reservation_requested".into();
            }
            // Nothing calls for the letter of its confirmation any more.
            shop.letters.remove(0);
        }),
        ["I6"],
        "the inventory may be asked again and again"
    );
}

#[test]
fn i10_orders_that_are_shown_otherwise() {
    told("I10", "orders/a", "in lists has another state", |shop| shop.listed[0].state = State::Pending);
    told("I10", "orders/a", "another customer, tracking_number", |shop| {
        shop.listed[0].customer = "users/2".into();
        shop.listed[0].tracking_number = "TN".to_owned();
    });
    told("I10", "orders/a", "another lines, total", |shop| {
        shop.listed[0].lines[0].content = 2;
        shop.listed[0].total = None;
    });
    told("I10", "orders/a", "allocate_time, create_time, update_time", |shop| {
        (shop.listed[0].allocated, shop.listed[0].created, shop.listed[0].updated) = (None, None, None);
    });
    told("I10", "orders/a", "(version 4", |shop| shop.listed[0].version = 4);
    told("I10", "orders/b", "by itself has another state_reason", |shop| {
        shop.asked[1].state_reason = "other".to_owned();
    });
    told("I10", "orders/d", "is missing in lists", |shop| drop(shop.listed.pop()));
    told("I10", "orders/x", "is not made by any event", |shop| shop.listed[3].name = "orders/x".into());
    told("I10", "orders/a", "is listed twice", |shop| {
        let again = shop.listed[0].clone();
        shop.listed.push(again);
    });
    told("I10", "orders/d", "can't be decoded", |shop| {
        shop.folded[3].problem = "version 2 can't be decoded".to_owned();
    });
}

/// The list of the orders in a state.
fn list(shop: &mut Evidence, state: State) -> &mut List {
    shop.lists.iter_mut().find(|list| list.term == Term::State(state)).unwrap()
}

#[test]
fn i10_an_order_that_lists_have_and_that_is_not_shown_by_itself() {
    told("I10", "orders/b", "can't be shown: there is no order orders/b (NotFound)", |shop| {
        shop.asked.pop();
        let answer = "there is no order orders/b (NotFound)".to_owned();
        shop.refused.push(Refused { subject: "orders/b".into(), answer });
    });
}

#[test]
fn i10_rows_that_are_found_by_something_else_than_they_show() {
    let moved = |shop: &mut Evidence| {
        let row = list(shop, State::Confirmed).names.pop().unwrap();
        list(shop, State::Pending).names.push(row);
    };
    told("I10", "orders/d", "is listed with state = PENDING, and it is CONFIRMED", moved);
    told("I10", "orders/d", "is missing in the list with state = CONFIRMED", moved);
    told("I10", "orders/b", "is missing in the list with customer = \"users/1\"", |shop| {
        shop.lists.last_mut().unwrap().names.remove(1);
    });
    told("I10", "orders/b", "comes behind orders/c in lists", |shop| shop.listed.swap(1, 2));
    told("I10", "orders/b", "in the list with customer", |shop| shop.lists.last_mut().unwrap().names.swap(1, 2));
}

#[test]
fn i10_a_list_is_held_against_the_orders_as_far_as_it_was_looked_at() {
    let cut = |shop: &mut Evidence| {
        let list = shop.lists.last_mut().unwrap();
        list.names.pop();
        list.is_cut = true;
    };
    assert_eq!(violated(cut), Vec::<&str>::new());
    told("I10", "orders/a", "is missing in the list", |shop| {
        cut(shop);
        shop.lists.last_mut().unwrap().names.remove(0);
    });
}

#[test]
fn lists_that_can_not_be_shown_are_damage_and_nothing_is_judged_by_them() {
    for (subject, id, others) in [("reservations", "I6", &["I2", "I3"][..]), ("notifications", "I14", &[][..])] {
        let damage = |shop: &mut Evidence| {
            shop.reservations.clear();
            shop.letters.clear();
            let answer = "something failed inside (Internal)".to_owned();
            shop.unlisted.push(Refused { subject: subject.into(), answer });
        };
        told(id, subject, "can't be listed: something failed inside", damage);
        for verdict in verdicts(damage).iter().filter(|verdict| others.contains(&verdict.id)) {
            assert_eq!(verdict.finding(), Finding::NotJudged, "{verdict:?}");
        }
    }
}

#[test]
fn i11_a_command_that_has_had_two_effects() {
    told("I11", "orders/a", "two commits", |shop| {
        let commits = &mut source(shop, "orders").commits;
        commits[1].command = commits[0].command;
    });
    told("I11", "orders/b", "has made orders/a too", |shop| {
        let commits = &mut source(shop, "orders").commits;
        let second = commits.iter().rposition(|commit| commit.subject.as_ref() == "orders/b" && commit.creates);
        commits[second.unwrap()].command = commits[0].command;
    });
}

#[test]
fn i14_letters_that_are_missing_doubled_or_unsent() {
    let letter = |shop: &mut Evidence, template: &str| {
        shop.letters.iter().position(|letter| letter.template.as_ref() == template).unwrap()
    };
    for template in ["order_confirmed", "order_rejected", "order_shipped", "order_delivered", "order_cancelled"] {
        let about = match template {
            "order_rejected" => "orders/b",
            "order_cancelled" => "orders/c",
            _ => "orders/a",
        };
        told("I14", about, &format!("there is no letter {template}"), |shop| {
            let at = letter(shop, template);
            shop.letters.remove(at);
        });
    }
    let name = "notifications/a-order_shipped";
    for state in [notification::State::Pending, notification::State::Sending] {
        told("I14", name, "waits to be sent", |shop| {
            let at = letter(shop, "order_shipped");
            shop.letters[at].state = state;
        });
    }
    told("I14", name, "never handed over", |shop| {
        let at = letter(shop, "order_shipped");
        shop.letters[at].handed_over = false;
    });
    told("I14", "orders/a", "goes to users/2", |shop| {
        let at = letter(shop, "order_shipped");
        shop.letters[at].recipient = "users/2".into();
    });
    told("I14", "notifications/again", "second letter order_shipped", |shop| {
        let at = letter(shop, "order_shipped");
        let mut again = shop.letters[at].clone();
        again.name = "notifications/again".to_owned();
        shop.letters.push(again);
    });
    told(
        "I14",
        "notifications/again",
        "second letter order_shipped about orders/a to users/1: for orders/a:5",
        |shop| {
            let at = letter(shop, "order_shipped");
            let mut again = shop.letters[at].clone();
            (again.name, again.event_id) = ("notifications/again".to_owned(), "orders/a:5".to_owned());
            shop.letters.push(again);
        },
    );
}

#[test]
fn i14_a_letter_that_no_event_of_its_order_calls_for() {
    for (event_id, template) in [
        ("orders/a:1", "order_shipped"),
        ("orders/a:4", "order_delivered"),
        ("orders/a:2", "order_confirmed"),
        ("orders/d:3", "order_confirmed"),
        ("elsewhere", "order_shipped"),
        ("orders/a:4", "order_lost"),
    ] {
        told("I14", "notifications/a-order_shipped", "does not call for it", |shop| {
            let shipped = |letter: &&mut Letter| letter.name == "notifications/a-order_shipped";
            let letter = shop.letters.iter_mut().find(shipped).unwrap();
            (letter.event_id, letter.template) = (event_id.to_owned(), template.into());
        });
    }
    told("I14", "notifications/a-order_shipped", "does not call for it", |shop| {
        let shipped = |letter: &&mut Letter| letter.name == "notifications/a-order_shipped";
        shop.letters.iter_mut().find(shipped).unwrap().about = "orders/x".into();
    });
    let of_an_earlier_release = |shop: &mut Evidence| {
        shop.now += 2 * 60 * 60;
        shop.letters[0].event_id = "orders/a:2".to_owned();
    };
    assert_eq!(violated(of_an_earlier_release), Vec::<&str>::new());
}

#[test]
fn i14_letters_that_were_refused_are_counted_and_are_nobodys_fault() {
    let verdicts = verdicts(|shop| shop.letters[0].state = notification::State::Failed);
    let verdict = verdicts.iter().find(|verdict| verdict.id == "I14").unwrap();
    assert_eq!(verdict.finding(), Finding::Holds, "{verdict:?}");
    assert!(verdict.detail.starts_with("1 letters were given up; "), "{verdict:?}");
}

#[test]
fn i14_no_letter_is_missed_of_who_is_erased() {
    let lost = |shop: &mut Evidence| shop.letters.retain(|letter| *letter.about != *"orders/b");
    told("I14", "orders/b", "there is no letter", lost);
    let erased = |shop: &mut Evidence| {
        lost(shop);
        let users = source(shop, "users");
        users.events[0].kind = "user_erased".into();
        users.carried[0].event.kind = "user_erased".into();
    };
    assert_eq!(violated(erased), Vec::<&str>::new());
}

#[test]
fn i14_no_letter_is_missed_that_may_have_been_removed_or_may_never_have_been_due() {
    let old = |shop: &mut Evidence| {
        shop.letters.clear();
        shop.now += 2 * 60 * 60;
    };
    assert_eq!(violated(old), Vec::<&str>::new());
    // The notifications may have begun behind all that has happened.
    assert_eq!(violated(|shop| shop.letters.clear()), Vec::<&str>::new());
    let before = |shop: &mut Evidence| {
        shop.letters.retain(|letter| *letter.about != *"orders/b");
        for event in &mut source(shop, "orders").events {
            event.time -= i64::from(*event.subject == *"orders/b");
        }
        for Carried { event, .. } in carried(shop) {
            event.time -= i64::from(*event.subject == *"orders/b");
        }
    };
    assert_eq!(violated(before), Vec::<&str>::new());
    told("I14", "orders/b", "there is no letter", |shop| {
        before(shop);
        let welcome = Letter {
            name: "notifications/welcome".to_owned(),
            about: "users/1".into(),
            event_id: "users/1:1".to_owned(),
            template: "welcome".into(),
            ..shop.letters[0].clone()
        };
        shop.letters.push(welcome);
        source(shop, "users").events[0].time -= 10;
    });
}

#[test]
fn i15_what_waits_for_people() {
    told("I15", "orders/a", "is parked by inventory of products: poison", |shop| {
        let (place, subject) = ("inventory of products".to_owned(), "orders/a".to_owned());
        shop.parked.push(Parked { place, subject, reason: "poison".to_owned() });
    });
    told("I15", "orders/d", "tombstone", |shop| shop.reservations[3].state = reservation::State::Tombstone);
    told("I15", "orders p00", "fills position 2", |shop| source(shop, "orders").commits[1].tombstone = true);
}
