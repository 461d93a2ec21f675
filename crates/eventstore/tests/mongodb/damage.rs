//! Documents that somebody has damaged, and such that somebody has lost.

use std::time::Duration;

use meshwork_eventstore::testing::command;
use meshwork_eventstore::{Append, AppendError, Commit, Context, Damage, EventStore, Expected, StoreError};
use mongodb::bson::{Bson, Document, doc};

use crate::World;

/// Puts `document` in the place of the commit of `stream`.
async fn replace(world: &World, stream: &str, change: impl FnOnce(&mut Document)) {
    let documents = world.documents().await;
    let mut document = documents.find_one(doc! { "s": stream }).await.unwrap().unwrap();
    documents.delete_one(doc! { "_id": document.get("_id").unwrap() }).await.unwrap();
    change(&mut document);
    documents.insert_one(document).await.unwrap();
}

#[tokio::test]
async fn a_damaged_document_is_an_error_of_its_stream_and_stops_no_other() {
    let world = World::new(1);
    let writer = world.store().await;
    let streams = ["truncated", "wrong-type", "uncounted", "no-hash"];
    for stream in streams {
        writer.append(command(stream, Expected::NoStream, "a", 2)).await.unwrap();
    }
    writer.append(command("sound", Expected::NoStream, "a", 1)).await.unwrap();
    replace(&world, "truncated", |document| {
        document.remove("e");
    })
    .await;
    replace(&world, "wrong-type", |document| {
        document.insert("r", "text");
    })
    .await;
    replace(&world, "uncounted", |document| {
        document.insert("c", 3);
    })
    .await;
    replace(&world, "no-hash", |document| {
        document.insert("ch", Bson::Null);
    })
    .await;

    let store = world.store().await;
    for stream in streams {
        match store.read(stream, 0).await {
            Err(StoreError::Damaged { place, problem }) => {
                assert_eq!(place, stream);
                assert!(!problem.is_empty());
            }
            other => panic!("{stream}: {other:?}"),
        }
        // Nothing is decided on a history that can't be read.
        let refused = store.append(command(stream, Expected::Exact(2), "b", 1)).await;
        assert!(matches!(refused, Err(AppendError::Store(StoreError::Damaged { .. }))), "{refused:?}");
    }
    assert_eq!(store.read("sound", 0).await.unwrap().len(), 1);
    store.append(command("sound", Expected::Exact(1), "b", 1)).await.unwrap();
    // Who follows the partition meets all of them, each with what is wrong.
    let all = store.read_partition(0, 0, 100).await.unwrap();
    let told = |commit: &Commit| (commit.stream.clone(), commit.position.n, commit.damage.is_some());
    let expected: Vec<_> = (1..)
        .zip(streams.into_iter().map(|stream| (stream, true)).chain([("sound", false), ("sound", false)]))
        .map(|(n, (stream, damaged))| (stream.to_owned(), n, damaged))
        .collect();
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected);
    // From which version on the stream has lost something can still be read.
    for commit in &all[..streams.len()] {
        assert!(matches!(&commit.damage, Some(Damage { first_version: Some(1), .. })), "{commit:?}");
    }
}

#[tokio::test]
async fn of_an_old_document_or_one_whose_context_is_damaged_nothing_is_known_and_nothing_else_is_lost() {
    let world = World::new(1);
    let writer = world.store().await;
    let known = Context { causation_id: "a".to_owned(), ..Context::default() };
    let cases = [
        ("old", None, Context::default()),
        ("text", Some(Bson::String("users/42".to_owned())), Context::default()),
        ("null", Some(Bson::Null), Context::default()),
        ("other", Some(doc! { "causation_id": "a", "actor": 42, "later": { "id": 7 } }.into()), known.clone()),
        ("large", Some(doc! { "causation_id": "a", "actor": "x".repeat(100_000) }.into()), known),
    ];
    for (stream, context, expected) in cases {
        let made = writer.append(command(stream, Expected::NoStream, "a", 1)).await.unwrap().commit;
        replace(&world, stream, |document| {
            assert_eq!(document.get_document("x").unwrap(), &doc! { "causation_id": "a" });
            match context {
                Some(context) => drop(document.insert("x", context)),
                None => drop(document.remove("x")),
            }
        })
        .await;
        let read = world.store().await.read(stream, 0).await.unwrap();
        assert_eq!(read, [Commit { context: expected, ..made }], "{stream}");
    }
    // Where nothing is known the field is missing, as earlier releases write it.
    let unknown = Append { context: Context::default(), ..command("unknown", Expected::NoStream, "a", 1) };
    writer.append(unknown).await.unwrap();
    let document = world.documents().await.find_one(doc! { "s": "unknown" }).await.unwrap().unwrap();
    assert!(!document.contains_key("x"), "{document}");
}

#[tokio::test]
async fn a_lost_document_is_replaced_by_a_tombstone_and_what_follows_is_read() {
    let world = World::new(1);
    let writer = world.store().await;
    for stream in ["a", "b", "c"] {
        writer.append(command(stream, Expected::NoStream, "a", 1)).await.unwrap();
    }
    drop(writer);
    world.documents().await.delete_one(doc! { "s": "b" }).await.unwrap();
    let store = world.store().await;
    let all = store.read_partition(0, 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|commit| commit.position.n).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(all.iter().map(Commit::is_tombstone).collect::<Vec<_>>(), [false, true, false]);
    // It is there for everybody from then on, with all the fields of the unique indexes.
    assert_eq!(world.store().await.read_partition(0, 0, 100).await.unwrap(), all);
    let tombstone = world.documents().await.find_one(doc! { "p": 0, "n": 2_i64 }).await.unwrap().unwrap();
    assert_eq!((tombstone.get_str("s").unwrap(), tombstone.get_i64("v").unwrap()), ("", 2));
    store.append(command("d", Expected::NoStream, "a", 1)).await.unwrap();
    assert_eq!(store.head(0).await.unwrap(), 4);
}

/// Whether a store that is opened anew works beside the commit of "b", and tells of it as `b` expects.
async fn goes_on_beside(world: &World, b: impl Fn(&Result<Vec<Commit>, StoreError>) -> bool) {
    let store = world.store().await;
    store.append(command("a", Expected::Exact(1), "b", 1)).await.unwrap();
    assert_eq!(store.read("a", 0).await.unwrap().len(), 2);
    let read = store.read("b", 0).await;
    assert!(b(&read), "{read:?}");
    let head = store.head(0).await.unwrap();
    let all = store.read_partition(0, 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|commit| commit.position.n).collect::<Vec<_>>(), (1..=head).collect::<Vec<_>>());
    let sound = |stream: &str| all.iter().filter(|it| it.stream == stream && it.damage.is_none()).count();
    assert_eq!((sound("a"), sound("b")), (2, 0));
    // A reader that begins behind it meets the rest as well.
    assert_eq!(store.read_partition(0, 2, 100).await.unwrap(), all[2..]);
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error_of_its_stream_and_stops_no_reader() {
    let damaged = |read: &Result<Vec<Commit>, StoreError>| matches!(read, Err(StoreError::Damaged { .. }));
    // As a tool may write numbers that has restored a backup, or a hand that has repaired something.
    let written = [
        ("n", Bson::Int32(2)),
        ("n", Bson::Double(2.0)),
        ("n", Bson::Double(2.5)),
        ("n", Bson::String("two".to_owned())),
        ("v", Bson::Int32(1)),
        ("v", Bson::String("one".to_owned())),
    ];
    let mut world = World::new(1);
    for (field, other) in written {
        // At the end of the partition, and before others.
        for streams in [&["a", "b"][..], &["a", "b", "c"]] {
            world.anew();
            let writer = world.store().await;
            for stream in streams {
                writer.append(command(stream, Expected::NoStream, "a", 1)).await.unwrap();
            }
            drop(writer);
            let put = |document: &mut Document| drop(document.insert(field, other.clone()));
            replace(&world, "b", put).await;
            let done = tokio::time::timeout(Duration::from_secs(60), goes_on_beside(&world, damaged)).await;
            assert!(done.is_ok(), "{field} = {other}, {} streams: without end", streams.len());
        }
    }
}

#[tokio::test]
async fn a_version_that_is_no_number_is_not_the_end_of_its_stream() {
    let world = World::new(1);
    let writer = world.store().await;
    writer.append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    writer.append(command("s", Expected::Exact(1), "b", 1)).await.unwrap();
    drop(writer);
    let documents = world.documents().await;
    let mut document = documents.find_one(doc! { "_id": "s/b" }).await.unwrap().unwrap();
    documents.delete_one(doc! { "_id": "s/b" }).await.unwrap();
    document.insert("v", "two");
    documents.insert_one(document).await.unwrap();
    // Whether it is read from its beginning or from somewhere.
    let store = world.store().await;
    let read = store.read("s", 1).await;
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
    let refused = store.append(command("s", Expected::Exact(1), "c", 1)).await;
    assert!(matches!(refused, Err(AppendError::Store(StoreError::Damaged { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_commit_lost_from_the_middle_of_its_stream_is_an_error_of_the_stream() {
    let world = World::new(1);
    let writer = world.store().await;
    for version in 0..3 {
        writer.append(command("cut", Expected::Exact(version), &version.to_string(), 1)).await.unwrap();
    }
    world.documents().await.delete_one(doc! { "s": "cut", "v": 2_i64 }).await.unwrap();
    let store = world.store().await;
    for after in [0, 1] {
        match store.read("cut", after).await {
            Err(StoreError::Damaged { place, problem }) => {
                assert_eq!((place.as_str(), problem.as_str()), ("cut", "version 2 is missing"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.read("cut", 2).await.unwrap().len(), 1);
    // Who knows that the stream goes on doesn't take the gap for its end.
    let behind = writer.read_behind("cut", 1).await;
    assert!(matches!(behind, Err(StoreError::Damaged { .. })), "{behind:?}");
}
