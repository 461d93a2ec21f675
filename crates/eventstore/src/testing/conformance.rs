//! The conformance suite: what every adapter must do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::{
    Append, AppendError, Context, EventStore, Expected, MAX_CONTEXT_FIELD_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, NewEvent,
    StoredEvent, partition_of,
};

/// Runs the suite on a store, which may hold streams of others.
pub async fn conformance(store: Arc<dyn EventStore>) {
    let store = store.as_ref();
    versions_are_contiguous_and_a_commit_is_read_back(store).await;
    what_is_behind_the_end_of_a_commit_is_read_however_much_it_is(store).await;
    why_a_commit_was_made_is_read_back(store).await;
    es_1_expected_versions_are_held_against_the_stream(store).await;
    es_2_a_repeated_command_gets_its_stored_result(store).await;
    es_2_a_reused_command_id_is_refused(store).await;
    names_that_look_alike_together_are_apart(store).await;
    sizes_are_bounded(store).await;
    es_3_positions_are_dense_and_in_commit_order(store).await;
    of_racing_writers_exactly_one_wins_each_version(store).await;
    a_waiting_reader_is_woken(store).await;
}

/// A command on `stream` that appends `events` events.
pub fn command(stream: &str, expected: Expected, command_id: &str, events: usize) -> Append {
    let event = |at| NewEvent { event_type: "happened", schema_version: 1, data: format!("{command_id} {at}").into() };
    Append {
        stream: stream.to_owned(),
        expected,
        command_id: command_id.to_owned(),
        command_hash: [7; 32],
        events: (0..events).map(event).collect(),
        result: Bytes::from(format!("result of {command_id}")),
        at: OffsetDateTime::UNIX_EPOCH + Duration::from_micros(1_234_567),
        context: Context { causation_id: command_id.to_owned(), ..Context::default() },
    }
}

async fn versions_are_contiguous_and_a_commit_is_read_back(store: &dyn EventStore) {
    let first = store.append(command("read", Expected::NoStream, "a", 2)).await.unwrap();
    let second = store.append(command("read", Expected::Exact(2), "b", 1)).await.unwrap();
    assert!(!first.replayed && !second.replayed);
    assert_eq!(store.read("read", 0).await.unwrap(), [first.commit.clone(), second.commit.clone()]);
    assert_eq!(store.read("read", 1).await.unwrap(), [first.commit.clone(), second.commit.clone()]);
    assert_eq!(store.read("read", 2).await.unwrap(), std::slice::from_ref(&second.commit));
    assert_eq!(store.read("read", 3).await.unwrap(), []);
    assert_eq!(store.read("nothing", 0).await.unwrap(), []);
    let versions: Vec<_> = first.commit.events.iter().chain(&second.commit.events).map(|e| e.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    let expected = StoredEvent {
        version: 3,
        event_type: "happened".to_owned(),
        schema_version: 1,
        data: Bytes::from_static(b"b 0"),
    };
    assert_eq!(second.commit.events, [expected]);
    assert_eq!(store.find("read", "b").await.unwrap(), Some(second.commit));
    assert_eq!(store.find("read", "c").await.unwrap(), None);
}

async fn what_is_behind_the_end_of_a_commit_is_read_however_much_it_is(store: &dyn EventStore) {
    for version in 0..24 {
        let expected = if version == 0 { Expected::NoStream } else { Expected::Exact(version) };
        store.append(command("long", expected, &version.to_string(), 1)).await.unwrap();
    }
    for end in [1, 4, 14, 15, 16, 17, 23, 24] {
        let behind = store.read_behind("long", end).await.unwrap();
        assert_eq!(behind, store.read("long", end).await.unwrap(), "behind {end}");
        assert_eq!(behind.len(), usize::try_from(24 - end).unwrap());
    }
}

async fn why_a_commit_was_made_is_read_back(store: &dyn EventStore) {
    let whole = Context {
        causation_id: "shop.Orders/\"Create\"".to_owned(),
        correlation_id: "\u{e9}\\".repeat(MAX_CONTEXT_FIELD_BYTES / 3),
        trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        trace_state: "vendor=value,other=1".to_owned(),
        actor: "users/42".to_owned(),
    };
    let too_much = Context {
        actor: "users/42\0".to_owned(),
        trace_state: "x".repeat(MAX_CONTEXT_FIELD_BYTES + 1),
        ..whole.clone()
    };
    let kept = Context { actor: String::new(), trace_state: String::new(), ..whole.clone() };
    let contexts = [(whole.clone(), whole), (Context::default(), Context::default()), (too_much, kept)];
    let mut commits = Vec::new();
    for (version, (given, kept)) in (0..).zip(contexts) {
        let expected = if version == 0 { Expected::NoStream } else { Expected::Exact(version) };
        let command = command("why", expected, &version.to_string(), 1);
        let appended = store.append(Append { context: given, ..command }).await.unwrap();
        assert_eq!(appended.commit.context, kept);
        commits.push(appended.commit);
    }
    assert_eq!(store.read("why", 0).await.unwrap(), commits);
    assert_eq!(store.find("why", "0").await.unwrap().as_ref(), commits.first());
    let partition = partition_of("why", store.partitions());
    store.head(partition).await.unwrap();
    let followed = store.read_partition(partition, 0, usize::MAX).await.unwrap();
    assert_eq!(followed.into_iter().filter(|commit| commit.stream == "why").collect::<Vec<_>>(), commits);
}

async fn es_1_expected_versions_are_held_against_the_stream(store: &dyn EventStore) {
    store.append(command("versions", Expected::NoStream, "a", 2)).await.unwrap();
    for (expected, id) in [(Expected::NoStream, "b"), (Expected::Exact(1), "c"), (Expected::Exact(3), "d")] {
        let refused = store.append(command("versions", expected, id, 1)).await.unwrap_err();
        assert!(matches!(refused, AppendError::VersionConflict { actual: 2, .. }), "{expected:?}: {refused}");
    }
    store.append(command("versions", Expected::Any, "e", 1)).await.unwrap();
    assert_eq!(store.read("versions", 0).await.unwrap().len(), 2);
}

async fn es_2_a_repeated_command_gets_its_stored_result(store: &dyn EventStore) {
    let first = store.append(command("repeated", Expected::NoStream, "a", 1)).await.unwrap();
    store.append(command("repeated", Expected::Exact(1), "b", 1)).await.unwrap();
    // The stream has moved on, and what the caller decided meanwhile may differ: its command's answer does not.
    let mut again = command("repeated", Expected::NoStream, "a", 3);
    again.result = Bytes::from_static(b"another result");
    again.context = Context { actor: "users/another".to_owned(), ..Context::default() };
    let again = store.append(again).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.commit, first.commit);
    assert_eq!(store.read("repeated", 0).await.unwrap().len(), 2);
}

async fn es_2_a_reused_command_id_is_refused(store: &dyn EventStore) {
    store.append(command("reused", Expected::NoStream, "a", 1)).await.unwrap();
    let mut other = command("reused", Expected::Exact(1), "a", 1);
    other.command_hash = [8; 32];
    assert!(matches!(store.append(other).await, Err(AppendError::CommandReused { .. })));
    assert_eq!(store.read("reused", 0).await.unwrap().len(), 1);
}

async fn names_that_look_alike_together_are_apart(store: &dyn EventStore) {
    for (stream, id) in [("apart", "b/c"), ("apart/b", "c"), ("apart", "b%2Fc"), ("apart", "b%c")] {
        let appended = store.append(command(stream, Expected::Any, id, 1)).await.unwrap();
        assert_eq!((appended.commit.stream.as_str(), appended.replayed), (stream, false), "{stream} {id}");
        assert_eq!(store.find(stream, id).await.unwrap(), Some(appended.commit));
    }
    assert_eq!(store.read("apart", 0).await.unwrap().len(), 3);
    assert_eq!(store.find("apart", "c").await.unwrap(), None);
}

async fn sizes_are_bounded(store: &dyn EventStore) {
    for events in [0, MAX_EVENTS + 1] {
        let refused = store.append(command("sizes", Expected::NoStream, "a", events)).await;
        assert!(matches!(refused, Err(AppendError::Size)), "{events} events");
    }
    let mut large = command("sizes", Expected::NoStream, "a", 1);
    large.events[0].data = vec![0; MAX_EVENT_BYTES + 1].into();
    assert!(matches!(store.append(large).await, Err(AppendError::Size)));
    let mut together = command("sizes", Expected::NoStream, "a", 5);
    for event in &mut together.events {
        event.data = vec![0; MAX_EVENT_BYTES].into();
    }
    assert!(matches!(store.append(together).await, Err(AppendError::Size)));
    let mut answered = command("sizes", Expected::NoStream, "a", 4);
    for event in &mut answered.events {
        event.data = vec![0; MAX_EVENT_BYTES].into();
    }
    answered.result = vec![0; MAX_EVENT_BYTES].into();
    assert!(matches!(store.append(answered).await, Err(AppendError::Size)));
    for (stream, id) in [("", "a"), ("sizes", "")] {
        let refused = store.append(command(stream, Expected::Any, id, 1)).await;
        assert!(matches!(refused, Err(AppendError::Unnamed)), "{stream:?} {id:?}");
    }
    assert_eq!(store.read("sizes", 0).await.unwrap(), []);
    store.append(command("sizes", Expected::NoStream, "a", MAX_EVENTS)).await.unwrap();
}

async fn es_3_positions_are_dense_and_in_commit_order(store: &dyn EventStore) {
    for stream in 0..50 {
        store.append(command(&format!("dense-{stream}"), Expected::NoStream, "a", 1)).await.unwrap();
        store.append(command(&format!("dense-{stream}"), Expected::Exact(1), "b", 2)).await.unwrap();
    }
    for partition in 0..store.partitions() {
        let commits = store.read_partition(partition, 0, usize::MAX).await.unwrap();
        assert_eq!(store.head(partition).await.unwrap(), i64::try_from(commits.len()).unwrap());
        for (n, commit) in (1..).zip(&commits) {
            assert_eq!((commit.position.partition, commit.position.n), (partition, n));
            assert_eq!(partition_of(&commit.stream, store.partitions()), partition);
        }
        if let [_, second, third, ..] = commits.as_slice() {
            assert_eq!(store.read_partition(partition, 1, 2).await.unwrap(), [second.clone(), third.clone()]);
        }
    }
}

async fn of_racing_writers_exactly_one_wins_each_version(store: &dyn EventStore) {
    const WRITERS: usize = 8;
    const APPENDS: usize = 8;
    let write = |writer: usize| async move {
        for at in 0..APPENDS {
            loop {
                let version = store.read("raced", 0).await.unwrap().last().map_or(0, |commit| commit.version());
                let id = format!("{writer}-{at}");
                match store.append(command("raced", Expected::Exact(version), &id, 1)).await {
                    Ok(appended) => break assert_eq!(appended.commit.version(), version + 1),
                    Err(AppendError::VersionConflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|writer| Box::pin(write(writer))).collect();
    join_all(writers).await;
    let commits = store.read("raced", 0).await.unwrap();
    let versions: Vec<_> = commits.iter().flat_map(|commit| &commit.events).map(|event| event.version).collect();
    assert_eq!(versions, (1..=i64::try_from(WRITERS * APPENDS).unwrap()).collect::<Vec<_>>());
}

async fn join_all<F: Future<Output = ()> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| std::pin::Pin::new(future).poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

async fn a_waiting_reader_is_woken(store: &dyn EventStore) {
    let mut beats = store.beats(partition_of("woken", store.partitions()));
    store.append(command("woken", Expected::NoStream, "a", 1)).await.unwrap();
    let woken = beats.of("woken", Duration::from_secs(60));
    assert!(tokio::time::timeout(Duration::from_secs(10), woken).await.is_ok(), "no beat came");
}
