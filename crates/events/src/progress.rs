//! How far behind a relay, a consumer or a projector is.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// Up to which moment each partition is done, and what stands in its way. Clones share it.
#[derive(Clone)]
pub struct Progress {
    /// The number of the first partition; those before it are others'.
    first: u16,
    partitions: Arc<[Mutex<Partition>]>,
}

struct Partition {
    done: Instant,
    problem: Option<String>,
    /// Whether the problem doesn't pass by itself.
    stopped: bool,
}

impl Progress {
    /// Nothing of what comes from now on is done, in so many partitions from 0.
    pub fn new(partitions: u16) -> Self {
        Self::over(0..partitions)
    }

    /// As [`new`](Self::new), in these partitions: others don't count.
    pub fn over(partitions: Range<u16>) -> Self {
        let (first, done) = (partitions.start, Instant::now());
        let partition = |_| Mutex::new(Partition { done, problem: None, stopped: false });
        Self { first, partitions: partitions.map(partition).collect() }
    }

    fn partition(&self, partition: u16) -> Option<&Mutex<Partition>> {
        self.partitions.get(usize::from(partition.checked_sub(self.first)?))
    }

    /// Everything that was there at the moment `asked` is done.
    pub fn caught_up(&self, partition: u16, asked: Instant) {
        if let Some(partition) = self.partition(partition) {
            let mut partition = partition.lock().unwrap_or_else(PoisonError::into_inner);
            partition.done = asked.max(partition.done);
            (partition.problem, partition.stopped) = (None, false);
        }
    }

    /// Something stands in a partition's way, until it comes further. It is tried again, and may pass by itself.
    pub fn failed(&self, partition: u16, problem: &str) {
        self.stands_in_the_way(partition, problem, false);
    }

    /// As [`failed`](Self::failed), of something that doesn't pass by itself: somebody has to put it right.
    pub fn stopped(&self, partition: u16, problem: &str) {
        self.stands_in_the_way(partition, problem, true);
    }

    fn stands_in_the_way(&self, partition: u16, problem: &str, stopped: bool) {
        if let Some(partition) = self.partition(partition) {
            let mut partition = partition.lock().unwrap_or_else(PoisonError::into_inner);
            (partition.problem, partition.stopped) = (Some(problem.to_owned()), stopped);
        }
    }

    /// What stands in the way of a partition: of the first that doesn't go on by itself, else of the first that has something in
    /// its way.
    pub fn problem(&self) -> Option<String> {
        let first = |stopped: bool| {
            self.partitions.iter().find_map(|partition| {
                let partition = partition.lock().unwrap_or_else(PoisonError::into_inner);
                partition.problem.clone().filter(|_| partition.stopped == stopped)
            })
        };
        first(true).or_else(|| first(false))
    }

    /// Whether a partition doesn't go on by itself ([`stopped`](Self::stopped)).
    pub fn is_stopped(&self) -> bool {
        self.partitions.iter().any(|partition| partition.lock().unwrap_or_else(PoisonError::into_inner).stopped)
    }

    /// What stands in the way of this partition.
    pub fn problem_of(&self, partition: u16) -> Option<String> {
        self.partition(partition)?.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    /// Everything up to an event that happened `at` that time is done; there is more.
    pub fn reached(&self, partition: u16, at: OffsetDateTime) {
        // The clock of the event's source may be ahead of ours.
        let behind = Duration::try_from(OffsetDateTime::now_utc() - at).unwrap_or_default();
        if let Some(at) = Instant::now().checked_sub(behind) {
            self.caught_up(partition, at);
        }
    }

    /// For how long the partition that is furthest behind has not been done. With nothing to do it is a second or so, since
    /// partitions are looked at that often; it grows while something is stuck, and also when nothing has come since.
    pub fn lag(&self) -> Duration {
        let lags = self.partitions.iter().map(|it| it.lock().unwrap_or_else(PoisonError::into_inner).done.elapsed());
        lags.max().unwrap_or_default()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("lag", &self.lag()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_that_of_the_partition_furthest_behind() {
        let progress = Progress::new(2);
        tokio::time::advance(MINUTE).await;
        assert_eq!(progress.lag(), MINUTE);
        progress.clone().caught_up(0, Instant::now());
        assert_eq!(progress.lag(), MINUTE);
        progress.caught_up(1, Instant::now() - MINUTE / 2);
        assert_eq!(progress.lag(), MINUTE / 2);
        // What was asked for earlier takes nothing back, and a partition that there is not is nobody's.
        progress.caught_up(1, Instant::now() - MINUTE);
        progress.caught_up(2, Instant::now());
        assert_eq!(progress.lag(), MINUTE / 2);
        assert_eq!(Progress::new(0).lag(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_outside_its_range_are_others() {
        let progress = Progress::over(4..6);
        tokio::time::advance(MINUTE).await;
        for other in [0, 3, 6] {
            progress.caught_up(other, Instant::now());
            progress.stopped(other, "theirs");
        }
        assert_eq!((progress.lag(), progress.problem(), progress.is_stopped()), (MINUTE, None, false));
        progress.caught_up(4, Instant::now());
        assert_eq!(progress.lag(), MINUTE);
        progress.caught_up(5, Instant::now());
        assert_eq!(progress.lag(), Duration::ZERO);
        progress.failed(5, "ours");
        assert_eq!([1, 4, 5].map(|partition| progress.problem_of(partition)), [None, None, Some("ours".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_is_there_until_its_partition_comes_further() {
        let progress = Progress::new(2);
        assert_eq!(progress.problem(), None);
        progress.failed(1, "planted");
        progress.caught_up(0, Instant::now());
        assert_eq!(progress.problem().as_deref(), Some("planted"));
        assert_eq!([0, 1, 2].map(|partition| progress.problem_of(partition).is_some()), [false, true, false]);
        progress.clone().caught_up(1, Instant::now());
        assert_eq!((progress.problem(), progress.problem_of(1)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_by_itself_is_told_first() {
        let progress = Progress::new(2);
        progress.failed(0, "passing");
        assert!(!progress.is_stopped());
        progress.stopped(1, "lasting");
        assert!(progress.is_stopped());
        assert_eq!(progress.problem().as_deref(), Some("lasting"));
        progress.caught_up(1, Instant::now());
        assert_eq!((progress.is_stopped(), progress.problem().as_deref()), (false, Some("passing")));
        // What is seen last counts.
        progress.stopped(0, "lasting");
        progress.failed(0, "passing");
        assert!(!progress.is_stopped());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_event_tells_how_far_a_busy_partition_is() {
        let progress = Progress::new(1);
        tokio::time::advance(MINUTE).await;
        progress.reached(0, OffsetDateTime::now_utc() - MINUTE / 2);
        let lag = progress.lag();
        // The wall clock goes on in a test.
        assert!(lag >= MINUTE / 2 && lag < MINUTE, "{lag:?}");
        progress.reached(0, OffsetDateTime::now_utc() + MINUTE);
        assert_eq!(progress.lag(), Duration::ZERO);
        progress.reached(0, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(progress.lag(), Duration::ZERO);
    }
}
