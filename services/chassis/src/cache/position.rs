//! How fresh a read must be, and places in a database's log, as caches have them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use meshwork_cache::{Position, Wanted};
use tokio::time::Instant;

use crate::consistency::{Freshness, WalPosition};

/// For how long a position that was taken is good for loads that begin later: what a caller has written since has a later one.
const RECENT: Duration = Duration::from_secs(5);

/// What a read wants of a cache; `None` for one that no cache may answer, as the one that asks for a position that nobody knows.
pub fn wanted(freshness: Freshness) -> Option<Wanted> {
    match freshness {
        Freshness::Latest | Freshness::AtLeast(WalPosition::UNKNOWN) => None,
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

/// The last positions that this process has taken of the parts of a store, so that loads which nobody's token asks for make no round
/// trip for one. A position that was taken before a load began is never too late for it: the load sees all that it covers.
#[derive(Debug, Default)]
pub struct TakenPositions(Mutex<HashMap<usize, Taken>>);

#[derive(Clone, Copy, Debug)]
struct Taken {
    /// When it was asked for.
    at: Instant,
    position: WalPosition,
}

impl TakenPositions {
    /// Asks for the position of a part of the store, and remembers it.
    pub async fn take(&self, part: usize, ask: impl Future<Output = Option<WalPosition>>) -> Option<WalPosition> {
        let at = Instant::now();
        let told = ask.await;
        if let Some(position) = told.filter(|told| *told != WalPosition::UNKNOWN) {
            let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = Taken { at, position };
            let last = parts.entry(part).or_insert(taken);
            if last.at <= at {
                *last = taken;
            }
        }
        told
    }

    /// The position of a load that is about to begin: for a reader with a token one that is asked for now, else the last one that was
    /// taken in the last 5 s, if there is one.
    pub async fn before_load(
        &self,
        part: usize,
        wanted: Wanted,
        ask: impl Future<Output = Option<WalPosition>>,
    ) -> Option<Position> {
        loaded_at(match wanted {
            Wanted::AtLeast(_) => self.take(part, ask).await,
            Wanted::Recent => self.last(part),
        })
    }

    fn last(&self, part: usize) -> Option<WalPosition> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&part).copied()?;
        (taken.at.elapsed() <= RECENT).then_some(taken.position)
    }
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
        assert_eq!(wanted(Freshness::AtLeast(WalPosition::UNKNOWN)), None, "the primary knows what is meant");
        assert_eq!(wanted(Freshness::Bounded), Some(Wanted::Recent));
        assert_eq!(wanted(Freshness::AtLeast(AT)), Some(Wanted::AtLeast(position(AT))));
        assert_eq!(loaded_at(None), None);
        assert_eq!(loaded_at(Some(WalPosition::UNKNOWN)), None);
        assert_eq!(loaded_at(Some(AT)), Some(position(AT)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_without_a_token_has_the_last_position_of_its_part_and_asks_for_none() {
        let (taken, token) = (TakenPositions::default(), Wanted::AtLeast(position(AT)));
        let at = |lsn| WalPosition { lsn, ..AT };
        let never = std::future::pending::<Option<WalPosition>>;
        assert_eq!(taken.before_load(0, Wanted::Recent, never()).await, None, "none is known");
        assert_eq!(taken.before_load(0, token, async { Some(at(7)) }).await, Some(position(at(7))));
        assert_eq!(taken.before_load(0, Wanted::Recent, never()).await, Some(position(at(7))));
        assert_eq!(taken.before_load(1, Wanted::Recent, never()).await, None, "it is of another part");
        // What wasn't told takes nothing away.
        assert_eq!(taken.take(0, async { Some(WalPosition::UNKNOWN) }).await, Some(WalPosition::UNKNOWN));
        assert_eq!(taken.take(0, async { Some(at(9)) }).await, Some(at(9)));
        assert_eq!(taken.before_load(0, Wanted::Recent, never()).await, Some(position(at(9))));
        tokio::time::advance(RECENT + Duration::from_millis(1)).await;
        assert_eq!(taken.before_load(0, Wanted::Recent, never()).await, None, "it is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_positions_that_were_asked_for_at_once_the_later_one_stays() {
        let taken = TakenPositions::default();
        let slow = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Some(WalPosition { lsn: 1, ..AT })
        };
        let fast = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            taken.take(0, async { Some(WalPosition { lsn: 2, ..AT }) }).await
        };
        tokio::join!(taken.take(0, slow), fast);
        let last = taken.before_load(0, Wanted::Recent, async { None }).await;
        assert_eq!(last, Some(position(WalPosition { lsn: 2, ..AT })));
    }
}
