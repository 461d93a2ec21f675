//! Where the primary's log was, and when: what tells how long a replica has been behind.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many places are kept at most.
const MOST: usize = 4_096;

/// Where the primary's log had grown to, and when that was learnt first.
#[derive(Debug)]
pub(crate) struct History {
    /// Each further than the one before.
    places: VecDeque<(Instant, u64)>,
    /// Places older than this are of no interest, but for the youngest of them.
    keep: Duration,
}

impl History {
    pub fn new(keep: Duration) -> Self {
        Self { places: VecDeque::new(), keep }
    }

    /// The log was at `lsn` at this time. A primary that writes nothing adds nothing, so that nobody is late because of it.
    pub fn add(&mut self, now: Instant, lsn: u64) {
        if self.places.back().is_some_and(|(_, last)| *last >= lsn) {
            return;
        }
        self.places.push_back((now, lsn));
        while self.places.get(1).is_some_and(|(learnt, _)| now.saturating_duration_since(*learnt) > self.keep) {
            self.places.pop_front();
        }
        if self.places.len() > MOST {
            // Of two, the earlier time and the further place: rather too late than too early.
            let mut thinned = VecDeque::with_capacity(MOST);
            while let Some((learnt, lsn)) = self.places.pop_front() {
                let lsn = self.places.pop_front().map_or(lsn, |(_, further)| further);
                thinned.push_back((learnt, lsn));
            }
            self.places = thinned;
        }
    }

    /// Forgets everything: another primary has begun a log of its own.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// How many bytes, and since when, a server is behind that has replayed up to `lsn`; `None` while nothing is known of the
    /// primary.
    pub fn lag(&self, now: Instant, lsn: u64) -> Option<(u64, Duration)> {
        let (_, last) = self.places.back()?;
        // Sorted, so that the first place beyond is found by halving.
        let missed = self.places.get(self.places.partition_point(|(_, place)| *place <= lsn));
        let since = missed.map_or(Duration::ZERO, |(learnt, _)| now.saturating_duration_since(*learnt));
        Some((last.saturating_sub(lsn), since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rr_an_idle_primary_makes_no_replica_late() {
        let (mut history, start) = (History::new(SECOND * 10), Instant::now());
        for n in 0..1_000_u32 {
            history.add(start + SECOND * n, 77);
        }
        let now = start + SECOND * 1_000;
        assert_eq!(history.lag(now, 77), Some((0, Duration::ZERO)));
        // One that never got there has been late all the time.
        assert_eq!(history.lag(now, 76), Some((1, SECOND * 1_000)));
    }

    #[test]
    fn rr_a_replica_is_late_since_the_first_place_that_it_has_not_replayed() {
        let (mut history, start) = (History::new(SECOND * 60), Instant::now());
        assert_eq!(history.lag(start, 5), None);
        for n in 1..=10_u32 {
            history.add(start + SECOND * n, u64::from(n) * 100);
        }
        let now = start + SECOND * 10;
        for (replayed, bytes, seconds) in [(1_000, 0, 0_u32), (2_000, 0, 0), (999, 1, 0), (800, 200, 1), (250, 750, 7)]
        {
            assert_eq!(history.lag(now, replayed), Some((bytes, SECOND * seconds)), "{replayed}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_and_nobody_looks_fresher_for_it(grown in proptest::collection::vec(1..50_u64, 1..200)) {
            let (mut short, mut whole) = (History::new(SECOND * 20), History::new(SECOND * 100_000));
            let (start, mut lsn) = (Instant::now(), 0);
            let mut now = start;
            for by in grown {
                (lsn, now) = (lsn + by, now + SECOND);
                short.add(now, lsn);
                whole.add(now, lsn);
            }
            prop_assert!(short.places.len() <= 22);
            for replayed in [0, lsn / 2, lsn.saturating_sub(30), lsn] {
                let (bytes, lag) = short.lag(now, replayed).unwrap();
                let (true_bytes, true_lag) = whole.lag(now, replayed).unwrap();
                prop_assert_eq!(bytes, true_bytes);
                // What is forgotten was beyond what counts.
                prop_assert!(lag == true_lag || (lag < true_lag && lag >= SECOND * 20), "{:?} {:?}", lag, true_lag);
            }
        }
    }

    #[test]
    fn a_long_history_is_thinned() {
        let (mut history, start) = (History::new(SECOND * 1_000_000), Instant::now());
        for n in 0..20_000_u32 {
            history.add(start + SECOND * n, u64::from(n));
        }
        assert!(history.places.len() <= MOST, "{}", history.places.len());
        assert_eq!(history.lag(start + SECOND * 20_000, 19_999), Some((0, Duration::ZERO)));
        let (_, lag) = history.lag(start + SECOND * 20_000, 10_000).unwrap();
        assert!(lag >= SECOND * 9_999, "{lag:?}");
    }
}
