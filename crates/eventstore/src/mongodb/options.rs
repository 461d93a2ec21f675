//! The connection to MongoDB.

use std::fmt;
use std::time::Duration;

use meshwork_sql::Migrations;
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};

/// How to reach a MongoDB, and how it keeps the store.
#[derive(Clone)]
pub struct MongoOptions {
    /// The connection string, `mongodb://…` or `mongodb+srv://…`. TLS and credentials are parts of it. `retryWrites` and
    /// the concerns that it names don't count: the store sets its own.
    pub uri: String,
    /// The database of the store.
    pub database: String,
    /// How many partitions a new store gets; one that exists keeps its number. 16 by default.
    pub partitions: u16,
    /// Partitions that live in databases of their own. A partition that has commits can't be moved by this.
    pub databases: Vec<DatabaseRange>,
    /// Whether opening makes what the store lacks, as by default, or fails with [`OpenError::Pending`](super::OpenError) while
    /// somebody else is to make it.
    pub migrations: Migrations,
    /// How many connections there are at most. 32 by default.
    pub max_connections: u32,
    /// How many are kept open. 2 by default.
    pub min_connections: u32,
    /// How long to wait for a connection to a server. 2 s by default.
    pub connect_timeout: Duration,
    /// How long to wait for a server that can be written to, as after a failover. 3 s by default.
    pub server_selection_timeout: Duration,
    /// How long one read or insert may take. 3 s by default.
    pub operation_timeout: Duration,
    /// How long an append may take in all, with what has to be tried again. 5 s by default.
    pub append_timeout: Duration,
}

/// Partitions that live in a database of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRange {
    /// The first partition.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// The database.
    pub database: String,
}

impl MongoOptions {
    /// The defaults, for the server at `uri`.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            database: "meshwork".to_owned(),
            partitions: 16,
            databases: Vec::new(),
            migrations: Migrations::default(),
            max_connections: 32,
            min_connections: 2,
            connect_timeout: Duration::from_secs(2),
            server_selection_timeout: Duration::from_secs(3),
            operation_timeout: Duration::from_secs(3),
            append_timeout: Duration::from_secs(5),
        }
    }

    /// The database of each partition.
    pub(super) fn placement(&self, partitions: u16) -> Vec<String> {
        let of = |partition| {
            let range = self.databases.iter().find(|range| (range.first..=range.last).contains(&partition));
            range.map_or(&self.database, |range| &range.database).clone()
        };
        (0..partitions).map(of).collect()
    }

    /// The driver's options. Reads and writes that don't say otherwise have the store's concerns too.
    pub(super) async fn client_options(&self) -> mongodb::error::Result<ClientOptions> {
        let mut options = ClientOptions::parse(&self.uri).await?;
        options.app_name.get_or_insert_with(|| "meshwork".to_owned());
        options.max_pool_size = Some(self.max_connections);
        options.min_pool_size = Some(self.min_connections.min(self.max_connections));
        options.connect_timeout = Some(self.connect_timeout);
        options.server_selection_timeout = Some(self.server_selection_timeout);
        // The append itself is the retry. Servers that claim sessions without having them would let the driver's own
        // resend meet its first success as a duplicate.
        options.retry_writes = Some(false);
        options.retry_reads = Some(true);
        options.write_concern = Some(self.write_concern());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(options)
    }

    /// A majority, each with it in its journal.
    fn write_concern(&self) -> WriteConcern {
        WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(self.operation_timeout).build()
    }

    /// The concerns of the store's collections (MG-3).
    pub(super) fn collection_options(&self) -> CollectionOptions {
        CollectionOptions::builder()
            .write_concern(self.write_concern())
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build()
    }

    /// The concerns of the store's databases.
    pub(super) fn database_options(&self) -> DatabaseOptions {
        DatabaseOptions::builder()
            .write_concern(self.write_concern())
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build()
    }
}

impl fmt::Debug for MongoOptions {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("database", &self.database)
            .field("partitions", &self.partitions)
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn mg_3_reads_ask_for_a_majority_and_writes_for_its_journal_whatever_the_uri_says() {
        let uri = "mongodb://127.0.0.1/?readConcernLevel=local&w=1&retryWrites=true&readPreference=secondary";
        let options = MongoOptions::new(uri);
        let (client, collection) = (options.client_options().await.unwrap(), options.collection_options());
        assert_eq!(client.retry_writes, Some(false));
        for read in [&client.read_concern, &collection.read_concern] {
            assert_eq!(*read, Some(ReadConcern::majority()));
        }
        for write in [client.write_concern, collection.write_concern] {
            let write = write.unwrap();
            assert_eq!((write.w, write.journal), (Some(Acknowledgment::Majority), Some(true)));
        }
        for criteria in [client.selection_criteria, collection.selection_criteria] {
            assert!(matches!(criteria, Some(SelectionCriteria::ReadPreference(ReadPreference::Primary))));
        }
    }

    #[test]
    fn the_connection_string_is_not_shown() {
        let shown = format!("{:?}", MongoOptions::new("mongodb://anna:secret@host"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
