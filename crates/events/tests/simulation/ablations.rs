//! What keeps the log sound, taken away: the simulation must see it each time.

use crate::explore;
use crate::schedule::Variant;

/// In how many schedules each must be seen.
const WITHIN: u64 = 4_000;

fn is_caught(variant: Variant) {
    let (counts, broken) = explore(variant, 0..WITHIN);
    let (seed, violations) = broken.unwrap_or_else(|| panic!("{variant:?} was not seen in {counts}"));
    println!("{variant:?} is seen at seed {seed}: {}", violations[0]);
}

#[test]
fn a_load_that_reads_locally_is_caught() {
    is_caught(Variant::LoadLocally);
}

#[test]
fn a_decision_that_reads_locally_is_caught() {
    is_caught(Variant::DecideLocally);
}

#[test]
fn a_relay_that_reads_locally_is_caught() {
    is_caught(Variant::FollowLocally);
}

#[test]
fn a_new_command_id_after_a_timeout_is_caught() {
    is_caught(Variant::NewIdAfterTimeout);
}

#[test]
fn an_append_that_does_not_check_the_boundary_is_caught() {
    is_caught(Variant::NoBoundaryCheck);
}

#[test]
fn holes_without_tombstones_are_caught() {
    is_caught(Variant::RaiseLocallyWithoutTombstones);
}

#[test]
fn a_relay_that_skips_holes_is_caught() {
    is_caught(Variant::RaiseLocallySkippingHoles);
}

#[test]
fn a_bus_without_a_fence_is_caught() {
    is_caught(Variant::Unfenced);
}

#[test]
fn an_insert_that_goes_on_behind_a_refused_commit_is_caught() {
    // With tombstones the positions stay dense, but what was told as not made is.
    is_caught(Variant::Unordered);
    is_caught(Variant::UnorderedWithoutTombstones);
}

#[test]
fn holes_are_filled_by_tombstones() {
    let (counts, broken) = explore(Variant::RaiseLocally, 0..400);
    println!("{counts}");
    assert_eq!(broken, None);
    assert!(counts.tombstones > 0, "no hole was met");
}
