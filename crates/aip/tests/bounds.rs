//! Whatever a request holds and a service passes on, a status stays small.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use meshwork_aip::name::{InvalidName, Pattern};
use meshwork_aip::violations::MAX_VIOLATIONS;
use meshwork_aip::{Violations, echo, etag, filter, mask, page};
use meshwork_testkit::assert_small;
use proptest::prelude::*;
use prost_types::FieldMask;
use tonic::Status;
use tonic_types::{FieldViolation, StatusExt};

const DOMAIN: &str = "notifications.meshwork.dev";

/// The status of what a check has found, which is small, with what it tells and how many more there are.
#[track_caller]
fn small(violations: Violations) -> (Status, Vec<FieldViolation>, usize) {
    let status = violations.finish(DOMAIN).unwrap_err();
    assert_small(&status);
    let details = status.get_error_details();
    let told = details.bad_request().unwrap().field_violations.clone();
    let more = details.error_info().unwrap().metadata.get("unlisted").map_or(0, |number| number.parse().unwrap());
    assert!((1..=MAX_VIOLATIONS).contains(&told.len()));
    for text in [status.message(), &told.last().unwrap().description] {
        assert_eq!(text.contains(&format!("; {more} more fault")), more > 0, "{text}");
    }
    (status, told, more)
}

/// Texts that grow when they are shown or sent.
const HOSTILE: [&str; 8] = ["x", " ", "%", "\"", "\0", "\u{7f}", "\u{10ffff}", "\u{1f4a1}"];

#[test]
fn violations_that_are_no_longer_told_are_counted() {
    for (count, more) in [(1, 0), (20, 0), (21, 1), (1000, 980)] {
        let mut violations = Violations::new();
        for at in 0..count {
            violations.add(format_args!("names[{at}]"), "must be a name like `products/{product}`");
        }
        let (_, told, unlisted) = small(violations);
        assert_eq!((told.len(), unlisted), (count.min(20), more));
        assert!(told.iter().enumerate().all(|(at, fault)| fault.field == format!("names[{at}]")), "{told:?}");
    }
}

/// The name of a product.
struct Product;

impl std::str::FromStr for Product {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Pattern::new("products/{product}").parse(name).map(|_| Self)
    }
}

/// What fails when it is printed.
struct NeverPrinted;

impl std::fmt::Display for NeverPrinted {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("a fault that is not told was printed")
    }
}

#[test]
fn violations_that_are_no_longer_told_cost_nothing() {
    let mut violations = Violations::new();
    for _ in 0..MAX_VIOLATIONS {
        violations.add("field", "is wrong");
    }
    for _ in 0..1000 {
        violations.add(NeverPrinted, NeverPrinted);
    }
    assert_eq!(small(violations).2, 1000);
    // Nor do those behind one that was too much, although they would fit.
    let mut violations = Violations::new();
    for _ in 0..MAX_VIOLATIONS {
        violations.add("field", "x".repeat(1000));
    }
    let told = violations.finish(DOMAIN).unwrap_err().get_details_bad_request().unwrap().field_violations.len();
    assert!(told < MAX_VIOLATIONS, "{told}");
}

#[test]
fn hostile_texts_of_any_length_leave_a_status_small() {
    for text in HOSTILE {
        for length in [1, 63, 64, 65, 100, 360, 640, 10_000] {
            let text = text.repeat(length);
            let mut violations = Violations::new();
            for _ in 0..100 {
                violations.add(&text, &text);
            }
            let (_, told, more) = small(violations);
            assert_eq!(told.len() + more, 100);
            let mut violations = Violations::new();
            for _ in 0..100 {
                violations.add("update_mask", format_args!("names {:?}; it may name display_name", echo(&text)));
            }
            let (_, told, _) = small(violations);
            // What would be right is told, however long the wrong is.
            assert!(told[..told.len() - 1].iter().all(|fault| fault.description.ends_with("it may name display_name")));
        }
    }
}

#[test]
fn masks_that_are_too_long_are_not_read() {
    let fields = [("display_name", false), ("description", false)];
    let resolve = |paths: Vec<String>| {
        let mut violations = Violations::new();
        let chosen = mask::resolve(Some(&FieldMask { paths }), &fields, &[], &mut violations);
        (chosen, violations)
    };
    let path = || "display_name".to_owned();
    let (chosen, violations) = resolve(vec![path(); 100]);
    assert_eq!(chosen, ["display_name"]);
    violations.finish(DOMAIN).unwrap();
    for paths in [vec![path(); 101], vec![String::new(); 1_000_000], vec!["x".repeat(5000); 2]] {
        let (chosen, violations) = resolve(paths);
        let (status, told, more) = small(violations);
        assert_eq!((chosen, told.len(), more), (vec![], 1, 0));
        assert_eq!(status.message(), "update_mask must have at most 100 paths, of 8192 bytes together");
    }
    for text in HOSTILE {
        let (_, violations) = resolve(vec![text.repeat(80); 100 * 80 / (80 * text.len())]);
        small(violations);
    }
}

#[test]
fn filters_and_tokens_that_are_too_long_are_not_read() {
    let fits = format!("state = \"{}\"", "x".repeat(filter::MAX_BYTES - 10));
    assert_eq!(fits.len(), filter::MAX_BYTES);
    let mut violations = Violations::new();
    let parsed = filter::parse(&fits, &["state"], &mut violations);
    assert_eq!(parsed.get("state").unwrap().len(), filter::MAX_BYTES - 10);
    let long = format!("state = \"{}\"", "x".repeat(filter::MAX_BYTES - 9));
    assert_eq!(filter::parse(&long, &["state"], &mut violations).get("state"), None);
    assert_eq!(small(violations).0.message(), "filter must have at most 1024 bytes");

    // A token of ours, were it not so long.
    let long = page::token(Some(&"x".repeat(page::MAX_TOKEN)), &[]);
    let mut violations = Violations::new();
    assert_eq!(page::read(0, &long, &[], &mut violations).after, None);
    assert_eq!(small(violations).1[0].field, "page_token");

    let longest = format!("\"v{}\"", i64::MAX);
    assert_eq!(etag::parse(&longest), Ok(Some(i64::MAX)));
    assert!(etag::parse(&format!("\"v{}7\"", "0".repeat(4 << 20))).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_found_a_status_is_small(
        faults in prop::collection::vec((any::<String>(), any::<String>(), 1..50_usize), 1..60),
    ) {
        let mut violations = Violations::new();
        for (field, description, times) in &faults {
            violations.add(field.repeat(*times), description.repeat(*times));
        }
        let (_, told, more) = small(violations);
        prop_assert_eq!(told.len() + more, faults.len());
    }

    #[test]
    fn whatever_names_are_sent_the_status_is_small(names in prop::collection::vec(".{0,300}", 1..100)) {
        let mut violations = Violations::new();
        for (at, name) in names.iter().enumerate() {
            violations.name::<Product>(&format!("!{name}"), &format!("names[{at}]"));
        }
        small(violations);
    }
}
