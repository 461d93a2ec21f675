//! What is asked of the server, as it goes over the wire (MG-1, MG-3).

use std::sync::{Arc, Mutex};

use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected, Snapshot, SnapshotStore};
use mongodb::bson::{Bson, Document, doc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::World;

const OP_MSG: i32 = 2013;

/// The commands that went by.
type Commands = Arc<Mutex<Vec<Document>>>;

/// Hands on what a client sends, and notes its commands.
async fn note(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, commands: Commands) -> std::io::Result<()> {
    loop {
        let length = client.read_i32_le().await?;
        let mut message = length.to_le_bytes().to_vec();
        message.resize(usize::try_from(length).unwrap(), 0);
        client.read_exact(&mut message[4..]).await?;
        if message[12..16] == OP_MSG.to_le_bytes()
            && let Some(command) = body(&message[20..])
        {
            commands.lock().unwrap().push(command);
        }
        server.write_all(&message).await?;
    }
}

/// The section of a message that is its command; the others hold the documents of an insert.
fn body(mut sections: &[u8]) -> Option<Document> {
    loop {
        let (kind, rest) = sections.split_first()?;
        let size = usize::try_from(i32::from_le_bytes(rest.get(..4)?.try_into().unwrap())).unwrap();
        if *kind == 0 {
            return Some(mongodb::bson::deserialize_from_slice(&rest[..size]).unwrap());
        }
        sections = &rest[size..];
    }
}

/// A way to the server at `address` on which commands are noted; returns the address of its near end.
async fn tap(address: String) -> (String, Commands) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap().to_string();
    let commands = Commands::default();
    let noted = commands.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = TcpStream::connect(&address).await.unwrap().into_split();
            tokio::spawn(note(from_client, to_server, noted.clone()));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    (near, commands)
}

#[tokio::test]
async fn mg_1_and_mg_3_on_the_wire_only_inserts_and_majority_reads_are_asked_for() {
    let world = World::new(2);
    let address = world.mongo.uri().trim_start_matches("mongodb://").split(['/', '?']).next().unwrap();
    let address = address.rsplit('@').next().unwrap().to_owned();
    let (near, commands) = tap(address.clone()).await;
    let mut uri = world.mongo.uri().replacen(&address, &near, 1);
    if !uri.contains("directConnection") {
        // The members of a replica set tell where they are themselves.
        uri.push_str(if uri.contains('?') { "&directConnection=true" } else { "/?directConnection=true" });
    }
    let store = MongoServer::open(&MongoOptions { uri, ..world.options.clone() }).await.unwrap();
    commands.lock().unwrap().clear();

    for at in 0..4 {
        store.append(command("one", Expected::Exact(at), &at.to_string(), 1)).await.unwrap();
    }
    // One that is refused and looked into, one without a version, one that comes again.
    store.append(command("one", Expected::Exact(1), "late", 1)).await.unwrap_err();
    store.append(command("two", Expected::Any, "any", 1)).await.unwrap();
    assert!(store.append(command("two", Expected::Any, "any", 1)).await.unwrap().replayed);
    store.read("one", 0).await.unwrap();
    store.read_behind("one", 4).await.unwrap();
    store.find("one", "2").await.unwrap();
    for partition in 0..2 {
        store.head(partition).await.unwrap();
        store.read_partition(partition, 0, 100).await.unwrap();
    }
    let snapshot = Snapshot { stream: "one".to_owned(), schema: "a".to_owned(), version: 4, data: vec![1].into() };
    store.save(snapshot.clone()).await.unwrap();
    assert_eq!(store.latest("one", "a").await.unwrap(), Some(snapshot));

    let commands = commands.lock().unwrap().clone();
    let mut met = std::collections::BTreeSet::new();
    for command in &commands {
        let (name, of) = command.iter().next().unwrap();
        let collection = of.as_str().unwrap_or_default();
        met.insert(format!("{name} {collection}").trim_end().to_owned());
        match name.as_str() {
            "insert" => {
                assert_eq!(concern(command, "writeConcern"), doc! { "w": "majority", "j": true }, "{command}");
                assert!(!command.contains_key("txnNumber"), "the driver repeats it by itself: {command}");
            }
            "find" => assert_eq!(concern(command, "readConcern"), doc! { "level": "majority" }, "{command}"),
            "hello" | "ismaster" | "isMaster" | "ping" | "endSessions" | "getMore" => {}
            other => panic!("{other} is asked for: {command}"),
        }
    }
    for expected in ["insert commits", "find commits", "insert snapshots", "find snapshots"] {
        assert!(met.contains(expected), "{expected} was not met in {met:?}");
    }
}

/// A concern without the limit of time that may stand in it.
fn concern(command: &Document, key: &str) -> Document {
    let mut concern = command.get_document(key).cloned().unwrap_or_default();
    if matches!(concern.get("wtimeout"), Some(Bson::Int32(_) | Bson::Int64(_))) {
        concern.remove("wtimeout");
    }
    concern
}
