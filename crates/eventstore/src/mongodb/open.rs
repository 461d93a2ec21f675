//! What the store makes when it is opened: indexes, the number of partitions, and where each of them lives.

use std::time::Duration;

use meshwork_sql::Migrations;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::IndexOptions;
use mongodb::{Client, Collection, Database, IndexModel};

use super::{MongoEventStore, MongoOptions, MongoServer, OpenError, probe};
use crate::{CommitLog, CommitLogOptions};

/// The identity of the document that tells how the store was made.
const SETTINGS: &str = "event_store";
/// The error of a server that knows no such collection.
const NO_COLLECTION: i32 = 26;
/// How long the opening may take in all.
const LIMIT: Duration = Duration::from_secs(60);

impl MongoServer {
    /// Opens the store, making what is missing of it, after the server has shown that it enforces unique indexes. With
    /// [`Migrations::Wait`] nothing is made and nothing tried out: whoever made the store has done that.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: &MongoOptions) -> Result<MongoEventStore, OpenError> {
        match tokio::time::timeout(LIMIT, open(options)).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Server(format!("it was not ready within {LIMIT:?}"))),
        }
    }
}

async fn open(options: &MongoOptions) -> Result<MongoEventStore, OpenError> {
    if !(1..=1024).contains(&options.partitions) {
        return Err(OpenError::Settings(format!("{} partitions are not 1 to 1024", options.partitions)));
    }
    let client = Client::with_options(options.client_options().await.map_err(unusable)?)?;
    let database = |name: &str| client.database_with_options(name, options.database_options());
    let main = database(&options.database);
    let waits = options.migrations == Migrations::Wait;
    let tried = if waits { None } else { Some(probe::run(&client, &main).await?) };

    let placement = settle(&main, options).await?;
    let (mut commits, mut snapshots): (Vec<Collection<RawDocumentBuf>>, Vec<_>) = Default::default();
    let mut made: Vec<&str> = Vec::new();
    for name in &placement {
        let database = database(name);
        let of_partition = database.collection_with_options("commits", options.collection_options());
        let its_snapshots = database.collection_with_options("snapshots", options.collection_options());
        if !made.contains(&name.as_str()) {
            made.push(name);
            for (collection, indexes) in [
                (
                    &of_partition,
                    &[
                        (doc! { "p": 1, "s": 1, "v": 1 }, "one_commit_a_version", true),
                        (doc! { "p": 1, "n": 1 }, "one_commit_a_position", true),
                    ][..],
                ),
                (&its_snapshots, &[(doc! { "s": 1, "h": 1, "v": -1 }, "latest", false)][..]),
            ] {
                if waits {
                    require(collection, indexes).await?;
                } else {
                    make(collection, indexes).await?;
                }
            }
        }
        commits.push(of_partition);
        snapshots.push(its_snapshots);
    }
    // Whoever waits comes again and again: sessions and cursors are left with the server only once, when the store is there.
    let capabilities = match tried {
        Some(capabilities) => capabilities,
        None => probe::look(&client, &main).await?,
    };
    tracing::info!(database = %options.database, "event store on {capabilities}");
    let partitions = u16::try_from(placement.len()).unwrap_or(u16::MAX);
    let server = MongoServer { client, commits, snapshots, timeout: options.operation_timeout, capabilities };
    let log = CommitLogOptions { partitions, append_timeout: options.append_timeout, ..CommitLogOptions::default() };
    Ok(CommitLog::new(server, log))
}

/// An index: its keys, its name, and whether it is unique.
type Index = (Document, &'static str, bool);

/// Makes the indexes of a collection, and the collection with them; those that are there stay.
async fn make(collection: &Collection<RawDocumentBuf>, indexes: &[Index]) -> Result<(), OpenError> {
    for (keys, name, unique) in indexes {
        let options = IndexOptions::builder().unique(*unique).name((*name).to_owned()).build();
        collection.create_index(IndexModel::builder().keys(keys.clone()).options(options).build()).await?;
    }
    Ok(())
}

/// Sees whether a collection has its indexes.
async fn require(collection: &Collection<RawDocumentBuf>, indexes: &[Index]) -> Result<(), OpenError> {
    let found = match collection.list_index_names().await {
        Ok(found) => found,
        Err(error) if is_no_collection(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    match indexes.iter().find(|(_, name, _)| !found.iter().any(|found| found == name)) {
        None => Ok(()),
        Some((_, name, _)) => {
            Err(OpenError::Pending(format!("the index {name} of the collection {} is missing", collection.namespace())))
        }
    }
}

fn is_no_collection(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(refused) if refused.code == NO_COLLECTION)
}

/// A connection string that is none doesn't become one; all else may pass.
fn unusable(error: mongodb::error::Error) -> OpenError {
    if matches!(error.kind.as_ref(), ErrorKind::InvalidArgument { .. }) {
        return OpenError::Settings(format!("MongoDB can't be connected to by this: {error}"));
    }
    error.into()
}

/// The database of each partition: as the store was made, or as the options have it when it is new.
async fn settle(main: &Database, options: &MongoOptions) -> Result<Vec<String>, OpenError> {
    let settings: Collection<Document> = main.collection_with_options("event_store", options.collection_options());
    let wanted = options.placement(options.partitions);
    let known = match settings.find_one(doc! { "_id": SETTINGS }).await? {
        Some(known) => known,
        None if options.migrations == Migrations::Wait => {
            return Err(OpenError::Pending(format!("the database {} has none", options.database)));
        }
        None => {
            let new = doc! { "_id": SETTINGS, "format": 1, "databases": wanted.clone() };
            // Another process may be making the store: whose document stands is read again.
            let inserted = settings.insert_one(&new).await;
            match settings.find_one(doc! { "_id": SETTINGS }).await? {
                Some(known) => known,
                None => return Err(inserted.err().map_or_else(lost, OpenError::from)),
            }
        }
    };
    if known.get_i32("format").ok() != Some(1) {
        return Err(OpenError::Settings(format!(
            "the store in {} was made by another release, in a format that this one doesn't read",
            options.database
        )));
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        OpenError::Settings(format!("the settings of the store in {} can't be read: {error}", options.database))
    };
    let databases = known.get_array("databases").map_err(|error| unreadable(&error))?;
    let placement: Option<Vec<_>> = databases.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let placement = placement.filter(|all| !all.is_empty()).ok_or_else(|| unreadable(&"a name is missing"))?;
    let partitions = u16::try_from(placement.len()).map_err(|error| unreadable(&error))?;
    if partitions != options.partitions {
        tracing::info!(partitions, "the event store keeps the number of partitions that it was made with");
    }
    let wanted = options.placement(partitions);
    if let Some(at) = (0..placement.len()).find(|at| placement[*at] != wanted[*at]) {
        return Err(OpenError::Settings(format!(
            "partition {at} lives in the database {:?}, and the settings say {:?}; move its commits and correct the \
             document {SETTINGS:?} of the collection event_store, or take the setting back",
            placement[at], wanted[at]
        )));
    }
    Ok(placement)
}

fn lost() -> OpenError {
    OpenError::Server("a document that was just written can't be found".to_owned())
}
