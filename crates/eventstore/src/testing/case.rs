//! Cases of an aggregate, told as what was given, what is asked and what must follow (ES-8).

use std::fmt::Debug;
use std::sync::Arc;

use time::OffsetDateTime;

use super::memory_store;
use crate::{Aggregate, CommandId, EventStore, ExecuteError, Executed, Loaded, Recorded, Repository, fold};

/// A case: given these events, when this command comes, then that must follow.
///
/// ```
/// # use bytes::Bytes;
/// # use meshwork_eventstore::{Aggregate, EncodeEvent, Event, EventType, NewEvent, Recorded, new_event};
/// # #[derive(Clone, Debug, PartialEq)] struct Lamp { lit: bool }
/// # #[derive(Clone, Debug, PartialEq)] enum Switched { On }
/// # impl Event for Switched {
/// #     const TYPES: &'static [EventType] = &[EventType::new("on")];
/// #     fn decode(_: &str, _: &[u8]) -> Result<Self, String> { Ok(Switched::On) }
/// # }
/// # impl EncodeEvent for Switched {
/// #     fn event_type(&self) -> &'static str { "on" }
/// #     fn encode(&self) -> Bytes { Bytes::new() }
/// # }
/// # struct SwitchOn;
/// # impl Aggregate for Lamp {
/// #     type Event = Switched; type Command = SwitchOn; type Error = String;
/// #     fn decide(lamp: Option<&Self>, _: &SwitchOn) -> Result<Vec<Switched>, String> {
/// #         if lamp.is_some_and(|lamp| lamp.lit) { Err("it is on".into()) } else { Ok(vec![Switched::On]) }
/// #     }
/// #     fn evolve(_: Option<Self>, _: &str, _: &Recorded<Switched>) -> Option<Self> { Some(Lamp { lit: true }) }
/// #     fn encode_event(_: &Self, event: &Recorded<Switched>) -> NewEvent { new_event(&event.event) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use meshwork_eventstore::testing::Case;
///
/// Case::<Lamp>::given([]).when(SwitchOn).then([Switched::On]).in_memory().await;
/// Case::<Lamp>::given([Switched::On]).when(SwitchOn).then_refused("it is on".to_owned()).in_memory().await;
/// # }
/// ```
pub struct Case<A: Aggregate> {
    given: Vec<A::Event>,
    when: Option<A::Command>,
    then: Option<Result<Vec<A::Event>, A::Error>>,
    at: OffsetDateTime,
}

impl<A> Case<A>
where
    A: Aggregate + PartialEq + Debug,
    A::Event: PartialEq + Debug,
    A::Error: PartialEq + Debug,
{
    /// What has happened before.
    pub fn given(events: impl IntoIterator<Item = A::Event>) -> Self {
        let given = events.into_iter().collect();
        Self { given, when: None, then: None, at: OffsetDateTime::UNIX_EPOCH }
    }

    /// What is asked.
    #[must_use]
    pub fn when(self, command: A::Command) -> Self {
        Self { when: Some(command), ..self }
    }

    /// What must follow; nothing, when there is nothing left to do.
    #[must_use]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Self {
        Self { then: Some(Ok(events.into_iter().collect())), ..self }
    }

    /// How it must be refused.
    #[must_use]
    pub fn then_refused(self, error: A::Error) -> Self {
        Self { then: Some(Err(error)), ..self }
    }

    /// Runs the case on a store in memory.
    ///
    /// # Panics
    /// When something else follows.
    pub async fn in_memory(self) {
        self.on(Arc::new(memory_store(1)), "case").await;
    }

    /// Runs the case on a store, in a stream that is still empty: events, state and what is stored must agree.
    ///
    /// # Panics
    /// When something else follows, or the case isn't whole.
    pub async fn on(self, store: Arc<dyn EventStore>, stream: &str) {
        let Self { given, when, then, at } = self;
        let command = when.expect("a case says `when`");
        let then = then.expect("a case says `then` or `then_refused`");
        let repository = Repository::<A>::new(store);
        let id = |id: &str| CommandId { id: id.to_owned(), hash: [0; 32] };
        if !given.is_empty() {
            repository.append(stream, &Loaded::default(), &given, id("given"), at).await.unwrap();
        }
        let done = repository.execute(stream, &command, id("when"), at, None).await;
        let history = repository.history(stream, 0).await.unwrap();
        let appended: Vec<_> = history.iter().skip(given.len()).map(|recorded| recorded.event.clone()).collect();
        match then {
            Ok(events) => {
                let Executed { after, .. } = done.unwrap_or_else(|error| panic!("it was refused: {error:?}"));
                assert_eq!(appended, events, "what follows");
                assert_eq!(after.state, fold(None, stream, &history), "the state after it");
                // The same command again: the same answer, and nothing more.
                let again = repository.execute(stream, &command, id("when"), at, None).await;
                if !events.is_empty() {
                    let again = again.unwrap_or_else(|error| panic!("refused when it came again: {error:?}"));
                    assert_eq!((again.after, again.replayed), (after, true), "the command once more");
                }
                assert_eq!(repository.history(stream, 0).await.unwrap().len(), history.len());
            }
            Err(error) => {
                assert_eq!(appended, [], "a refused command appends nothing");
                match done {
                    Err(ExecuteError::Refused(refused)) => assert_eq!(refused, error),
                    other => panic!("it should be refused with {error:?}: {other:?}"),
                }
            }
        }
        let recorded: Vec<Recorded<A::Event>> = history;
        assert!(recorded.iter().zip(1..).all(|(recorded, version)| recorded.version == version));
    }
}
