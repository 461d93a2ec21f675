//! Where a relay's events come from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use meshwork_eventstore::{Beats, Commit, Damage, EventStore};
use time::OffsetDateTime;

use crate::{Envelope, Position};

/// Events after a position, in order.
#[derive(Clone, Debug, Default)]
pub struct SourceBatch {
    /// The events.
    pub events: Vec<Envelope>,
    /// What among them can't be read.
    pub damaged: Vec<Damaged>,
    /// The last commit that was looked at, though it may hold nothing to publish.
    pub seen: Option<i64>,
}

/// A commit that can't be read (E2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The aggregate.
    pub subject: String,
    /// The place of the commit in the partition.
    pub n: i64,
    /// The aggregate's version after its first event; `None` when that can't be read either.
    pub version: Option<i64>,
    /// When it was made, as far as that can be read.
    pub time: OffsetDateTime,
    /// What is wrong with it.
    pub problem: String,
}

/// A commit of a source, as an audit sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCommit {
    /// The place of the commit in the partition.
    pub n: i64,
    /// The aggregate; empty for a tombstone.
    pub subject: String,
    /// The command that has made it; `None` where the source doesn't keep that.
    pub command_id: Option<String>,
    /// What of it is published.
    pub events: Vec<Envelope>,
    /// What is wrong with it, when it can't be read.
    pub problem: Option<String>,
    /// Whether it only fills a position whose commit was lost.
    pub is_tombstone: bool,
}

/// The commits that a batch tells of.
fn by_commit(batch: SourceBatch) -> Vec<SourceCommit> {
    let empty = |n, subject| SourceCommit {
        n,
        subject,
        command_id: None,
        events: Vec::new(),
        problem: None,
        is_tombstone: false,
    };
    let mut commits = BTreeMap::new();
    for event in batch.events {
        let n = event.position.n;
        commits.entry(n).or_insert_with(|| empty(n, event.subject.clone())).events.push(event);
    }
    for Damaged { subject, n, problem, .. } in batch.damaged {
        commits.entry(n).or_insert_with(|| empty(n, subject)).problem = Some(problem);
    }
    commits.into_values().collect()
}

/// A log of commits with dense positions: an event store, or an outbox.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The service, such as `orders`.
    fn name(&self) -> &str;

    /// The partitions, by their numbers in the stream: from 0, unless the source is one of several shards, which number their
    /// partitions through. All methods take and tell these numbers.
    fn partitions(&self) -> Range<u16>;

    /// The events of about `limit` commits of a partition, from the one at `n`, which may be missing yet.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the log.
    async fn read(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String>;

    /// As [`read`](Self::read), of what another process has added a moment ago too.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn read_now(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        self.read(partition, n, limit).await
    }

    /// About `limit` commits of a partition, from the one at `n`, in order: for an audit. A source whose commits may hold
    /// nothing to publish tells those too.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn commits(&self, partition: u16, n: i64, limit: usize) -> Result<Vec<SourceCommit>, String> {
        Ok(by_commit(self.read(partition, n, limit).await?))
    }

    /// The last position of a partition, 0 for none, also where another process has added it a moment ago; `None` where only
    /// reading tells.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn head(&self, partition: u16) -> Result<Option<i64>, String> {
        _ = partition;
        Ok(None)
    }

    /// The last positions of all partitions, as [`head`](Self::head) tells each; `None` where it doesn't tell one of them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn heads(&self) -> Result<Option<Vec<(u16, i64)>>, String> {
        let mut heads = Vec::new();
        for partition in self.partitions() {
            let Some(head) = self.head(partition).await? else { return Ok(None) };
            heads.push((partition, head));
        }
        Ok(Some(heads))
    }

    /// Whether an event of this source is the one that is published. One whose id is the same may be another: a source that was
    /// put back to an older copy gives versions again.
    fn is_same(&self, ours: &Envelope, published: &Envelope) -> bool {
        ours.id == published.id && ours.event_type == published.event_type && ours.data == published.data
    }

    /// Goes on behind `tail`, an event on the bus that this source doesn't hold: it was restored from an older copy. What it
    /// holds behind `common`, up to where both hold the same, is published behind `tail`; consumers know events by their
    /// aggregates and versions. Returns false when the source can't: its positions are more than places in a queue.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn go_on_behind(&self, tail: &Envelope, common: i64) -> Result<bool, String> {
        _ = (tail, common);
        Ok(false)
    }

    /// Hints that a partition has new commits; subscribe before reading.
    fn beats(&self, partition: u16) -> Beats;
}

/// The owner of aggregates, as consumers see it that miss some of their events.
#[async_trait]
pub trait StreamReader: Send + Sync + 'static {
    /// The events of `subject` whose version is above `after`, in order, at most about `limit`; none when there are none.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the log and for whoever looks at what is parked.
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String>;
}

/// An event store as a source.
pub struct StoreSource {
    store: Arc<dyn EventStore>,
    name: &'static str,
    publishes: fn(event_type: &str) -> bool,
}

impl StoreSource {
    /// The events of `store` whose type `publishes` admits; `name` is the service's, such as `orders`.
    pub fn new(store: Arc<dyn EventStore>, name: &'static str, publishes: fn(event_type: &str) -> bool) -> Self {
        Self { store, name, publishes }
    }

    fn envelopes(&self, commit: Commit) -> impl Iterator<Item = Envelope> {
        let Commit { stream, position, at, events, context, .. } = commit;
        (0..).zip(events).filter(|(_, event)| (self.publishes)(&event.event_type)).map(move |(index, event)| Envelope {
            id: Envelope::id_of(&stream, event.version),
            source: self.name.to_owned(),
            event_type: event.event_type,
            schema_version: event.schema_version,
            subject: stream.clone(),
            version: event.version,
            position: Position { partition: position.partition, n: position.n, index },
            time: at,
            context: context.clone(),
            data: event.data,
        })
    }
}

fn damaged(commit: &Commit, damage: &Damage) -> Damaged {
    Damaged {
        subject: commit.stream.clone(),
        n: commit.position.n,
        version: damage.first_version,
        time: commit.at,
        problem: damage.problem.clone(),
    }
}

#[async_trait]
impl StreamReader for StoreSource {
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String> {
        let commits = self.store.read(subject, after).await.map_err(|error| error.to_string())?;
        let mut events = Vec::new();
        for commit in commits {
            if let Some(damage) = &commit.damage {
                // What comes behind it would look as if it were the next.
                return if events.is_empty() {
                    Err(format!("a commit of {subject} can't be read: {}", damage.problem))
                } else {
                    Ok(events)
                };
            }
            events.extend(self.envelopes(commit).filter(|event| event.version > after));
            if events.len() >= limit {
                break;
            }
        }
        events.truncate(limit);
        Ok(events)
    }
}

#[async_trait]
impl Source for StoreSource {
    fn name(&self) -> &str {
        self.name
    }

    fn partitions(&self) -> Range<u16> {
        0..self.store.partitions()
    }

    async fn read(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        let commits = self.store.read_partition(partition, n - 1, limit).await.map_err(|error| error.to_string())?;
        let seen = commits.last().map(|commit| commit.position.n);
        let damaged = commits.iter().filter_map(|commit| Some(damaged(commit, commit.damage.as_ref()?))).collect();
        Ok(SourceBatch {
            events: commits.into_iter().flat_map(|commit| self.envelopes(commit)).collect(),
            damaged,
            seen,
        })
    }

    async fn read_now(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        let batch = self.read(partition, n, limit).await?;
        if batch.seen.is_some() {
            return Ok(batch);
        }
        self.store.head(partition).await.map_err(|error| error.to_string())?;
        self.read(partition, n, limit).await
    }

    async fn commits(&self, partition: u16, n: i64, limit: usize) -> Result<Vec<SourceCommit>, String> {
        let commits = self.store.read_partition(partition, n - 1, limit).await.map_err(|error| error.to_string())?;
        let told = commits.into_iter().map(|commit| SourceCommit {
            n: commit.position.n,
            subject: commit.stream.clone(),
            command_id: Some(commit.command_id.clone()),
            problem: commit.damage.as_ref().map(|damage| damage.problem.clone()),
            is_tombstone: commit.is_tombstone(),
            events: self.envelopes(commit).collect(),
        });
        Ok(told.collect())
    }

    async fn head(&self, partition: u16) -> Result<Option<i64>, String> {
        self.store.head(partition).await.map(Some).map_err(|error| error.to_string())
    }

    fn beats(&self, partition: u16) -> Beats {
        self.store.beats(partition)
    }
}
