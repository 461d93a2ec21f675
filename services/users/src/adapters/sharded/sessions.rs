//! The sessions: each lies where its account does.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use meshwork_aip::page::Page;
use meshwork_api::{SessionName, UserName};
use time::OffsetDateTime;

use super::store::ShardedStore;
use crate::adapters::convert::session_bytes;
use crate::domain::Session;
use crate::ports::{NewSession, NewToken, PresentedToken, Renewal, SessionStore, StoreError};

/// How long one shard may take to drop what has expired.
const PRUNE: Duration = Duration::from_secs(30);

#[async_trait]
impl SessionStore for ShardedStore {
    async fn open(&self, session: NewSession) -> Result<bool, StoreError> {
        let opened = self.at_user(session.user.id(), |store, _, place| {
            let session = session.clone();
            Box::pin(async move { store.open_session(place, session).await })
        });
        opened.await
    }

    async fn renew(
        &self,
        presented: PresentedToken,
        next: NewToken,
        now: OffsetDateTime,
    ) -> Result<Renewal, StoreError> {
        // Tokens that don't say whose they are are older than any shard, and so are their sessions.
        let PresentedToken { user: Some(user), digest } = presented else { return Ok(Renewal::Unknown) };
        let renewed = self.at_user(user.id(), |store, _, place| {
            Box::pin(async move { store.renew_session(place, digest, next, now).await })
        });
        renewed.await
    }

    async fn end(&self, presented: PresentedToken) -> Result<(), StoreError> {
        let PresentedToken { user: Some(user), digest } = presented else { return Ok(()) };
        let ended =
            self.at_user(user.id(), |store, _, place| Box::pin(async move { store.end_session(place, digest).await }));
        ended.await
    }

    async fn list_sessions(
        &self,
        user: &UserName,
        size: usize,
        after: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Page<Session>, StoreError> {
        let limit = size.saturating_add(1);
        let sessions = self.at_user(user.id(), |store, _, place| {
            let (user, after) = (user.clone(), after.unwrap_or_default().to_owned());
            Box::pin(async move { store.sessions_of(place, user, limit, after, now).await })
        });
        Ok(Page::cut(sessions.await?, size, |session| session.name.id().to_owned(), session_bytes))
    }

    async fn revoke_session(&self, name: &SessionName) -> Result<(), StoreError> {
        let ended = self.at_user(name.user().id(), |store, _, place| {
            let name = name.clone();
            Box::pin(async move { store.revoke_session_at(place, name).await })
        });
        ended.await
    }

    async fn prune(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        let pruned = self.shards.gather(PRUNE, |shard| -> BoxFuture<'static, Result<bool, StoreError>> {
            let store = shard.part.clone();
            Box::pin(async move {
                let sessions = store.prune_sessions(now, limit).await?;
                let claims = store.prune_claims(limit).await?;
                Ok(store.prune_homes(limit).await? || claims || sessions)
            })
        });
        let (mut more, mut failed) = (false, Vec::new());
        for (_, name, pruned) in pruned.await {
            match pruned {
                Ok(full) => more |= full,
                Err(error) => failed.push(format!("shard {name}: {error}")),
            }
        }
        // Where there is more to be done, it is done first: the next round tells of those that fail.
        if more {
            return Ok(true);
        }
        failed.extend(self.settle_stale().await);
        if failed.is_empty() { Ok(false) } else { Err(StoreError::Unavailable(failed.join("; "))) }
    }
}
