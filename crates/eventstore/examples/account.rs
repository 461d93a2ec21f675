//! An aggregate of one's own: an account, its events as protobuf messages, in an event store in a file.
//!
//! `cargo run -p meshwork-eventstore --example account`, or with `--features mongodb` and a URI to keep it on MongoDB:
//! `cargo run -p meshwork-eventstore --features mongodb --example account mongodb://127.0.0.1:27017`.

#![allow(clippy::print_stdout, reason = "an example prints")]

#[path = "account/account.rs"]
mod account;

use std::error::Error;
use std::sync::Arc;

use account::{Account, Command};
use meshwork_eventstore::{
    CommandId, EventStore, Repository, SnapshotStore, SqliteEventStore, Subscription, partition_of,
};
use time::OffsetDateTime;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (store, snapshots) = open().await?;
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(snapshots);
    let stream = "accounts/anna";

    // A command's id makes it repeatable: the second of two equal ones finds what the first has made.
    for (id, command) in [("a", Command::Open), ("b", Command::Deposit(100)), ("b", Command::Deposit(100))] {
        // The hash is of what its sender asks for: the same id with another request is refused.
        let id = CommandId { id: id.to_owned(), hash: [1; 32] };
        let done = accounts.execute(stream, &command, id, OffsetDateTime::now_utc(), None).await?;
        println!("{command:?}: version {}, replayed: {}", done.after.version, done.replayed);
    }
    let id = CommandId { id: "c".to_owned(), hash: [1; 32] };
    let refused = accounts.execute(stream, &Command::Withdraw(500), id, OffsetDateTime::now_utc(), None).await;
    println!("Withdraw(500): {refused:?}");

    println!("now: {:?}", accounts.load(stream).await?.state);
    println!("at version 1: {:?}", accounts.load_at(stream, 1).await?.state);

    let partition = partition_of(stream, store.partitions());
    for commit in Subscription::new(store, partition, 0).read().await? {
        println!("{:?}: {} has {} more events", commit.position, commit.stream, commit.events.len());
    }
    Ok(())
}

/// The store of a URI, or else one in a new file.
async fn open() -> Result<(Arc<dyn EventStore>, Arc<dyn SnapshotStore>), Box<dyn Error>> {
    #[cfg(feature = "mongodb")]
    if let Some(uri) = std::env::args().nth(1) {
        use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};

        let store = Arc::new(MongoServer::open(&MongoOptions::new(uri)).await?);
        println!("on {}", store.server().capabilities());
        return Ok((store.clone(), store));
    }
    let file = std::env::temp_dir().join(format!("accounts-{}.db", std::process::id()));
    let store = Arc::new(SqliteEventStore::open(&file, 16).await?);
    println!("in {}", file.display());
    Ok((store.clone(), store))
}
