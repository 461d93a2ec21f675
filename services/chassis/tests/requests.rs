//! The parts of requests that every service reads in the same way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use meshwork::errors::port;
use meshwork_api::google::r#type::Money;
use meshwork_api::{OrderName, ProductName, StockName, UserName};
use meshwork_chassis::page::{MAX_SIZE, Page, PageRequest};
use meshwork_chassis::validate::{Violations, currency_digits, minor, money};
use meshwork_chassis::{errors, etag, filter, mask, page};
use proptest::prelude::*;
use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt;

/// The fields that a check has found wrong.
fn fields(violations: Violations) -> Vec<String> {
    let Err(status) = violations.finish("tests.meshwork.dev") else { return Vec::new() };
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELDS");
    assert_eq!(details.error_info().unwrap().domain, "tests.meshwork.dev");
    details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// The fields that `check` finds wrong.
fn wrong(check: impl FnOnce(&mut Violations)) -> Vec<String> {
    let mut violations = Violations::new();
    check(&mut violations);
    fields(violations)
}

#[test]
fn all_faults_of_a_request_are_named_together() {
    let found = wrong(|violations| {
        violations.text("", "display_name", 1, 10);
        violations.text("fine", "description", 0, 10);
        violations.name::<UserName>("people/anna", "name");
        violations.request_id("not a uuid");
    });
    assert_eq!(found, ["display_name", "name", "request_id"]);
}

#[test]
fn a_request_id_is_a_random_uuid_and_an_order_id_any_but_nil() {
    let request = |id: &str| wrong(|v| v.request_id(id));
    let order = |id: &str| wrong(|v| v.uuid(id, "order_id"));
    for good in ["7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d", "00000001-0000-4000-8000-000000000001"] {
        assert_eq!((request(good), order(good)), (vec![], vec![]), "{good}");
    }
    assert_eq!(request(""), [""; 0]);
    for other in [
        "019368c0-4a0b-7c53-9d0e-2f6f0a1b2c3d",
        "7f1c2c3e-4a0b-1c53-9d0e-2f6f0a1b2c3d",
        "7f1c2c3e-4a0b-4c53-cd0e-2f6f0a1b2c3d",
    ] {
        assert_eq!(request(other), ["request_id"], "{other}");
        assert_eq!(order(other), [""; 0], "{other}");
    }
    for bad in [
        "00000000-0000-0000-0000-000000000000",
        "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D",
        "7f1c2c3e4a0b4c539d0e2f6f0a1b2c3d",
        "again",
    ] {
        assert_eq!((request(bad), order(bad)), (vec!["request_id".to_owned()], vec!["order_id".to_owned()]), "{bad}");
    }
}

#[test]
fn texts_are_counted_in_characters_and_hold_no_control_characters() {
    assert_eq!(wrong(|v| v.text("äöüß", "f", 1, 4)), [""; 0]);
    for bad in ["äöüßx", "", "   ", "a\0b", "a\u{7}"] {
        assert_eq!(wrong(|v| v.text(bad, "f", 1, 4)), ["f"], "{bad:?}");
    }
    assert_eq!(wrong(|v| v.text("a\nb", "f", 1, 4)), [""; 0]);
}

#[test]
fn names_are_parsed_and_print_as_they_were() {
    for name in ["orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d", "orders/a"] {
        assert_eq!(name.parse::<OrderName>().unwrap().to_string(), name);
    }
    assert_eq!("products/mug/stock".parse::<StockName>().unwrap().id(), "mug");
    let long = format!("products/{}", "a".repeat(64));
    for bad in ["", "products/", "product/mug", "products/Mug", "products/a/b", "products/-a", "products/a-", &long] {
        assert!(bad.parse::<ProductName>().is_err(), "{bad}");
    }
    assert!("products/mug".parse::<StockName>().is_err());
}

#[test]
fn chosen_ids_start_with_a_letter_or_are_uuids() {
    for good in ["mug-blue", "abcd", "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d"] {
        assert_eq!(wrong(|v| v.chosen_id(good, "id")), [""; 0], "{good}");
    }
    for bad in ["abc", "1mug", "mug-", "Mugs", "mug blue", &"a".repeat(64), "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D"] {
        assert_eq!(wrong(|v| v.chosen_id(bad, "id")), ["id"], "{bad}");
    }
}

fn euros(units: i64, nanos: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos }
}

#[test]
fn prices_are_above_zero_in_whole_units_of_a_currency_in_use() {
    let mut violations = Violations::new();
    assert_eq!(violations.price(Some(&euros(12, 500_000_000)), "price"), Some(("EUR".to_owned(), 1250)));
    let yen = Money { currency_code: "JPY".to_owned(), units: 300, nanos: 0 };
    assert_eq!(violations.price(Some(&yen), "price"), Some(("JPY".to_owned(), 300)));
    assert_eq!(fields(violations), [""; 0]);

    let currency = |code: &str| Money { currency_code: code.to_owned(), units: 1, nanos: 0 };
    let half_a_yen = Money { currency_code: "JPY".to_owned(), units: 1, nanos: 500_000_000 };
    for (bad, field) in [
        (None, "price"),
        (Some(euros(0, 0)), "price"),
        (Some(euros(-1, 0)), "price.units"),
        (Some(euros(i64::MAX, 0)), "price.units"),
        (Some(euros(1_000_000, 10_000_000)), "price.units"),
        (Some(euros(1, -10_000_000)), "price.nanos"),
        (Some(euros(1, 1_000_000_000)), "price.nanos"),
        (Some(euros(1, 1)), "price.nanos"),
        (Some(half_a_yen), "price.nanos"),
        (Some(currency("")), "price.currency_code"),
        (Some(currency("eur")), "price.currency_code"),
        (Some(currency("XXX")), "price.currency_code"),
        (Some(currency("EURO")), "price.currency_code"),
    ] {
        assert_eq!(wrong(|v| drop(v.price(bad.as_ref(), "price"))), [field], "{bad:?}");
    }
}

#[test]
fn d_new_prices_are_in_currencies_in_use_and_old_amounts_stay_readable() {
    let amount = |code: &str| Money { currency_code: code.to_owned(), units: 12, nanos: 500_000_000 };
    // Marks and kunas have given way to the euro; the unidad de inversión is a fund's unit of account.
    for code in ["DEM", "HRK", "ZWL", "MXV", "CLF", "XAD"] {
        let price = amount(code);
        assert_eq!(wrong(|v| drop(v.price(Some(&price), "price"))), ["price.currency_code"], "{code}");
        assert_eq!(minor(&price), Some(1250), "{code}");
        assert_eq!(money(code, 1250), price, "{code}");
    }
    for code in ["EUR", "CUP", "SLE", "VES", "VED"] {
        let mut violations = Violations::new();
        assert_eq!(violations.price(Some(&amount(code)), "price"), Some((code.to_owned(), 1250)));
        assert_eq!(fields(violations), [""; 0]);
    }
    for code in ["", "eur", "EURO", "E R"] {
        assert_eq!(minor(&amount(code)), None, "{code:?}");
    }
}

proptest! {
    #[test]
    fn money_and_minor_units_are_the_same_amount(
        code in prop::sample::select(vec!["EUR", "JPY", "KWD", "USD"]),
        amount in -1_000_000_000_000_i64..1_000_000_000_000,
    ) {
        prop_assert!(currency_digits(code).is_some());
        prop_assert_eq!(minor(&money(code, amount)), Some(amount));
    }

    #[test]
    fn a_filter_never_panics(text in ".{0,60}") {
        filter::parse(&text, &["state"], &mut Violations::new());
    }

    #[test]
    fn a_page_token_never_panics(text in ".{0,60}") {
        page::read(0, &text, &[], &mut Violations::new());
    }

    #[test]
    fn a_page_token_gives_its_cursor_back(cursor in ".{1,40}", filter in ".{0,20}") {
        let mut violations = Violations::new();
        let token = page::token(Some(&cursor), &[&filter]);
        let request = page::read(7, &token, &[&filter], &mut violations);
        prop_assert_eq!(request, PageRequest { size: 7, after: Some(cursor) });
        prop_assert!(fields(violations).is_empty());
    }
}

#[test]
fn page_sizes_have_a_default_and_a_limit_and_no_sign() {
    let size = |wanted| page::read(wanted, "", &[], &mut Violations::new()).size;
    assert_eq!((size(0), size(10), size(1_000_000)), (50, 10, MAX_SIZE));
    assert_eq!(wrong(|v| drop(page::read(-1, "", &[], v))), ["page_size"]);
}

#[test]
fn a_page_token_of_another_list_is_refused() {
    let token = page::token(Some("cursor"), &["state = PENDING"]);
    assert_eq!(wrong(|v| drop(page::read(0, &token, &["state = SHIPPED"], v))), ["page_token"]);
    assert_eq!(wrong(|v| drop(page::read(0, "nonsense", &[], v))), ["page_token"]);
}

#[test]
fn the_last_page_has_no_next() {
    let cut = |items: Vec<i32>| Page::cut(items, 2, ToString::to_string);
    assert_eq!(cut(vec![1, 2, 3]), Page { items: vec![1, 2], next: Some("2".to_owned()) });
    assert_eq!(cut(vec![1, 2]), Page { items: vec![1, 2], next: None });
    assert_eq!(page::token(None, &[]), "");
}

#[test]
fn filters_are_terms_joined_by_and() {
    let mut violations = Violations::new();
    let parsed = filter::parse("state = PENDING AND customer=\"users/anna\"", &["state", "customer"], &mut violations);
    assert_eq!((parsed.get("state"), parsed.get("customer")), (Some("PENDING"), Some("users/anna")));
    assert_eq!(filter::parse("", &["state"], &mut violations).get("state"), None);
    assert_eq!(fields(violations), [""; 0]);
    for bad in [
        "state",
        "state =",
        "= PENDING",
        "state = A OR state = B",
        "state = \"A",
        "state = A AND",
        "size = 1",
        "state = A state = B",
        "state = A AND state = B",
    ] {
        assert_eq!(wrong(|v| drop(filter::parse(bad, &["state"], v))), ["filter"], "{bad}");
    }
}

#[test]
fn masks_choose_fields_by_aip_134() {
    let fields_of = |paths: &[&str], set: bool| {
        let mask = FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
        let mut violations = Violations::new();
        let chosen = mask::resolve(Some(&mask), &[("a", set), ("b", false)], &["time"], &mut violations);
        (chosen, fields(violations))
    };
    assert_eq!(fields_of(&["b"], false), (vec!["b"], vec![]));
    assert_eq!(fields_of(&["*"], false), (vec!["a", "b"], vec![]));
    assert_eq!(fields_of(&[], true), (vec!["a"], vec![]));
    assert_eq!(fields_of(&[], false).1, ["update_mask"]);
    assert_eq!(fields_of(&["a", "time", "a"], false), (vec!["a"], vec![]));
    assert_eq!(fields_of(&["c"], false).1, ["update_mask"]);
}

#[test]
fn etags_admit_their_version_only() {
    assert!(etag::admits("", 3) && etag::admits(&etag::format(3), 3));
    assert!(!etag::admits(&etag::format(2), 3) && !etag::admits("3", 3));
    assert_eq!(etag::parse(&etag::format(7)), Ok(Some(7)));
    assert_eq!(etag::parse(""), Ok(None));
    for bad in ["v7", "\"vx\"", "\"v+7\"", "\"v07\"", "7"] {
        assert!(etag::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_common_errors_are_sound_and_internal_ones_tell_nothing() {
    // What the mesh answers with by itself, services may give as well, but no other error under such a reason.
    let own = errors::COMMON.iter().chain(errors::PORT).copied().filter(|kind| !port::TABLE.contains(kind));
    let all: Vec<_> = own.chain(port::TABLE.iter().copied()).collect();
    assert_eq!(errors::faults(&all), Vec::<String>::new());
    let status = errors::internal("tests.meshwork.dev", &"the password is swordfish");
    assert_eq!(status.code(), Code::Internal);
    assert!(!format!("{status:?}").contains("swordfish"));
    assert!(status.get_error_details().error_info().unwrap().metadata.contains_key("trace_id"));
    let retryable = errors::DEPENDENCY_UNAVAILABLE.status("tests.meshwork.dev", "down", &[]);
    assert!(retryable.get_error_details().retry_info().is_some());
    assert_eq!((errors::ETAG_MISMATCH.http(), errors::INTERNAL.http()), (409, 500));
}
