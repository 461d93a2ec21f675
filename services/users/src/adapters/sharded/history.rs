//! What was announced of an account: it lies where the account does, and goes along when that moves.

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_events::{Envelope, StreamReader};

use super::store::ShardedStore;
use crate::ports::StoreError;

/// The events of accounts, by account, over the shards.
pub struct ShardedHistory(pub ShardedStore);

#[async_trait]
impl StreamReader for ShardedHistory {
    async fn read_stream(&self, subject: &str, after: i64, limit: usize) -> Result<Vec<Envelope>, String> {
        // What isn't the name of an account has no events.
        let Ok(name) = subject.parse::<UserName>() else { return Ok(Vec::new()) };
        let events = self.0.at_user(name.id(), |store, _, place| {
            let subject = name.to_string();
            Box::pin(async move {
                let events = store.outbox().read_stream(&subject, after, limit).await;
                // What is still owned behind the read was owned all the while.
                store.check(place).await?;
                events.map_err(StoreError::Unavailable)
            })
        });
        events.await.map_err(|error| error.to_string())
    }
}
