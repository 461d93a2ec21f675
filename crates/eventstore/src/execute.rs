//! Commands on aggregates: deciding, appending, and answering one that comes again as it was answered.

use bytes::Bytes;
use time::OffsetDateTime;

use crate::store::stored_time;
use crate::{
    Aggregate, Append, AppendError, Appended, Commit, Context, Expected, Loaded, Position, Recorded, Repository,
    StoreError, fold, recorded,
};

/// How often a command is decided anew when others change the aggregate meanwhile.
const TRIES: usize = 5;

/// A command's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    /// The id: one that comes again appends nothing, and is answered as it was (ES-2).
    pub id: String,
    /// The hash of what its sender asked for.
    pub hash: [u8; 32],
}

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<A> {
    /// The state after the command, and its version.
    pub after: Loaded<A>,
    /// Where its commit stands; `None` when there was nothing left to do.
    pub position: Option<Position>,
    /// Whether an earlier call of the same command has made the commit.
    pub replayed: bool,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E> {
    /// The aggregate refuses it.
    #[error("the command is refused")]
    Refused(E),
    /// The aggregate is at another version than the one that was asked for, or would begin behind events of its stream that have
    /// begun none. Nothing was written.
    #[error("the stream is at version {actual}")]
    VersionMismatch {
        /// Its version.
        actual: i64,
    },
    /// Others have changed the aggregate at each of several tries. Nothing was written.
    #[error("others changed the stream at each of {TRIES} tries")]
    Contended,
    /// The command's id came with another payload before.
    #[error("the command id came with another payload before")]
    CommandReused,
    /// The events are too many or too large.
    #[error("the command's events are too many or too large")]
    Size,
    /// The stream or the command has no name.
    #[error("a stream's name and a command's id may not be empty")]
    Unnamed,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<A: Aggregate> Repository<A> {
    /// Carries out a command that begins an aggregate. Nothing is read where there is none yet: the append tells whether
    /// there is one, or whether the same command has made it. One that is there decides on the command like on any other.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn create(
        &self,
        stream: &str,
        command: &A::Command,
        id: CommandId,
        at: OffsetDateTime,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let nothing = Loaded::<A>::default();
        if let Ok(events) = decided(&nothing, command, None)
            && !events.is_empty()
            && let Some(done) = self.attempt(stream, nothing, &events, &id, at).await?
        {
            return Ok(done);
        }
        self.execute(stream, command, id, at, None).await
    }

    /// Decides a command on an aggregate and appends what follows; again when others were faster. With `expected` the
    /// aggregate must be at that version, unless the command has been carried out before.
    ///
    /// An aggregate that is remembered is not read first: an append behind its version tells whether it is still so, and
    /// whether the same command was carried out before. But what is remembered never refuses, nor has nothing left to do:
    /// that is said of an aggregate as it was read during this call, and then the command is looked for.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute(
        &self,
        stream: &str,
        command: &A::Command,
        id: CommandId,
        at: OffsetDateTime,
        expected: Option<i64>,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        if let Some(before) = self.memory().recall(stream)
            && let Ok(events) = decided(&before, command, expected)
            && !events.is_empty()
            && let Some(done) = self.attempt(stream, before, &events, &id, at).await?
        {
            return Ok(done);
        }
        for _ in 0..TRIES {
            let before = self.load(stream).await?;
            match decided(&before, command, expected) {
                Ok(events) if !events.is_empty() => {
                    if let Some(done) = self.attempt(stream, before, &events, &id, at).await? {
                        return Ok(done);
                    }
                }
                // A command that has been carried out may not be allowed any more, nor on this version; its answer stands.
                nothing => {
                    if let Some(done) = self.answered(stream, &id).await? {
                        return Ok(done);
                    }
                    nothing?;
                    return Ok(Executed { after: before, position: None, replayed: false });
                }
            }
        }
        Err(ExecuteError::Contended)
    }

    /// What a command was answered, if it has been carried out.
    ///
    /// # Errors
    /// [`ExecuteError::CommandReused`] when its id came with another payload; else when the store fails.
    pub async fn answered(&self, stream: &str, id: &CommandId) -> Result<Option<Executed<A>>, ExecuteError<A::Error>> {
        match self.store().find(stream, &id.id).await? {
            Some(commit) if commit.command_hash != id.hash => Err(ExecuteError::CommandReused),
            Some(commit) => Ok(Some(self.replay(stream, &commit).await?)),
            None => Ok(None),
        }
    }

    /// Appends events that were decided on `before`, with the context that the task carries. A conflict is told where the
    /// stream is at another version.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        stream: &str,
        before: &Loaded<A>,
        events: &[A::Event],
        id: CommandId,
        at: OffsetDateTime,
    ) -> Result<Appended, AppendError> {
        let at = stored_time(at);
        let mut state = before.state.clone();
        let mut encoded = Vec::with_capacity(events.len());
        for (version, event) in (before.version + 1..).zip(events) {
            let event = Recorded { version, at, event: event.clone() };
            state = A::evolve(state, stream, &event);
            let Some(after) = &state else { return Err(headless(stream, version).into()) };
            encoded.push(A::encode_event(after, &event));
        }
        let append = Append {
            stream: stream.to_owned(),
            expected: if before.version == 0 { Expected::NoStream } else { Expected::Exact(before.version) },
            command_id: id.id,
            command_hash: id.hash,
            events: encoded,
            // The answer is the aggregate at the commit's version, which its stream gives.
            result: Bytes::new(),
            at,
            context: Context::current(),
        };
        self.store().append(append).await
    }

    /// Appends events that were decided on `before`; `None` when the stream is at another version.
    async fn attempt(
        &self,
        stream: &str,
        before: Loaded<A>,
        events: &[A::Event],
        id: &CommandId,
        at: OffsetDateTime,
    ) -> Result<Option<Executed<A>>, ExecuteError<A::Error>> {
        match self.append(stream, &before, events, id.clone(), at).await {
            Ok(Appended { commit, replayed: true }) => Ok(Some(self.replay(stream, &commit).await?)),
            Ok(Appended { commit, replayed: false }) => {
                let state = fold(before.state, stream, &recorded(&commit)?);
                let after = Loaded { state, version: commit.version() };
                self.memory().remember(stream, &after, 0);
                Ok(Some(Executed { after, position: Some(commit.position), replayed: false }))
            }
            Err(AppendError::VersionConflict { actual, .. }) => {
                // What is behind is read, unless the store was put back to an older copy.
                if actual < before.version {
                    self.memory().forget(stream);
                }
                Ok(None)
            }
            Err(AppendError::CommandReused { .. }) => Err(ExecuteError::CommandReused),
            Err(AppendError::Size) => Err(ExecuteError::Size),
            Err(AppendError::Unnamed) => Err(ExecuteError::Unnamed),
            Err(AppendError::Store(error)) => Err(error.into()),
        }
    }

    /// The answer to a command whose commit stands.
    async fn replay(&self, stream: &str, commit: &Commit) -> Result<Executed<A>, StoreError> {
        let after = self.load_at(stream, commit.version()).await?;
        Ok(Executed { after, position: Some(commit.position), replayed: true })
    }
}

/// What follows from a command on an aggregate, which has to be at the version `expected`, if any. Behind events that have begun
/// none, nothing begins.
fn decided<A: Aggregate>(
    before: &Loaded<A>,
    command: &A::Command,
    expected: Option<i64>,
) -> Result<Vec<A::Event>, ExecuteError<A::Error>> {
    let elsewhere = || Err(ExecuteError::VersionMismatch { actual: before.version });
    if expected.is_some_and(|expected| expected != before.version) {
        return elsewhere();
    }
    let events = A::decide(before.state.as_ref(), command).map_err(ExecuteError::Refused)?;
    if before.state.is_none() && before.version > 0 && !events.is_empty() {
        return elsewhere();
    }
    Ok(events)
}

/// The error about an event before which nothing has begun the aggregate.
fn headless(stream: &str, version: i64) -> StoreError {
    let problem = format!("the event of version {version} would leave no aggregate: nothing has begun it");
    StoreError::Damaged { place: stream.to_owned(), problem }
}
