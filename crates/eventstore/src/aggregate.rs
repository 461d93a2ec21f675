//! What keeps its state as events.

use time::OffsetDateTime;

use crate::schema::{Event, read_event};
use crate::{Commit, NewEvent, StoreError, StoredEvent};

/// An event in an aggregate's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<E> {
    /// The aggregate's version after it, from 1.
    pub version: i64,
    /// When it was recorded, by the clock of who recorded it.
    pub at: OffsetDateTime,
    /// What happened.
    pub event: E,
}

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

/// Something whose state is what its events have made of it.
///
/// The functions are pure: what they need of the world is in the command.
pub trait Aggregate: Clone + Send + Sync + Sized + 'static {
    /// What happens to it.
    type Event: Event;
    /// What is asked of it.
    type Command;
    /// Why it refuses.
    type Error;

    /// What follows from a command, in order; nothing when there is nothing left to do. `state` is `None` before the first
    /// event.
    ///
    /// # Errors
    /// When the command isn't allowed in this state.
    fn decide(state: Option<&Self>, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after an event of the stream; `None` as long as nothing has begun it.
    fn evolve(state: Option<Self>, stream: &str, event: &Recorded<Self::Event>) -> Option<Self>;

    /// The event as it is stored, by its type's newest schema; `after` is the aggregate after it, for stored events that
    /// tell of the aggregate too. For events that know their own bytes it is [`new_event`](crate::new_event).
    fn encode_event(after: &Self, event: &Recorded<Self::Event>) -> NewEvent;
}

/// The state after all these events.
pub fn fold<'e, A: Aggregate>(
    state: Option<A>,
    stream: &str,
    events: impl IntoIterator<Item = &'e Recorded<A::Event>>,
) -> Option<A>
where
    A::Event: 'e,
{
    events.into_iter().fold(state, |state, event| A::evolve(state, stream, event))
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
    let read = |event: &StoredEvent| {
        let read = read_event(&event.event_type, event.schema_version, &event.data);
        let event_is = read.map_err(|problem| damaged(format!("version {}: {problem}", event.version)))?;
        Ok(Recorded { version: event.version, at: commit.at, event: event_is })
    };
    commit.events.iter().map(read).collect()
}

/// An aggregate whose state can be kept, so that its whole stream need not be read each time (ES-4).
pub trait SnapshotState: Aggregate {
    /// The shape of the encoded state. Another name for another shape: then the snapshots of the old one aren't looked at.
    const SCHEMA: &'static str;

    /// The encoded state; `None` for one that can't be encoded, of which there is no snapshot then.
    fn encode(&self) -> Option<Vec<u8>>;

    /// The state that was encoded; `None` when it can't be read, and then the stream is.
    fn decode(data: &[u8]) -> Option<Self>;
}
