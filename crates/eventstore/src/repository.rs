//! Aggregates in an event store: loading them, deciding, appending.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::schema::{EncodeEvent, Event, read_event, written_version};
use crate::{
    Aggregate, Append, AppendError, Appended, Commit, Context, EventStore, Expected, NewEvent, Position, Recorded,
    Snapshot, SnapshotState, SnapshotStore, StoreError, fold,
};

/// After how many events there is a new snapshot (MG-10).
const SNAPSHOT_EVERY: i64 = 100;
/// How many aggregates are remembered, and for how long after their last use.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_mins(5);
/// How often a command is decided anew when others change the aggregate meanwhile.
const TRIES: usize = 5;

/// An aggregate as its events have made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded<A> {
    /// The state; `None` for a stream without events.
    pub state: Option<A>,
    /// The stream's version; 0 without events.
    pub version: i64,
}

impl<A> Default for Loaded<A> {
    fn default() -> Self {
        Self { state: None, version: 0 }
    }
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

/// A command's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    /// The id: one that comes again appends nothing, and is answered as it was (ES-2).
    pub id: String,
    /// The hash of what its sender asked for.
    pub hash: [u8; 32],
}

/// Aggregates of one kind in an event store, a stream each.
///
/// Those that were used a short while ago are remembered as they were then, so that only what is behind that is read. What
/// is read is always current.
pub struct Repository<A> {
    store: Arc<dyn EventStore>,
    snapshots: Option<Snapshots<A>>,
    remembered: moka::sync::Cache<String, Known<A>>,
}

/// An aggregate as it was at some version.
#[derive(Clone)]
struct Known<A> {
    loaded: Loaded<A>,
    /// The version of the newest snapshot of it.
    snapshot: i64,
}

/// How snapshots of an aggregate are read and written.
struct Snapshots<A> {
    store: Arc<dyn SnapshotStore>,
    schema: &'static str,
    encode: fn(&A) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<A>,
}

impl<A> Clone for Snapshots<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), ..*self }
    }
}

impl<A> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), snapshots: self.snapshots.clone(), remembered: self.remembered.clone() }
    }
}

impl<A: Aggregate> Repository<A> {
    /// Aggregates in `store`.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        let remembered = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_idle(REMEMBERED_FOR).build();
        Self { store, snapshots: None, remembered }
    }

    /// Keeps a snapshot of an aggregate after every 100 events, off the path of its commands.
    pub fn with_snapshots(self, snapshots: Arc<dyn SnapshotStore>) -> Self
    where
        A: SnapshotState,
    {
        let snapshots =
            Snapshots { store: snapshots, schema: A::SCHEMA, encode: <A as SnapshotState>::encode, decode: A::decode };
        Self { snapshots: Some(snapshots), ..self }
    }

    /// The event store.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// An aggregate as it is.
    ///
    /// # Errors
    /// When the store fails, or an event can't be understood.
    pub async fn load(&self, stream: &str) -> Result<Loaded<A>, StoreError> {
        let Known { mut loaded, snapshot } = match self.remembered.get(stream) {
            Some(known) => known,
            None => self.snapshot(stream).await,
        };
        let from = loaded.version;
        let commits = match from {
            0 => self.store.read(stream, 0).await?,
            // Both a snapshot and what is remembered are of the end of a commit.
            end => self.store.read_behind(stream, end).await?,
        };
        for commit in &commits {
            for recorded in recorded(commit)?.into_iter().filter(|recorded| recorded.version > from) {
                loaded.version = recorded.version;
                loaded.state = A::evolve(loaded.state, stream, &recorded);
            }
        }
        self.remember(stream, &loaded, snapshot);
        Ok(loaded)
    }

    /// An aggregate as it was at a version, or at the end of its history when that is shorter.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn load_at(&self, stream: &str, version: i64) -> Result<Loaded<A>, StoreError> {
        self.load_while(stream, |recorded| recorded.version <= version).await
    }

    /// An aggregate as it was at a time: all that was recorded until then, up to the first event of later.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn load_at_time(&self, stream: &str, at: OffsetDateTime) -> Result<Loaded<A>, StoreError> {
        self.load_while(stream, |recorded| recorded.at <= at).await
    }

    async fn load_while(
        &self,
        stream: &str,
        wanted: impl Fn(&Recorded<A::Event>) -> bool,
    ) -> Result<Loaded<A>, StoreError> {
        let history = self.history(stream, 0).await?;
        let wanted: Vec<_> = history.into_iter().take_while(wanted).collect();
        let version = wanted.last().map_or(0, |recorded| recorded.version);
        Ok(Loaded { state: fold(None, stream, &wanted), version })
    }

    /// The events of an aggregate with a version above `after` (0 for all), in order.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn history(&self, stream: &str, after: i64) -> Result<Vec<Recorded<A::Event>>, StoreError> {
        let mut history = Vec::new();
        for commit in self.store.read(stream, after).await? {
            history.extend(recorded(&commit)?.into_iter().filter(|recorded| recorded.version > after));
        }
        Ok(history)
    }

    /// Loads an aggregate, decides a command on it and appends what follows; again when others were faster.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute(
        &self,
        stream: &str,
        command: &A::Command,
        id: CommandId,
        at: OffsetDateTime,
    ) -> Result<Executed<A>, ExecuteError<A::Error>>
    where
        A::Event: EncodeEvent,
    {
        for _ in 0..TRIES {
            let loaded = self.load(stream).await?;
            let decided = A::decide(loaded.state.as_ref(), command);
            let events = match decided {
                Ok(events) if !events.is_empty() => events,
                refused => {
                    // A command that has been carried out may not be allowed any more; its answer stands.
                    if let Some(commit) = self.store.find(stream, &id.id).await? {
                        return self.replay(stream, commit, &id).await;
                    }
                    refused.map_err(ExecuteError::Refused)?;
                    return Ok(Executed { after: loaded, position: None, replayed: false });
                }
            };
            match self.append(stream, loaded.version, &events, id.clone(), at).await {
                Ok(Appended { commit, replayed: true }) => return self.replay(stream, commit, &id).await,
                Ok(Appended { commit, replayed: false }) => {
                    let state = fold(loaded.state, stream, &recorded(&commit)?);
                    let after = Loaded { state, version: commit.version() };
                    if let Some(known) = self.remembered.get(stream) {
                        self.remember(stream, &after, known.snapshot);
                    }
                    return Ok(Executed { after, position: Some(commit.position), replayed: false });
                }
                Err(AppendError::VersionConflict { .. }) => {}
                Err(AppendError::CommandReused { .. }) => return Err(ExecuteError::CommandReused),
                Err(AppendError::Size) => return Err(ExecuteError::Size),
                Err(AppendError::Unnamed) => return Err(ExecuteError::Unnamed),
                Err(AppendError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ExecuteError::Contended)
    }

    /// Appends events that were decided on `version`, with the context that the task carries.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(
        &self,
        stream: &str,
        version: i64,
        events: &[A::Event],
        id: CommandId,
        at: OffsetDateTime,
    ) -> Result<Appended, AppendError>
    where
        A::Event: EncodeEvent,
    {
        let append = Append {
            stream: stream.to_owned(),
            expected: if version == 0 { Expected::NoStream } else { Expected::Exact(version) },
            command_id: id.id,
            command_hash: id.hash,
            events: events.iter().map(new_event).collect(),
            result: Bytes::new(),
            at,
            context: Context::current(),
        };
        self.store.append(append).await
    }

    /// The answer to a command that was carried out before.
    async fn replay(
        &self,
        stream: &str,
        commit: Commit,
        id: &CommandId,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        if commit.command_hash != id.hash {
            return Err(ExecuteError::CommandReused);
        }
        let after = self.load_at(stream, commit.version()).await?;
        Ok(Executed { after, position: Some(commit.position), replayed: true })
    }

    /// Where the reading of a stream that isn't remembered may begin.
    async fn snapshot(&self, stream: &str) -> Known<A> {
        let nothing = Known { loaded: Loaded::default(), snapshot: 0 };
        let Some(snapshots) = &self.snapshots else { return nothing };
        match snapshots.store.latest(stream, snapshots.schema).await {
            Ok(Some(snapshot)) => match (snapshots.decode)(&snapshot.data) {
                Some(state) => Known {
                    loaded: Loaded { state: Some(state), version: snapshot.version },
                    snapshot: snapshot.version,
                },
                None => nothing,
            },
            Ok(None) => nothing,
            // The stream itself tells as much, if more slowly.
            Err(error) => {
                tracing::warn!(stream, %error, "no snapshot could be read");
                nothing
            }
        }
    }

    /// Remembers an aggregate, and keeps a snapshot when it has come far since the last one, while the caller goes on.
    fn remember(&self, stream: &str, loaded: &Loaded<A>, snapshot: i64) {
        if loaded.version == 0 {
            return;
        }
        let kept = loaded.version - snapshot >= SNAPSHOT_EVERY && self.keep(stream, loaded);
        let known = Known { loaded: loaded.clone(), snapshot: if kept { loaded.version } else { snapshot } };
        self.remembered.insert(stream.to_owned(), known);
    }

    /// Begins to keep a snapshot; false when there are none, or of this state.
    fn keep(&self, stream: &str, loaded: &Loaded<A>) -> bool {
        let (Some(snapshots), Some(state)) = (&self.snapshots, &loaded.state) else { return false };
        let Some(data) = (snapshots.encode)(state) else { return false };
        let snapshot = Snapshot {
            stream: stream.to_owned(),
            version: loaded.version,
            schema: snapshots.schema.to_owned(),
            data: data.into(),
        };
        let store = snapshots.store.clone();
        tokio::spawn(async move {
            let stream = snapshot.stream.clone();
            if let Err(error) = store.save(snapshot).await {
                tracing::warn!(stream, %error, "a snapshot was not kept");
            }
        });
        true
    }
}

/// An event as it is appended: by its type's newest schema.
pub fn new_event<E: EncodeEvent>(event: &E) -> NewEvent {
    let event_type = event.event_type();
    NewEvent { event_type, schema_version: written_version::<E>(event_type), data: event.encode() }
}

/// The events of a commit.
///
/// # Errors
/// When the commit is damaged, or one of its events can't be understood.
pub fn recorded<E: Event>(commit: &Commit) -> Result<Vec<Recorded<E>>, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { place: commit.stream.clone(), problem };
    if let Some(damage) = &commit.damage {
        return Err(damaged(damage.problem.clone()));
    }
    let read = |event: &crate::StoredEvent| {
        let read = read_event(&event.event_type, event.schema_version, &event.data);
        let event_is = read.map_err(|problem| damaged(format!("version {}: {problem}", event.version)))?;
        Ok(Recorded { version: event.version, at: commit.at, event: event_is })
    };
    commit.events.iter().map(read).collect()
}
