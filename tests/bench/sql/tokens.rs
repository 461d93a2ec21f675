//! What a consistency token costs: reading it from a call's metadata, and what it asks of a read.

use std::hint::black_box;
use std::time::Instant;

use meshwork_aip::Violations;
use meshwork_chassis::consistency::{ConsistencyToken, TOKEN};
use meshwork_sql::{Freshness, WalPosition};
use tonic::Request;

use crate::Values;

/// How many are checked.
const CHECKS: u32 = 500_000;

pub(crate) fn measure(values: &mut Values) {
    let wal = WalPosition { system: 7_345_678_901_234_567_890, timeline: 3, lsn: 0x16_b374_d848 };
    let token = ConsistencyToken { events: None, wal: Some(wal) };
    let mut request = Request::new(());
    request.metadata_mut().insert(TOKEN, token.to_string().parse().unwrap());
    let begun = Instant::now();
    for _ in 0..CHECKS {
        let mut violations = Violations::default();
        let token = ConsistencyToken::of(black_box(&request), &mut violations);
        let freshness = ConsistencyToken::freshness_of_list(token);
        assert!(matches!(black_box(freshness), Freshness::AtLeast(_)));
    }
    values.add("token_checks_per_second", (f64::from(CHECKS) / begun.elapsed().as_secs_f64()).round());
}
