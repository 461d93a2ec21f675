//! What the relays of several shards keep, as one.

use std::cmp::Reverse;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use meshwork_sql::{Error, Kind, to_micros};
use uuid::Uuid;

use crate::dead_letters::{DeadLetter, LetterCursor, ParkedSummary};
use crate::state::ConsumerState;
use crate::{Envelope, Position};

/// The states of one consumer, or of the relays of one source, in the databases of its shards: for those who look at all of
/// what is parked.
///
/// What names a position is asked of the shard whose partition that is; what names an aggregate or a letter, of all. An error of
/// a shard tells which it is. What is asked of all fails where one can't be asked, unless another has what was looked for.
pub struct ShardedState {
    members: Vec<Member>,
}

/// A shard's state.
struct Member {
    partitions: Range<u16>,
    state: Arc<dyn ConsumerState>,
}

impl Member {
    /// An error that tells whose it is.
    fn failed(&self, error: &Error) -> Error {
        let Range { start, end } = self.partitions;
        let last = end.saturating_sub(1);
        let told = format!("the database of the partitions {start} to {last}: {error}");
        match error.kind() {
            Kind::Unavailable | Kind::Conflict => sqlx::Error::Io(io::Error::other(told)).into(),
            Kind::OutcomeUnknown => Error::OutcomeUnknown(told),
            Kind::Damaged => sqlx::Error::Decode(told.into()).into(),
        }
    }

    fn told<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer.map_err(|error| self.failed(&error))
    }
}

impl ShardedState {
    /// The states of the shards, each with the partitions whose events it keeps.
    pub fn new(members: Vec<(Range<u16>, Arc<dyn ConsumerState>)>) -> Self {
        let member = |(partitions, state)| Member { partitions, state };
        Self { members: members.into_iter().map(member).collect() }
    }

    fn of(&self, partition: u16) -> Option<&Member> {
        self.members.iter().find(|member| member.partitions.contains(&partition))
    }

    /// The shard of an event that is to be kept.
    fn keeper(&self, stream: &str, partition: u16) -> Result<&Member, Error> {
        self.of(partition).ok_or_else(|| {
            let problem = format!(
                "no database keeps what concerns the partition {partition} of {stream}: look whether all its shards are configured"
            );
            sqlx::Error::Configuration(problem.into()).into()
        })
    }
}

/// The first of what was found; else the first error.
struct Looked<T> {
    found: Option<T>,
    failed: Option<Error>,
}

impl<T> Looked<T> {
    fn new() -> Self {
        Self { found: None, failed: None }
    }

    fn take(&mut self, answer: Result<Option<T>, Error>) {
        match answer {
            Ok(found) => self.found = self.found.take().or(found),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    fn outcome(self) -> Result<Option<T>, Error> {
        match (self.found, self.failed) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }
}

#[async_trait]
impl ConsumerState for ShardedState {
    fn consumer(&self) -> &str {
        self.members.first().map_or("", |member| member.state.consumer())
    }

    fn is_required(&self) -> bool {
        self.members.iter().any(|member| member.state.is_required())
    }

    /// As many as the weakest bears: they may all be one shard's.
    fn concurrency(&self) -> usize {
        self.members.iter().map(|member| member.state.concurrency()).min().unwrap_or(1)
    }

    async fn position(&self, stream: &str, partition: u16) -> Result<Option<Position>, Error> {
        match self.of(partition) {
            Some(member) => member.told(member.state.position(stream, partition).await),
            None => Ok(None),
        }
    }

    async fn reached(&self, stream: &str, position: Position) -> Result<(), Error> {
        let member = self.keeper(stream, position.partition)?;
        member.told(member.state.reached(stream, position).await)
    }

    /// An aggregate that several shards have noted has come as far as the one that is ahead.
    async fn applied(&self, after: &str, limit: usize) -> Result<Vec<(String, i64)>, Error> {
        let mut applied = Vec::new();
        for member in &self.members {
            applied.extend(member.told(member.state.applied(after, limit).await)?);
        }
        applied.sort_unstable_by(|(subject, version), (other, than)| subject.cmp(other).then(than.cmp(version)));
        applied.dedup_by(|(subject, _), (before, _)| subject == before);
        applied.truncate(limit);
        Ok(applied)
    }

    async fn park(&self, stream: &str, event: &Envelope, reason: &str) -> Result<(), Error> {
        let member = self.keeper(stream, event.position.partition)?;
        member.told(member.state.park(stream, event, reason).await)
    }

    async fn queue(&self, stream: &str, event: &Envelope) -> Result<bool, Error> {
        let member = self.keeper(stream, event.position.partition)?;
        member.told(member.state.queue(stream, event).await)
    }

    async fn blocks(&self, subject: &str, version: i64) -> Result<bool, Error> {
        for member in &self.members {
            if member.told(member.state.blocks(subject, version).await)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The one with the lowest version: a shard that can't be asked may have it.
    async fn first_of(&self, subject: &str) -> Result<Option<DeadLetter>, Error> {
        let mut first: Option<DeadLetter> = None;
        for member in &self.members {
            let Some(letter) = member.told(member.state.first_of(subject).await)? else { continue };
            if first.as_ref().is_none_or(|first| letter.event.version < first.event.version) {
                first = Some(letter);
            }
        }
        Ok(first)
    }

    async fn aggregates(
        &self,
        stream: Option<&str>,
        after: &str,
        due: bool,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut subjects = Vec::new();
        for member in &self.members {
            subjects.extend(member.told(member.state.aggregates(stream, after, due, limit).await)?);
        }
        subjects.sort_unstable();
        subjects.dedup();
        subjects.truncate(limit);
        Ok(subjects)
    }

    async fn list(
        &self,
        subject: Option<&str>,
        behind: Option<LetterCursor>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::new();
        for member in &self.members {
            letters.extend(member.told(member.state.list(subject, behind, limit).await)?);
        }
        // As each has them.
        letters.sort_by_key(|letter| Reverse((to_micros(letter.parked_at), letter.id)));
        letters.truncate(limit);
        Ok(letters)
    }

    async fn get(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        let mut looked = Looked::new();
        for member in &self.members {
            looked.take(member.told(member.state.get(id).await));
        }
        looked.outcome()
    }

    async fn remove(&self, subject: &str, version: i64) -> Result<(), Error> {
        for member in &self.members {
            member.told(member.state.remove(subject, version).await)?;
        }
        Ok(())
    }

    async fn discard(&self, id: Uuid) -> Result<Option<String>, Error> {
        let mut looked = Looked::new();
        for member in &self.members {
            looked.take(member.told(member.state.discard(id).await));
        }
        looked.outcome()
    }

    async fn summary(&self) -> Result<ParkedSummary, Error> {
        let mut all = ParkedSummary::default();
        for member in &self.members {
            let ParkedSummary { letters, aggregates, first } = member.told(member.state.summary().await)?;
            all.letters += letters;
            all.aggregates += aggregates;
            all.first = all.first.or(first);
        }
        Ok(all)
    }
}
