//! How fresh a read must be, and places in a database's log, as caches have them.

use meshwork_cache::{Position, Wanted};

use crate::consistency::{Freshness, WalPosition};

/// What a read wants of a cache; `None` for one that no cache may answer.
pub fn wanted(freshness: Freshness) -> Option<Wanted> {
    match freshness {
        Freshness::Latest => None,
        Freshness::Bounded => Some(Wanted::Recent),
        Freshness::AtLeast(asked) => Some(Wanted::AtLeast(position(asked))),
    }
}

/// A place in a database's log; nothing covers [`WalPosition::UNKNOWN`].
pub fn position(wal: WalPosition) -> Position {
    Position { history: u128::from(wal.system) << 32 | u128::from(wal.timeline), at: wal.lsn }
}

/// The place that a load has seen everything up to, by the position that was taken before it began; `None` where that isn't known.
pub fn loaded_at(taken: Option<WalPosition>) -> Option<Position> {
    taken.filter(|taken| *taken != WalPosition::UNKNOWN).map(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: WalPosition = WalPosition { system: u64::MAX - 1, timeline: 3, lsn: 100 };

    #[test]
    fn a_later_position_of_the_same_history_covers_an_earlier_one() {
        let covers = |one: WalPosition, asked: WalPosition| position(one).covers(&position(asked));
        assert!(covers(WalPosition { lsn: 101, ..AT }, AT));
        assert!(!covers(AT, AT), "a commit's record may be in the log before it is seen");
        for other in [WalPosition { timeline: 2, ..AT }, WalPosition { system: 7, ..AT }] {
            assert!(!covers(WalPosition { lsn: 101, ..other }, AT));
        }
        for asked in [WalPosition::UNKNOWN, WalPosition { lsn: u64::MAX, ..AT }] {
            assert!(!covers(WalPosition { lsn: u64::MAX, ..asked }, asked));
        }
    }

    #[test]
    fn only_what_need_not_be_the_latest_comes_from_a_cache() {
        assert_eq!(wanted(Freshness::Latest), None);
        assert_eq!(wanted(Freshness::Bounded), Some(Wanted::Recent));
        assert_eq!(wanted(Freshness::AtLeast(AT)), Some(Wanted::AtLeast(position(AT))));
        assert_eq!(loaded_at(None), None);
        assert_eq!(loaded_at(Some(WalPosition::UNKNOWN)), None);
        assert_eq!(loaded_at(Some(AT)), Some(position(AT)));
    }
}
