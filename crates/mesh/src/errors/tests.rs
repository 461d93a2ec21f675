//! Whatever a status tells, it stays small, and tells what is ours as it is.

use std::time::Duration;

use meshwork_testkit::assert_small;
use proptest::prelude::*;
use tonic::Code;
use tonic_types::StatusExt;

use super::port::{BAD_TOKEN, NOT_ALLOWED, OVERLOADED, TABLE};
use super::{ErrorKind, MAX_MESSAGE, faults};
use crate::server::Domain;

const DOMAIN: &str = "notifications.example.com";

/// Of the longest reason, and with a delay.
const LONGEST: ErrorKind = ErrorKind::retryable(
    "AN_ERROR_WITH_A_REASON_THAT_HAS_AS_MANY_CHARACTERS_AS_IT_MAY_BE",
    Code::DeadlineExceeded,
    Duration::from_secs(1),
    "Something is long.",
);

/// Of one character more.
const TOO_LONG: &str = "AN_ERROR_WITH_A_REASON_THAT_HAS_MORE_CHARACTERS_THAN_IT_MAY_HAVE";

/// Texts that grow when they are shown or sent.
const HOSTILE: [&str; 8] = ["x", " ", "%", "\"", "\0", "\u{7f}", "\u{10ffff}", "\u{1f4a1}"];

#[test]
fn hostile_texts_of_any_length_leave_a_status_small() {
    for text in HOSTILE {
        for length in [1, 63, 64, 65, 100, 360, 640, 10_000] {
            let text = text.repeat(length);
            let metadata = [(text.as_str(), text.as_str()); 3];
            assert_small(&LONGEST.status(DOMAIN, &text, &metadata));
            let keys: Vec<_> = (0..100).map(|at| format!("{at}{text}")).collect();
            let metadata: Vec<_> = keys.iter().map(|key| (key.as_str(), text.as_str())).collect();
            let status = LONGEST.status(&text, &text, &metadata);
            assert!(status.message().len() <= MAX_MESSAGE);
            assert_small(&status);
            let domain = Domain::new(DOMAIN);
            assert_small(&domain.refuse(Code::NotFound, &text, &text, &metadata));
        }
    }
}

#[test]
fn what_is_ours_is_not_cut() {
    let name = format!("products/{}/stock", "a".repeat(63));
    let message = format!("only 1,000,000,000 pieces of {name} are available, and {name} holds none");
    let status = OVERLOADED.status(DOMAIN, &message, &[("product", &name)]);
    assert_eq!(status.message(), message);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OVERLOADED", DOMAIN));
    assert_eq!(info.metadata["product"], name);
}

#[test]
fn only_what_may_pass_says_when_to_try_again() {
    for kind in TABLE {
        let status = kind.status(Domain::default(), kind.meaning, &[]);
        assert_eq!(status.code(), kind.code);
        let delay = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(delay, kind.retry_after, "{}", kind.reason);
        assert_eq!(status.get_details_error_info().unwrap().domain, "meshwork");
    }
}

#[test]
fn a_kind_and_a_domain_tell_the_same() {
    let (domain, metadata) = (Domain::new(DOMAIN), [("role", "buyer")]);
    let of_kind = NOT_ALLOWED.status(domain, "no", &metadata);
    let of_domain = domain.refuse(NOT_ALLOWED.code, NOT_ALLOWED.reason, "no", &metadata);
    assert_eq!((of_kind.code(), of_kind.details()), (of_domain.code(), of_domain.details()));
    let delay = OVERLOADED.retry_after.unwrap();
    let of_domain = domain.refuse_for(delay, OVERLOADED.code, OVERLOADED.reason, "no", &metadata);
    assert_eq!(OVERLOADED.status(domain, "no", &metadata).details(), of_domain.details());
}

#[test]
fn the_table_has_no_faults_and_faults_are_found() {
    assert_eq!(faults(TABLE), Vec::<String>::new());
    assert_eq!(faults(&[&LONGEST]), Vec::<String>::new());
    assert_eq!(faults(&[&BAD_TOKEN, &BAD_TOKEN]).len(), 1);
    for reason in ["", "X", "lower", "WITH-DASH", TOO_LONG] {
        assert_eq!(faults(&[&ErrorKind::new(reason, Code::Unknown, "something")]).len(), 1, "{reason}");
    }
    assert_eq!(faults(&[&ErrorKind::new("NO_MEANING", Code::Unknown, "")]).len(), 1);
    assert_eq!((BAD_TOKEN.http(), NOT_ALLOWED.http(), OVERLOADED.http()), (401, 403, 503));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_it_tells_a_status_is_small(
        domain in any::<String>(),
        message in (any::<String>(), 1..100_usize),
        metadata in prop::collection::vec((any::<String>(), any::<String>(), 1..50_usize), 0..12),
    ) {
        let metadata: Vec<_> =
            metadata.into_iter().map(|(key, value, times)| (key.repeat(times), value.repeat(times))).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let status = LONGEST.status(domain.repeat(20), message.0.repeat(message.1), &metadata);
        prop_assert!(status.message().len() <= MAX_MESSAGE);
        assert_small(&status);
    }
}
