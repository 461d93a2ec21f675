//! The ports over one file: everything is in one database, and every step of a change in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_aip::page::Page;
use meshwork_api::{ApiKeyName, SessionName, UserName};
use meshwork_chassis::request::RequestKey;
use meshwork_sql::shards::Place;
use meshwork_sql::{Freshness, WalPosition};
use time::OffsetDateTime;

use super::convert::{key_bytes, session_bytes, user_bytes};
use super::store::SqliteStore;
use super::store::outcome::{Changing, Claim, Claiming, Creating, Found, NewAccount, Part, Rekey};
use crate::domain::{ApiKey, Email, Session, User};
use crate::ports::{
    Account, ApiKeyStore, ChangeError, Creation, Decide, KeyCreation, KeyRenewal, NewApiKey, NewSession, NewToken,
    PresentedKey, PresentedToken, Renewal, SessionStore, StoreError, UserCursor, UserFilter, UserPage, UserStore,
};

const HERE: Place = Place::WHOLE;

#[async_trait]
impl UserStore for SqliteStore {
    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        SqliteStore::find_creation(self, HERE, request.clone()).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        let name = account.user.name.clone();
        let claim = Claim::new(account.user.email.key());
        let new = NewAccount { account, claim, request };
        match SqliteStore::create(self, &[HERE], new, Claiming::Here).await? {
            Creating::Answer(creation) => Ok(creation),
            Creating::Held(_) => {
                // Whoever has both is told of the id, as where there are no claims.
                let has_id = self.account(HERE, name).await?.is_some();
                Ok(if has_id { Creation::IdTaken } else { Creation::EmailTaken })
            }
            Creating::Voided => Err(StoreError::damaged("a claim was declared void that nobody else has seen")),
        }
    }

    async fn get(&self, name: &UserName, freshness: Freshness) -> Result<Option<User>, StoreError> {
        SqliteStore::get(self, HERE, name.clone(), freshness).await
    }

    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.account(HERE, name.clone()).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        for key in email.lookup_keys() {
            match SqliteStore::find_by_email(self, HERE, key).await? {
                Found::Account(account) => return Ok(Some(account)),
                // The account of a claim is in the same file.
                Found::Elsewhere(_) | Found::Nobody => {}
            }
        }
        Ok(None)
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        let page = match &filter.email {
            Some(email) => {
                let found = UserStore::find_by_email(self, email).await?;
                let users = found.map(|account| account.user).filter(|user| filter.holds(user, after));
                Page { items: users.into_iter().collect(), next: None }
            }
            None => {
                let limit = size.saturating_add(1);
                let Part { users, .. } =
                    SqliteStore::list(self, filter.clone(), limit, after.cloned(), freshness).await?;
                let Page { items, next } =
                    Page::cut(users, size, |(cursor, _)| cursor.to_string(), |(_, user)| user_bytes(user.as_ref()));
                Page { items: items.into_iter().filter_map(|(_, user)| user).collect(), next }
            }
        };
        Ok(UserPage { page, unreachable: Vec::new() })
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        match SqliteStore::change(self, HERE, name.clone(), Arc::new(decide), Rekey::Here).await? {
            Changing::Done { user, .. } => Ok(user),
            Changing::NotFound => Err(ChangeError::NotFound),
            Changing::Refused(refused) => Err(ChangeError::Refused(refused)),
            Changing::EmailTaken => Err(ChangeError::EmailTaken),
            Changing::Conflict => Err(ChangeError::Conflict),
            Changing::Rekeyed { .. } | Changing::Voided => {
                Err(StoreError::damaged("a claim is missing that the change itself makes").into())
            }
        }
    }

    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError> {
        match SqliteStore::renew_key(self, HERE, name.clone(), Rekey::Here).await? {
            Changing::Done { before: Some(_), .. } => Ok(KeyRenewal::Renewed),
            Changing::Done { before: None, .. } | Changing::NotFound => Ok(KeyRenewal::Current),
            Changing::EmailTaken => Ok(KeyRenewal::Taken),
            Changing::Conflict => Err(StoreError::Conflict(format!("{name} is being changed by others"))),
            Changing::Refused(_) | Changing::Rekeyed { .. } | Changing::Voided => {
                Err(StoreError::damaged("a claim is missing that the renewal itself makes"))
            }
        }
    }

    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        SqliteStore::erasable(self, before, limit).await
    }

    async fn position(&self, _name: &UserName) -> Option<WalPosition> {
        SqliteStore::position(self).await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open(&self, session: NewSession) -> Result<bool, StoreError> {
        self.open_session(HERE, session).await
    }

    async fn renew(
        &self,
        presented: PresentedToken,
        next: NewToken,
        now: OffsetDateTime,
    ) -> Result<Renewal, StoreError> {
        self.renew_session(HERE, presented.digest, next, now).await
    }

    async fn end(&self, presented: PresentedToken) -> Result<(), StoreError> {
        self.end_session(HERE, presented.digest).await
    }

    async fn list_sessions(
        &self,
        user: &UserName,
        size: usize,
        after: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Page<Session>, StoreError> {
        let (limit, after) = (size.saturating_add(1), after.unwrap_or_default().to_owned());
        let sessions = self.sessions_of(HERE, user.clone(), limit, after, now).await?;
        Ok(Page::cut(sessions, size, |session| session.name.id().to_owned(), session_bytes))
    }

    async fn revoke_session(&self, name: &SessionName) -> Result<(), StoreError> {
        self.revoke_session_at(HERE, name.clone()).await
    }

    async fn prune(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        let sessions = self.prune_sessions(now, limit).await?;
        Ok(self.prune_claims(limit).await? || sessions)
    }
}

#[async_trait]
impl ApiKeyStore for SqliteStore {
    async fn create_key(&self, new: NewApiKey) -> Result<KeyCreation, StoreError> {
        SqliteStore::create_key(self, HERE, new).await
    }

    async fn get_key(&self, name: &ApiKeyName) -> Result<Option<ApiKey>, StoreError> {
        self.key(HERE, name.clone()).await
    }

    async fn list_keys(&self, user: &UserName, size: usize, after: Option<&str>) -> Result<Page<ApiKey>, StoreError> {
        let (limit, after) = (size.saturating_add(1), after.unwrap_or_default().to_owned());
        let keys = self.keys_of(HERE, user.clone(), limit, after).await?;
        Ok(Page::cut(keys, size, |key| key.name.id().to_owned(), key_bytes))
    }

    async fn revoke_key(&self, name: &ApiKeyName, now: OffsetDateTime) -> Result<Option<ApiKey>, StoreError> {
        self.revoke_key_at(HERE, name.clone(), now).await
    }

    async fn find_key(&self, presented: &PresentedKey) -> Result<Option<(ApiKey, User)>, StoreError> {
        self.find_key_at(HERE, presented.digest).await
    }

    async fn prune_keys(&self, before: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        self.prune_ended_keys(before, limit).await
    }
}
