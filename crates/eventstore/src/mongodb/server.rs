//! The reads and the insert that the commit log is made of.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, InsertManyError};
use mongodb::{Client, Collection};

use super::document;
use super::error::DUPLICATE_KEY;
use super::probe::Capabilities;
use crate::store::MAX_EVENTS;
use crate::{Commit, CommitServer, InsertError, InsertFailure, Position, ReadError};

/// Codes of commands that were certainly not carried out: unauthorized, authentication failed, command not found.
const NOT_CARRIED_OUT: [i32; 3] = [13, 18, 59];
/// Codes by which a server refuses a document that it has looked at: bad value, unauthorized, failed validation, too large.
const REFUSED: [i32; 4] = [2, 13, 121, 10_334];

/// A MongoDB, or a server that speaks its protocol, with the collections of an event store.
pub struct MongoServer {
    pub(super) client: Client,
    /// By partition, the collection of its commits.
    pub(super) commits: Vec<Collection<RawDocumentBuf>>,
    /// By partition, the collection of the snapshots of its streams.
    pub(super) snapshots: Vec<Collection<RawDocumentBuf>>,
    pub(super) timeout: Duration,
    pub(super) capabilities: Capabilities,
}

impl MongoServer {
    /// What the server can do, as it was found at the start.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn commits(&self, partition: u16) -> Result<&Collection<RawDocumentBuf>, ReadError> {
        let commits = self.commits.get(usize::from(partition));
        commits.ok_or_else(|| ReadError(format!("the store has no partition {partition}")))
    }

    /// A read, for no longer than an operation may take.
    pub(super) async fn timed<T>(&self, read: impl Future<Output = Result<T, Error>> + Send) -> Result<T, ReadError> {
        match tokio::time::timeout(self.timeout, read).await {
            Ok(result) => result.map_err(|error| ReadError(error.to_string())),
            Err(_) => Err(ReadError(format!("MongoDB gave no answer within {:?}", self.timeout))),
        }
    }

    async fn one(&self, partition: u16, filter: Document) -> Result<Option<Commit>, ReadError> {
        let commits = self.commits(partition)?;
        let found = self.timed(async { commits.find_one(filter).await }).await?;
        Ok(found.map(|document| document::decode(&document, partition)))
    }
}

/// What is known of an insert that was answered by an error.
fn insert_failure(error: &Error) -> InsertFailure {
    let text = error.to_string();
    let all = |error| InsertFailure { made: 0, error };
    match error.kind.as_ref() {
        ErrorKind::InsertMany(InsertManyError { write_errors: Some(refused), write_concern_error: None, .. }) => {
            match refused.as_slice() {
                // Those before it were applied, and a majority has them: else the answer would say that it hasn't.
                [refused] if refused.code == DUPLICATE_KEY => {
                    InsertFailure { made: refused.index, error: InsertError::Duplicate }
                }
                [refused] if refused.index == 0 && REFUSED.contains(&refused.code) => all(InsertError::NotSent(text)),
                // A router puts the loss of a shard here too.
                _ => all(InsertError::Unknown(text)),
            }
        }
        ErrorKind::Command(error) if NOT_CARRIED_OUT.contains(&error.code) => all(InsertError::NotSent(text)),
        // There was no connection to send it by. One that is cleared from the pool may have sent it before.
        ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. } => all(InsertError::NotSent(text)),
        _ => all(InsertError::Unknown(text)),
    }
}

#[async_trait]
impl CommitServer for MongoServer {
    async fn insert(&self, commits: &[Commit]) -> Result<(), InsertFailure> {
        let Some(first) = commits.first() else { return Ok(()) };
        let failure = |error| InsertFailure { made: 0, error };
        let collection = self.commits(first.position.partition);
        let collection = collection.map_err(|error| failure(InsertError::NotSent(error.0)))?;
        let documents: Vec<_> = commits.iter().map(document::encode).collect();
        // One that is refused is the end of it.
        match tokio::time::timeout(self.timeout, async { collection.insert_many(&documents).ordered(true).await }).await
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(insert_failure(&error)),
            Err(_) => Err(failure(InsertError::Unknown(format!("MongoDB gave no answer within {:?}", self.timeout)))),
        }
    }

    async fn by_command(&self, partition: u16, stream: &str, command_id: &str) -> Result<Option<Commit>, ReadError> {
        self.one(partition, doc! { "_id": document::id(stream, command_id) }).await
    }

    async fn by_version(&self, partition: u16, stream: &str, first: i64) -> Result<Option<Commit>, ReadError> {
        self.one(partition, doc! { "p": i32::from(partition), "s": stream, "v": first }).await
    }

    async fn by_position(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        let found = self.one(partition, doc! { "p": i32::from(partition), "n": n }).await?;
        // It was found there, however its number is written: who follows the partition goes on behind it.
        Ok(found.map(|commit| Commit { position: Position { partition, n }, ..commit }))
    }

    async fn load(&self, partition: u16, stream: &str, after: i64) -> Result<Vec<Commit>, ReadError> {
        let commits = self.commits(partition)?;
        let mut filter = doc! { "p": i32::from(partition), "s": stream };
        if after > 0 {
            // The commit that holds the next version may begin this much before it.
            let longest = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
            // Put this way, it finds a version too that is no number: damage must not look like the end of the stream.
            filter.insert("v", doc! { "$not": { "$lte": after.saturating_sub(longest) } });
        }
        let documents: Vec<RawDocumentBuf> =
            self.timed(async { commits.find(filter).sort(doc! { "v": 1 }).await?.try_collect().await }).await?;
        let commits = documents.iter().map(|document| document::decode(document, partition));
        Ok(commits.filter(|commit| commit.version() > after || commit.damage.is_some()).collect())
    }

    async fn newest(&self, partition: u16, stream: &str) -> Result<Option<Commit>, ReadError> {
        let commits = self.commits(partition)?;
        let filter = doc! { "p": i32::from(partition), "s": stream };
        // A version that is damaged sorts behind every number: it is told, and not passed over.
        let found = self.timed(async { commits.find_one(filter).sort(doc! { "v": -1 }).await }).await?;
        Ok(found.map(|document| document::decode(&document, partition)))
    }

    async fn follow(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        self.by_position(partition, n).await
    }

    async fn range(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, ReadError> {
        let commits = self.commits(partition)?;
        let filter = doc! { "p": i32::from(partition), "n": { "$gt": after } };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let documents: Vec<RawDocumentBuf> = self
            .timed(async { commits.find(filter).sort(doc! { "n": 1 }).limit(limit).await?.try_collect().await })
            .await?;
        Ok(documents.iter().map(|document| document::decode(document, partition)).collect())
    }

    async fn last(&self, partition: u16) -> Result<i64, ReadError> {
        let commits = self.commits(partition)?;
        // What is no number is greater than any number, and no position.
        let filter = doc! { "p": i32::from(partition), "n": { "$gt": 0_i64 } };
        let last = self
            .timed(async { commits.find_one(filter).sort(doc! { "n": -1 }).projection(doc! { "n": 1 }).await })
            .await?;
        match last {
            None => Ok(0),
            Some(last) => document::position(&last)
                .ok_or_else(|| ReadError("the last commit's position is no number that counts".to_owned())),
        }
    }

    async fn ping(&self) -> Result<(), ReadError> {
        self.timed(async { self.client.database("admin").run_command(doc! { "ping": 1 }).await }).await.map(drop)
    }
}
