//! Accounts from a cache, where whoever reads them allows it (CA-).
//!
//! Only single accounts are cached, without anything of their passwords. Whatever decides (sign-ins, sessions, changes, addresses,
//! lists) goes to the store itself. A deleted account is nowhere kept: its deletion leaves nothing but its version. Each part of the
//! store has a lane of its own, so that one which hangs keeps nobody from the others.

mod value;

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_cache::{Cache, CacheOptions, LoadError, Loaded, Tiers, Wanted};
use meshwork_chassis::cache::{Invalidated, TakenPositions, wanted};
use meshwork_chassis::config::CacheConfig;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use meshwork_events::Envelope;
use time::OffsetDateTime;

use crate::adapters::events::{DELETED, ERASED};
use crate::domain::{Email, User};
use crate::ports::{
    Account, ChangeError, Creation, Decide, KeyRenewal, StoreError, UserCursor, UserFilter, UserPage, UserStore,
};

/// The kind of accounts, which are cached by their ids.
const KIND: &str = <User as meshwork_cache::Value>::KIND;

impl LoadError for StoreError {
    fn is_unavailable(&self) -> bool {
        self.is_without_effect()
    }

    fn overloaded() -> Self {
        StoreError::Unavailable("more accounts are being read than the database has time for".to_owned())
    }
}

/// A store of accounts with a cache before it. Clones share both.
#[derive(Clone)]
pub struct CachedUsers {
    store: Arc<dyn UserStore>,
    cache: Cache<User, StoreError>,
    positions: Arc<TakenPositions>,
}

impl CachedUsers {
    /// Puts a cache in these tiers before `store`, which has so many `parts`.
    pub fn new(store: Arc<dyn UserStore>, tiers: &Tiers, config: &CacheConfig, parts: usize) -> Self {
        let options = CacheOptions { lanes: parts.max(1), ..config.options() };
        Self { store, cache: tiers.cache(options), positions: Arc::default() }
    }

    /// Tells the cache what an account has become. It goes on though whoever has changed the account is cancelled.
    async fn changed(&self, user: User) {
        fail::fail_point!("cache::before_put");
        let cache = self.cache.clone();
        let told = tokio::spawn(async move {
            let (id, version) = (user.name.id().to_owned(), version(&user));
            if user.is_deleted() {
                cache.invalidate(&id, None).await;
            } else {
                cache.put(&id, &[], user, version).await;
            }
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "an account that has changed was not told to the cache; its event is");
        }
    }

    /// Drops an account that may have changed.
    async fn may_have_changed(&self, name: &UserName) {
        self.cache.invalidate(name.id(), None).await;
    }
}

/// Reads an account for the cache: as it is, with a position that was taken before.
async fn load(
    store: &dyn UserStore,
    positions: &TakenPositions,
    (name, part): (&UserName, usize),
    wanted: Wanted,
) -> Result<Loaded<User>, StoreError> {
    let position = positions.before_load(part, wanted, store.position(name)).await;
    let user = store.get(name, Freshness::Latest).await?;
    let version = user.as_ref().map_or(0, version);
    // Nothing of who is gone is kept.
    let keep = !user.as_ref().is_some_and(User::is_deleted);
    Ok(Loaded { value: user, version, position, keep })
}

/// The version of an account, which is never negative.
fn version(user: &User) -> u64 {
    u64::try_from(user.version).unwrap_or_default()
}

/// The account that an event makes outdated.
pub fn outdated_by(event: &Envelope) -> Option<Invalidated> {
    let name: UserName = event.subject.parse().ok()?;
    let version = u64::try_from(event.version).ok()?;
    // Of who is gone nothing stays, whatever its version.
    let version = (event.event_type != DELETED && event.event_type != ERASED).then_some(version);
    Some(Invalidated { kind: KIND, key: name.id().to_owned(), version, tags: &[] })
}

#[async_trait]
impl UserStore for CachedUsers {
    fn new_name(&self) -> Result<UserName, StoreError> {
        self.store.new_name()
    }

    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        self.store.find_creation(request).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        let name = account.user.name.clone();
        let created = self.store.create(account, request).await;
        match &created {
            Ok(Creation::Created(user)) => self.changed(user.clone()).await,
            Err(StoreError::OutcomeUnknown(_)) => self.may_have_changed(&name).await,
            Ok(_) | Err(_) => {}
        }
        created
    }

    async fn get(&self, name: &UserName, freshness: Freshness) -> Result<Option<User>, StoreError> {
        let Some(wanted) = wanted(freshness) else { return self.store.get(name, freshness).await };
        let part = self.store.part(name);
        let (store, positions, of) = (self.store.clone(), self.positions.clone(), name.clone());
        let read = move || {
            let (store, positions, name) = (store.clone(), positions.clone(), of.clone());
            async move { load(&*store, &positions, (&name, part), wanted).await }
        };
        let user = self.cache.lane(part).read(name.id(), &[], wanted, read).await?;
        Ok(user.map(Arc::unwrap_or_clone))
    }

    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.store.find_account(name).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.store.find_by_email(email).await
    }

    async fn find_to_sign_in(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.store.find_to_sign_in(email).await
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        self.store.list(filter, size, after, freshness).await
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        let changed = self.store.change(name, decide).await;
        match &changed {
            Ok(user) => self.changed(user.clone()).await,
            Err(ChangeError::Store(StoreError::OutcomeUnknown(_))) => self.may_have_changed(name).await,
            Err(_) => {}
        }
        changed
    }

    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError> {
        self.store.renew_key(name).await
    }

    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        self.store.erasable(before, limit).await
    }

    fn part(&self, name: &UserName) -> usize {
        self.store.part(name)
    }

    async fn position(&self, name: &UserName) -> Option<WalPosition> {
        self.positions.take(self.store.part(name), self.store.position(name)).await
    }
}
