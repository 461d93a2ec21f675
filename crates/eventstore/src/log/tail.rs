//! Following a partition: a commit after the other, and what was lost from the middle filled with tombstones.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::{CommitServer, InsertError, InsertFailure, Log, ONE_BY_ONE, ReadError};
use crate::{Commit, Position, StoreError};

/// How long the follower waits before it looks again, while commits come.
const POLL: Duration = Duration::from_millis(20);
/// How many commits a range has.
const RANGE: usize = 1_000;
/// How often a hole is tried to be filled in one go.
const TRIES: u32 = 8;

/// Follows a partition for ever, so that who waits is woken for the commits of other processes too.
pub(super) async fn follow<S: CommitServer>(log: Arc<Log<S>>, number: u16) {
    let partition = log.partition(number);
    let (mut pause, mut checked) = (POLL, Instant::now());
    loop {
        let mut read = log.catch_up(number).await;
        if let Ok(met) = read
            && checked.elapsed() >= log.options.hole_check
        {
            checked = Instant::now();
            read = log.look_behind(number).await.map(|more| met + more);
        }
        match read {
            // Others write here, and may do so again soon. What this process has made is handed on without this.
            Ok(read) if read > 0 => pause = POLL,
            Ok(_) => pause = (pause * 2).min(log.options.poll),
            Err(error) => {
                tracing::warn!(partition = number, %error, "following the event store is tried again");
                pause = log.options.poll;
            }
        }
        tokio::time::timeout(pause, partition.behind.notified()).await.ok();
    }
}

impl<S: CommitServer> Log<S> {
    /// The highest position that is known to be taken; the database is asked for it when this process begins with a
    /// partition.
    pub(super) async fn head(&self, number: u16) -> Result<i64, ReadError> {
        let partition = self.partition(number);
        if let Some(head) = partition.head() {
            return Ok(head);
        }
        partition.begin(self.server.last(number).await?);
        Ok(partition.head().unwrap_or_default())
    }

    /// Moves the tail to the end of the partition. Returns how many commits it was moved over.
    pub(super) async fn catch_up(&self, number: u16) -> Result<usize, StoreError> {
        let partition = self.partition(number);
        self.head(number).await?;
        let mut moved = 0;
        loop {
            let (asked, tail) = (Instant::now(), partition.tail());
            let commits = self.read_on(number, tail, RANGE).await?;
            if commits.is_empty() {
                partition.caught_up(asked);
                return Ok(moved);
            }
            moved += commits.iter().filter(|commit| self.stands(commit)).count();
        }
    }

    /// Looks whether there is something behind the tail that following it one by one doesn't meet.
    async fn look_behind(&self, number: u16) -> Result<usize, StoreError> {
        self.partition(number).taken(self.server.last(number).await?);
        self.catch_up(number).await
    }

    /// At most `limit` commits behind `after`, without a gap; fewer mean that the end is reached, as it was known a moment
    /// ago.
    pub(super) async fn read_partition(
        &self,
        number: u16,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Commit>, StoreError> {
        let mut read: Vec<Commit> = Vec::new();
        while read.len() < limit {
            let last = read.last().map_or(after, |commit| commit.position.n);
            let wanted = limit - read.len();
            let partition = self.partition(number);
            let more = match partition.recent(last, wanted) {
                Some(more) => more,
                // The follower looks for more, and wakes who waits for it. When it can't, the reader learns why.
                None if partition.ends_at(last, 2 * self.options.poll) => break,
                None => {
                    let more = self.read_on(number, last, wanted.min(RANGE)).await?;
                    partition.keep_last(&more);
                    more
                }
            };
            if more.is_empty() {
                break;
            }
            read.extend(more);
        }
        Ok(read)
    }

    /// The next commits from the database, without a gap; none at the end.
    ///
    /// The steady state is one look for the next position, by equality: that is cheap on every server.
    async fn read_on(&self, number: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        let partition = self.partition(number);
        let mut read: Vec<Commit> = Vec::new();
        while read.len() < limit.min(ONE_BY_ONE) {
            let next = read.last().map_or(after, |commit| commit.position.n) + 1;
            match self.server.follow(number, next).await? {
                Some(commit) => read.push(commit),
                // What is known to be taken behind it proves that something was there.
                None if self.head(number).await? > next => read.push(self.fill(number, next).await?),
                None => return Ok(read),
            }
        }
        let last = read.last().map_or(after, |commit| commit.position.n);
        let more =
            if read.len() < limit { self.server.range(number, last, limit - read.len()).await? } else { Vec::new() };
        // Up to the first gap, which the next call looks into.
        let dense = (last + 1..).zip(&more).take_while(|(n, commit)| *n == commit.position.n).count();
        if let Some(beyond) = more.last() {
            partition.taken(beyond.position.n);
        }
        read.extend(more.into_iter().take(dense));
        Ok(read)
    }

    /// Fills the position of a lost commit with a tombstone, unless something turns out to be there.
    async fn fill(&self, number: u16, n: i64) -> Result<Commit, StoreError> {
        let position = Position { partition: number, n };
        let tombstone = Commit::tombstone(position, crate::store::stored_time(OffsetDateTime::now_utc()));
        let mut backoff = Backoff::new();
        let mut problem = String::new();
        for _ in 0..TRIES {
            match self.server.insert(std::slice::from_ref(&tombstone)).await {
                Ok(()) => {
                    tracing::error!(
                        partition = number,
                        n,
                        "a commit is missing from the event store; its place is filled"
                    );
                    return Ok(tombstone);
                }
                Err(InsertFailure { error: InsertError::Duplicate, .. }) => {
                    "something is there that no majority has yet".clone_into(&mut problem);
                }
                Err(failure) => problem = failure.to_string(),
            }
            if let Some(commit) = self.server.follow(number, n).await? {
                return Ok(commit);
            }
            backoff.pause(|below| self.random(below)).await;
        }
        Err(StoreError::Unavailable(format!("position {n} of partition {number} can't be read: {problem}")))
    }
}
