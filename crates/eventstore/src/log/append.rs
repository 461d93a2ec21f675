//! An append: the check of its version, the insert, and the decision of its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use tokio::time::timeout;

use super::backoff::Backoff;
use super::waiting::Outcome;
use super::{CommitServer, Log, ReadError, first_version, sound};
use crate::{Append, AppendError, Appended, Commit, Expected, Position, StoreError, StoredEvent, partition_of, store};

/// After how many positions in a row that others had taken the partition is read to its end.
const TAKEN_IN_A_ROW: u32 = 3;

/// What an append has come to when its time is over.
#[derive(Debug, Default)]
struct Attempt {
    /// Whether an insert is under way, or may have been made.
    sent: Arc<AtomicBool>,
    /// What went wrong last.
    problem: Option<String>,
}

/// What the majority reads say about an insert that was not acknowledged.
enum Decision {
    /// The command's commit stands.
    Done(Box<Appended>),
    /// Another command has the version.
    Conflict,
    /// Another commit has the position.
    Taken,
    /// Nothing is there yet.
    Nothing,
}

/// Where a commit goes.
enum End {
    /// Behind this version.
    At(i64),
    /// Nowhere: the command has made its commit already.
    Done(Box<Appended>),
}

/// Why something about an append is not known, or that it is refused.
enum Failure {
    /// A read has failed, and may be tried again.
    Read(ReadError),
    /// The append is refused.
    Refused(AppendError),
}

impl Attempt {
    fn sent(&self) -> bool {
        self.sent.load(Ordering::SeqCst)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Failure::Read(error)
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Failure::Refused(error)
    }
}

impl<S: CommitServer> Log<S> {
    /// Makes a commit, or finds the one that the same command has made before.
    pub(super) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        store::check(&append)?;
        let mut attempt = Attempt::default();
        let limit = self.options.append_timeout;
        let placed = timeout(limit, self.place(append, &mut attempt)).await;
        placed.unwrap_or_else(|_| {
            // Nothing more is sent from here on: what still waits was taken back when the wait for it ended. The queue
            // notes that it sends and then looks whether somebody waits; here it is the other way round.
            fence(Ordering::SeqCst);
            let sent = attempt.sent();
            let problem = attempt.problem.unwrap_or_else(|| "it doesn't answer".to_owned());
            let problem = format!("{problem} (within {limit:?})");
            Err(AppendError::Store(if sent {
                StoreError::OutcomeUnknown(problem)
            } else {
                StoreError::Unavailable(problem)
            }))
        })
    }

    async fn place(&self, append: Append, attempt: &mut Attempt) -> Result<Appended, AppendError> {
        let partition = partition_of(&append.stream, self.options.partitions);
        loop {
            let end = match self.stream_end(partition, &append, attempt).await? {
                End::At(end) => end,
                End::Done(appended) => return Ok(*appended),
            };
            match self.insert(commit(&append, partition, end), attempt).await? {
                Some(appended) => return Ok(appended),
                // Nothing was decided on the stream's state: it goes behind whatever came first.
                None if append.expected == Expected::Any => self.ends.invalidate(&append.stream),
                None => {
                    // What was read of the other's commit, at least; the stream may be further by now.
                    let actual = self.ends.get(&append.stream).unwrap_or_default().max(end + 1);
                    return Err(AppendError::VersionConflict { stream: append.stream, actual });
                }
            }
        }
    }

    /// The version behind which the commit goes, which is the end of a commit that stands; or what the command has made
    /// already.
    ///
    /// Ends of commits never disappear, so that nothing can come between this check and the insert but a commit behind
    /// the same end, and then the unique index refuses one of them.
    async fn stream_end(&self, partition: u16, append: &Append, attempt: &mut Attempt) -> Result<End, AppendError> {
        let wanted = match append.expected {
            Expected::NoStream | Expected::Exact(0) => return Ok(End::At(0)),
            Expected::Exact(version) if self.ends.get(&append.stream) == Some(version) => return Ok(End::At(version)),
            Expected::Exact(version) if !self.options.checks_boundaries() => return Ok(End::At(version)),
            Expected::Exact(version) => Some(version),
            Expected::Any => match self.ends.get(&append.stream) {
                Some(version) => return Ok(End::At(version)),
                None => None,
            },
        };
        let mut backoff = Backoff::new();
        loop {
            match self.look(partition, append, wanted).await {
                Ok(end) => return Ok(end),
                Err(Failure::Refused(refused)) => return Err(refused),
                Err(Failure::Read(error)) => attempt.problem = Some(error.0),
            }
            backoff.pause(|below| self.random(below)).await;
        }
    }

    /// Looks into the stream for its end, and for what the command has made.
    async fn look(&self, partition: u16, append: &Append, wanted: Option<i64>) -> Result<End, Failure> {
        if let Some(found) = self.server.by_command(partition, &append.stream, &append.command_id).await? {
            self.found(&found);
            return Ok(End::Done(same_command(found, append.command_hash, |_| true)?));
        }
        if let (Some(version), Some(actual)) = (wanted, self.ends.get(&append.stream))
            && actual > version
        {
            return Err(AppendError::VersionConflict { stream: append.stream.clone(), actual }.into());
        }
        let mut commits = match wanted {
            Some(version) => self.server.load(partition, &append.stream, version.saturating_sub(1)).await?,
            None => Vec::new(),
        };
        // No version to look from, or the stream ends before it.
        if commits.is_empty() && wanted != Some(1) {
            commits.extend(self.server.newest(partition, &append.stream).await?);
        }
        let mut actual = 0;
        if let Some(last) = commits.pop() {
            for commit in commits {
                sound(commit).map_err(AppendError::Store)?;
            }
            let last = sound(last).map_err(AppendError::Store)?;
            self.found(&last);
            actual = last.version();
        }
        match wanted {
            Some(version) if version != actual => {
                Err(AppendError::VersionConflict { stream: append.stream.clone(), actual }.into())
            }
            _ => Ok(End::At(actual)),
        }
    }

    /// Inserts the commit at the first free position. `None` when another commit has its version.
    async fn insert(&self, mut commit: Commit, attempt: &mut Attempt) -> Result<Option<Appended>, AppendError> {
        let partition = self.partition(commit.position.partition);
        let mut backoff = Backoff::new();
        let mut taken = 0;
        loop {
            let overtaken = match self.insert_in_turn(&mut commit, &attempt.sent).await {
                Outcome::Made => return Ok(Some(Appended { commit, replayed: false })),
                Outcome::Overtaken => true,
                Outcome::Failed(problem) => {
                    attempt.problem = Some(problem);
                    false
                }
            };
            if attempt.sent() || overtaken {
                match self.decide(&commit, attempt.sent()).await {
                    Ok(Decision::Done(appended)) => return Ok(Some(*appended)),
                    Ok(Decision::Conflict) => {
                        // Whatever of ours is still under way can't land any more.
                        attempt.sent.store(false, Ordering::SeqCst);
                        return Ok(None);
                    }
                    Ok(Decision::Taken) => {
                        taken += 1;
                        partition.taken(commit.position.n);
                        if taken < TAKEN_IN_A_ROW {
                            continue;
                        }
                        taken = 0;
                        if let Err(error) = self.catch_up(commit.position.partition).await {
                            attempt.problem = Some(error.to_string());
                        }
                    }
                    Ok(Decision::Nothing) => {}
                    Err(Failure::Refused(refused)) => return Err(refused),
                    Err(Failure::Read(error)) => attempt.problem = Some(error.0),
                }
            }
            backoff.pause(|below| self.random(below)).await;
        }
    }

    /// What has become of an insert, by majority reads alone (MG-2, MG-3).
    async fn decide(&self, commit: &Commit, sent: bool) -> Result<Decision, Failure> {
        let Position { partition, n } = commit.position;
        let is_mine = |found: &Commit| found.stream == commit.stream && found.command_id == commit.command_id;
        let mine = |found: Commit| {
            self.found(&found);
            let earlier = |found: &Commit| found.at != commit.at || found.events != commit.events;
            Ok(Decision::Done(same_command(found, commit.command_hash, earlier)?))
        };
        if let Some(found) = self.server.by_command(partition, &commit.stream, &commit.command_id).await? {
            return mine(found);
        }
        // Each read may see more than the one before it, and so the commit itself.
        match self.server.by_version(partition, &commit.stream, first_version(commit)).await? {
            Some(found) if is_mine(&found) => return mine(found),
            Some(other) => {
                self.found(&other);
                return Ok(Decision::Conflict);
            }
            None => {}
        }
        // Once something was sent, the commit that has overtaken this one may be itself.
        if !sent && self.is_overtaken(commit) {
            return Ok(Decision::Conflict);
        }
        match self.server.by_position(partition, n).await? {
            // Be it the commit itself: then the next try is refused, and finds it by its command.
            Some(_) => Ok(Decision::Taken),
            None => Ok(Decision::Nothing),
        }
    }
}

/// The commit that an append makes behind `end`; its position is still open.
fn commit(append: &Append, partition: u16, end: i64) -> Commit {
    let events = (end + 1..).zip(&append.events).map(|(version, event)| StoredEvent {
        version,
        event_type: event.event_type.to_owned(),
        schema_version: event.schema_version,
        data: event.data.clone(),
    });
    Commit {
        stream: append.stream.clone(),
        command_id: append.command_id.clone(),
        command_hash: append.command_hash,
        position: Position { partition, n: 0 },
        at: store::stored_time(append.at),
        result: append.result.clone(),
        events: events.collect(),
        context: append.context.clone().bounded(),
        damage: None,
    }
}

/// What a command has made, if it was the same command (ES-2). `replayed` tells whether an earlier call made it.
fn same_command(
    found: Commit,
    hash: [u8; 32],
    replayed: impl Fn(&Commit) -> bool,
) -> Result<Box<Appended>, AppendError> {
    let found = sound(found)?;
    if found.command_hash != hash {
        return Err(AppendError::CommandReused { command_id: found.command_id });
    }
    let replayed = replayed(&found);
    Ok(Box::new(Appended { commit: found, replayed }))
}
