//! Where keys have been put, for ever.

use meshwork_sql::shards::{SLOTS, range_piece, slot_of};

/// Rows lie where this list says. A change of it would lose them: it never changes.
const GOLDEN: &str = include_str!("golden.txt");

#[test]
fn sh_a_thousand_keys_keep_their_slots() {
    let mut lines = 0;
    for line in GOLDEN.lines() {
        let (key, slot) = line.rsplit_once(' ').unwrap();
        assert_eq!(slot_of(key), slot.parse::<u16>().unwrap(), "{key}");
        lines += 1;
    }
    assert_eq!(lines, 1000);
}

#[test]
fn sh_ranges_keep_their_numbers() {
    for (low, piece) in [
        ("", 953_390_274),
        ("g", -218_515_817),
        ("n", 615_418_634),
        ("m", 1_099_716_604),
        ("user-00500", 56_498_290),
        ("ü", 216_047_470),
    ] {
        assert_eq!(range_piece(low), piece, "{low:?}");
    }
}

#[test]
fn every_slot_is_below_their_number() {
    let mut seen = vec![false; usize::from(SLOTS)];
    for n in 0..20_000 {
        seen[usize::from(slot_of(&format!("key {n}")))] = true;
    }
    assert!(seen.iter().all(|seen| *seen), "20,000 keys reach every slot");
}
