//! The event store on a real server that speaks MongoDB's protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod conforms;
mod damage;
mod faults;
mod opening;
mod rules;
mod unfit;
mod wire;

use std::sync::Arc;

use meshwork_eventstore::mongodb::{MongoEventStore, MongoOptions, MongoServer};
use meshwork_testkit::Mongo;
use mongodb::bson::Document;
use mongodb::{Client, Collection};

/// A server with a database of the test's.
pub(crate) struct World {
    pub(crate) mongo: Mongo,
    pub(crate) options: MongoOptions,
}

impl World {
    pub(crate) fn new(partitions: u16) -> Self {
        Self::on(Mongo::start(), partitions)
    }

    /// On a server that the test may kill.
    pub(crate) fn private(partitions: u16) -> Self {
        Self::on(Mongo::private(), partitions)
    }

    pub(crate) fn on(mongo: Mongo, partitions: u16) -> Self {
        let options = MongoOptions { database: mongo.database(), partitions, ..MongoOptions::new(mongo.uri()) };
        Self { mongo, options }
    }

    /// With another database, on the same server.
    pub(crate) fn anew(&mut self) {
        self.options.database = self.mongo.database();
    }

    /// A store as another process would open it.
    pub(crate) async fn store(&self) -> Arc<MongoEventStore> {
        let store = MongoServer::open(&self.options).await.unwrap();
        self.mongo.index(&self.options.database);
        Arc::new(store)
    }

    /// The documents as they are.
    pub(crate) async fn documents(&self) -> Collection<Document> {
        let client = Client::with_uri_str(self.mongo.uri()).await.unwrap();
        client.database(&self.options.database).collection("commits")
    }
}
