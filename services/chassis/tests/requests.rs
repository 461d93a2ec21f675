//! What the shop's services read and answer in the same way: names, prices, tokens, and errors.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use meshwork::errors::port;
use meshwork_aip::Violations;
use meshwork_api::google::r#type::Money;
use meshwork_api::{OrderName, ProductName, StockName};
use meshwork_chassis::consistency::{ConsistencyToken, EventsPlace};
use meshwork_chassis::errors;
use meshwork_chassis::money::{currency_digits, minor, money, price};
use meshwork_sql::WalPosition;
use proptest::prelude::*;
use tonic::Code;
use tonic_types::StatusExt;

/// The fields that a check has found wrong.
fn fields(violations: Violations) -> Vec<String> {
    let Err(status) = violations.finish("tests.meshwork.dev") else { return Vec::new() };
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// The fields that `check` finds wrong.
fn wrong(check: impl FnOnce(&mut Violations)) -> Vec<String> {
    let mut violations = Violations::new();
    check(&mut violations);
    fields(violations)
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

fn euros(units: i64, nanos: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos }
}

#[test]
fn prices_are_above_zero_in_whole_units_of_a_currency_in_use() {
    let mut violations = Violations::new();
    assert_eq!(price(&mut violations, Some(&euros(12, 500_000_000)), "price"), Some(("EUR".to_owned(), 1250)));
    let yen = Money { currency_code: "JPY".to_owned(), units: 300, nanos: 0 };
    assert_eq!(price(&mut violations, Some(&yen), "price"), Some(("JPY".to_owned(), 300)));
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
        assert_eq!(wrong(|v| drop(price(v, bad.as_ref(), "price"))), [field], "{bad:?}");
    }
}

#[test]
fn d_new_prices_are_in_currencies_in_use_and_old_amounts_stay_readable() {
    let amount = |code: &str| Money { currency_code: code.to_owned(), units: 12, nanos: 500_000_000 };
    // Marks and kunas have given way to the euro; the unidad de inversión is a fund's unit of account.
    for code in ["DEM", "HRK", "ZWL", "MXV", "CLF", "XAD"] {
        assert_eq!(wrong(|v| drop(price(v, Some(&amount(code)), "price"))), ["price.currency_code"], "{code}");
        assert_eq!(minor(&amount(code)), Some(1250), "{code}");
        assert_eq!(money(code, 1250), amount(code), "{code}");
    }
    for code in ["EUR", "CUP", "SLE", "VES", "VED"] {
        let mut violations = Violations::new();
        assert_eq!(price(&mut violations, Some(&amount(code)), "price"), Some((code.to_owned(), 1250)));
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
}

#[test]
fn tokens_that_are_too_long_are_not_read() {
    let events = EventsPlace { partition: u16::MAX, n: i64::MAX };
    let wal = WalPosition { system: u64::MAX, timeline: u32::MAX, lsn: u64::MAX };
    let longest = ConsistencyToken { events: Some(events), wal: Some(wal) };
    assert_eq!(longest.to_string().parse(), Ok(longest));
    assert!("MS4x".repeat(1 << 20).parse::<ConsistencyToken>().is_err());
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
    assert_eq!((errors::DEPENDENCY_UNAVAILABLE.http(), errors::INTERNAL.http()), (503, 500));
}
