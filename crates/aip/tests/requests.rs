//! The parts of requests that the AIPs define.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use meshwork_aip::page::{MAX_BYTES, MAX_SIZE, Page, PageRequest};
use meshwork_aip::request::RequestId;
use meshwork_aip::{Violations, errors, etag, filter, mask, page};
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
        violations.name::<u8>("people/anna", "name");
        assert_eq!(violations.request_id("not a uuid"), None);
        assert_eq!(violations.count(), 3);
    });
    assert_eq!(found, ["display_name", "name", "request_id"]);
}

#[test]
fn a_request_id_is_any_uuid_but_nil_and_max_and_is_read_in_any_case() {
    let request = |id: &str| {
        wrong(|v| {
            v.request_id(id);
        })
    };
    assert_eq!(request(""), [""; 0]);
    for good in [
        "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d",
        "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D",
        "7f1c2c3e-4a0b-1c53-9d0e-2F6F0A1B2C3D",
        "019368C0-4a0b-7c53-9d0e-2f6f0a1b2c3d",
    ] {
        assert_eq!(request(good), [""; 0], "{good}");
        let read = Violations::new().request_id(good).unwrap();
        assert_eq!(read.to_string(), good.to_lowercase());
        assert_eq!(read, good.to_lowercase().parse::<RequestId>().unwrap());
    }
    for bad in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "7f1c2c3e4a0b4c539d0e2f6f0a1b2c3d",
        "{7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d}",
        "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3g",
        "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2cä",
        "again",
    ] {
        assert_eq!(request(bad), ["request_id"], "{bad}");
    }
}

#[test]
fn an_id_of_a_resource_is_a_uuid_in_lower_case() {
    let order = |id: &str| wrong(|v| v.uuid(id, "order_id"));
    for good in ["7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d", "019368c0-4a0b-7c53-9d0e-2f6f0a1b2c3d"] {
        assert_eq!(order(good), [""; 0], "{good}");
    }
    for bad in [
        "00000000-0000-0000-0000-000000000000",
        "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D",
        "7f1c2c3e4a0b4c539d0e2f6f0a1b2c3d",
        "again",
    ] {
        assert_eq!(order(bad), ["order_id"], "{bad}");
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
fn chosen_ids_start_with_a_letter_or_are_uuids() {
    for good in ["mug-blue", "abcd", "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d"] {
        assert_eq!(wrong(|v| v.chosen_id(good, "id")), [""; 0], "{good}");
    }
    for bad in ["abc", "1mug", "mug-", "Mugs", "mug blue", &"a".repeat(64), "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D"] {
        assert_eq!(wrong(|v| v.chosen_id(bad, "id")), ["id"], "{bad}");
    }
}

proptest! {
    #[test]
    fn a_filter_never_panics(text in prop_oneof![any::<String>(), "[a-z=\" AND]{0,60}"]) {
        let read = filter::parse(&text, &["state"], &mut Violations::new());
        // What prints as a filter reads as the same.
        let printed = read.to_string();
        prop_assume!(printed.len() <= filter::MAX_BYTES);
        prop_assert_eq!(filter::parse(&printed, &["state"], &mut Violations::new()), read);
    }

    #[test]
    fn a_filter_gives_its_values_back(values in prop::collection::vec("[^\"]{0,40}", 3)) {
        let fields = ["state", "customer", "a.b"];
        let terms: Vec<_> = fields.iter().zip(&values).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let mut violations = Violations::new();
        let read = filter::parse(&terms.join(" AND "), &fields, &mut violations);
        prop_assert!(violations.finish("tests.meshwork.dev").is_ok());
        for (name, value) in fields.iter().zip(&values) {
            prop_assert_eq!(read.get(name), Some(value.as_str()));
        }
    }

    #[test]
    fn a_mask_never_panics_and_chooses_what_there_is(paths in prop::collection::vec("[ab.*]{0,3}", 0..6)) {
        let mask = FieldMask { paths };
        let chosen = mask::resolve(Some(&mask), &[("a", true), ("b", false)], &[], &mut Violations::new());
        prop_assert!(chosen.iter().all(|field| ["a", "b"].contains(field)));
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
    let cut = |items: Vec<i32>| Page::cut(items, 2, ToString::to_string, |_| 4);
    assert_eq!(cut(vec![1, 2, 3]), Page { items: vec![1, 2], next: Some("2".to_owned()) });
    assert_eq!(cut(vec![1, 2]), Page { items: vec![1, 2], next: None });
    assert_eq!(page::token(None, &[]), "");
}

#[test]
fn d2_pages_are_bounded_by_bytes() {
    let cut = |bytes: &[usize]| Page::cut(bytes.to_vec(), 5, ToString::to_string, |bytes| *bytes);
    let half = MAX_BYTES / 2;
    assert_eq!(cut(&[half, half - 100, 1]).items, [half, half - 100, 1]);
    assert_eq!(cut(&[half, half, 1]), Page { items: vec![half], next: Some(half.to_string()) });
    // One is on every page, so that lists come to their end.
    assert_eq!(cut(&[MAX_BYTES * 3, 1]), Page { items: vec![MAX_BYTES * 3], next: Some((MAX_BYTES * 3).to_string()) });
    assert_eq!(cut(&[usize::MAX]), Page { items: vec![usize::MAX], next: None });
    assert_eq!(cut(&[]), Page { items: vec![], next: None });
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
fn d8_enums_are_named_in_both_spellings() {
    let by_name = |name: &str| ["STATE_PENDING", "STATE_SHIPPED"].iter().position(|known| *known == name);
    let value = |word| filter::enum_value(word, "STATE_", by_name);
    assert_eq!((value("PENDING"), value("STATE_PENDING")), (Some(0), Some(0)));
    assert_eq!((value("SHIPPED"), value("STATE_SHIPPED")), (Some(1), Some(1)));
    for bad in ["", "STATE_", "pending", "STATE_STATE_PENDING", "LOST"] {
        assert_eq!(value(bad), None, "{bad}");
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
fn the_table_of_errors_is_sound() {
    assert_eq!(errors::faults(errors::TABLE), Vec::<String>::new());
    let mut violations = Violations::new();
    violations.add("field", "is wrong");
    let status = violations.finish("tests.meshwork.dev").unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), status.code()), (errors::INVALID_FIELDS.reason, errors::INVALID_FIELDS.code));
    assert_eq!(info.metadata["field"], "field");
}
