//! The store itself.

use meshwork_chassis::request::RequestKey;
use meshwork_sql::replay::Known;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::undo::Undo;
use super::super::{SOURCE, damaged, replay_request};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::{Connection, Database, identity, replay};
use crate::ports::StoreError;

/// The catalogue and the inventory in one database. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(super) db: Database,
    pub(super) outbox: Outbox,
    #[cfg(feature = "ablation")]
    pub(super) planted: Option<super::super::Planted>,
}

impl Store {
    pub(super) fn over(db: Database) -> Self {
        Self {
            outbox: Outbox::new(db.clone(), SOURCE),
            db,
            #[cfg(feature = "ablation")]
            planted: None,
        }
    }

    /// The same store with a bug, for tests that must find it.
    #[cfg(feature = "ablation")]
    #[must_use]
    pub fn with_bug(self, planted: super::super::Planted) -> Self {
        Self { planted: Some(planted), ..self }
    }

    /// Whether the store does its work, for a check.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ping(&self) -> Result<(), meshwork_sql::Error> {
        self.db.ping().await
    }

    /// The name of the database, for what is kept of it elsewhere.
    ///
    /// # Errors
    /// When it can't be read or made.
    pub async fn identity(&self) -> Result<String, meshwork_sql::Error> {
        identity::identity(&self.db).await
    }

    /// Where the consumer of this name stands, and what it has parked.
    pub fn inbox(&self, consumer: &'static str) -> Inbox {
        Inbox::new(self.db.clone(), consumer)
    }

    /// What it announces.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// The database.
    #[cfg(feature = "testing")]
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }
}

/// The answer that a request was given before.
pub(super) async fn answer_before<T: DeserializeOwned>(
    connection: &mut Connection,
    request: Option<&RequestKey>,
) -> Result<Option<T>, Undo> {
    let Some(key) = request else { return Ok(None) };
    match replay::find(connection, &replay_request(key)).await? {
        Known::New => Ok(None),
        Known::Reused => Err(StoreError::RequestReused.into()),
        Known::Answered(answer) => Ok(Some(serde_json::from_slice(&answer).map_err(damaged)?)),
    }
}

/// Keeps the answer to a request, for when it comes again.
pub(super) async fn keep_answer<T: Serialize>(
    connection: &mut Connection,
    request: Option<&RequestKey>,
    answer: &T,
) -> Result<(), Undo> {
    let Some(key) = request else { return Ok(()) };
    let answer = serde_json::to_vec(answer).map_err(damaged)?;
    replay::store(connection, &replay_request(key), &answer).await?;
    Ok(())
}
