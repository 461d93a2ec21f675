//! The accounts.

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_chassis::page::Page;
use meshwork_chassis::request::RequestKey;
use meshwork_events::outbox::sqlite::Outbox;
use meshwork_sql::replay::{self, sqlite as answers};
use meshwork_sql::to_micros;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, rows};
use crate::adapters::events;
use crate::domain::{Changed, Email, PasswordHash, User, UserEvent};
use crate::ports::{Account, ChangeError, Creation, Decide, StoreError, UserCursor, UserFilter, UserStore};

/// What is kept of the answer to a request: the account as it was made, and the hash that tells whether who asks again
/// has its password.
#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    user: User,
    password: PasswordHash,
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        let mut connection = self.db.reader().acquire().await?;
        find_creation(&mut connection, &replay_request(request.clone())).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        let outbox = self.outbox.clone();
        let request = request.map(replay_request);
        let creation = self
            .db
            .write_once::<_, StoreError, _>(move |connection| {
                Box::pin(async move {
                    if let Some(request) = &request
                        && let Some(creation) = find_creation(connection, request).await?
                    {
                        return Ok(creation);
                    }
                    if let Some(taken) = insert(connection, &account).await? {
                        return Ok(taken);
                    }
                    let Account { user, password } = account;
                    let (at, event) = (user.create_time, events::encode(&user, &UserEvent::Registered));
                    if let Some(request) = &request {
                        let answer = serde_json::to_vec(&StoredAnswer { user, password }).map_err(StoreError::new)?;
                        answers::store(connection, request, &answer).await?;
                    }
                    outbox.append(connection, at, &[event]).await?;
                    Ok(Creation::Created)
                })
            })
            .await?;
        Ok(creation)
    }

    async fn get(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM users WHERE id = ?").bind(name.id()).fetch_optional(self.db.reader()).await?;
        row.as_ref().map(rows::user).transpose()
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM users WHERE email_key = ?")
            .bind(email.key())
            .fetch_optional(self.db.reader())
            .await?;
        row.as_ref().map(rows::account).transpose()
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
    ) -> Result<Page<User>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM users WHERE TRUE");
        if let Some(email) = &filter.email {
            query.push(" AND email_key = ").push_bind(email.key());
        }
        if let Some(role) = filter.role {
            query.push(" AND role = ").push_bind(role.as_str());
        }
        if !filter.show_deleted {
            query.push(" AND delete_time IS NULL");
        }
        if let Some(UserCursor { micros, id }) = after {
            query.push(" AND (create_time, id) > (").push_bind(*micros).push(", ").push_bind(id.clone()).push(")");
        }
        let limit = i64::try_from(size.saturating_add(1)).unwrap_or(i64::MAX);
        query.push(" ORDER BY create_time, id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.db.reader()).await?;
        let users = rows.iter().map(rows::user).collect::<Result<Vec<_>, _>>()?;
        let cursor =
            |user: &User| UserCursor { micros: to_micros(user.create_time), id: user.name.id().to_owned() }.to_string();
        Ok(Page::cut(users, size, cursor))
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        let input = (self.outbox.clone(), name.clone(), decide);
        let changed = self
            .db
            .write(input, |connection, (outbox, name, decide)| Box::pin(change(connection, outbox, name, decide)));
        changed.await
    }
}

fn replay_request(request: RequestKey) -> replay::Request {
    let RequestKey { principal, method, id, hash } = request;
    replay::Request { principal, method, id, hash }
}

async fn find_creation(
    connection: &mut SqliteConnection,
    request: &replay::Request,
) -> Result<Option<Creation>, StoreError> {
    Ok(match answers::find(connection, request).await? {
        replay::Known::New => None,
        replay::Known::Reused => Some(Creation::RequestReused),
        replay::Known::Answered(answer) => {
            let StoredAnswer { user, password } = serde_json::from_slice(&answer).map_err(StoreError::new)?;
            Some(Creation::Replayed(Account { user, password }))
        }
    })
}

/// Adds an account; what is taken when it can't be added.
async fn insert(connection: &mut SqliteConnection, account: &Account) -> Result<Option<Creation>, StoreError> {
    let user = &account.user;
    let added = sqlx::query(
        "INSERT INTO users (id, email, email_key, display_name, role, password_hash, create_time, update_time, \
         delete_time, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(user.name.id())
    .bind(user.email.as_str())
    .bind(user.email.key())
    .bind(user.display_name.as_str())
    .bind(user.role.as_str())
    .bind(account.password.as_str())
    .bind(to_micros(user.create_time))
    .bind(to_micros(user.update_time))
    .bind(user.delete_time.map(to_micros))
    .bind(user.version)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 1 {
        return Ok(None);
    }
    let id_taken =
        sqlx::query("SELECT 1 FROM users WHERE id = ?").bind(user.name.id()).fetch_optional(connection).await?;
    Ok(Some(if id_taken.is_some() { Creation::IdTaken } else { Creation::EmailTaken }))
}

/// Changes an account as is decided about it.
async fn change(
    connection: &mut SqliteConnection,
    outbox: &Outbox,
    name: &UserName,
    decide: &Decide,
) -> Result<User, ChangeError> {
    let row = sqlx::query("SELECT * FROM users WHERE id = ?")
        .bind(name.id())
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::from)?;
    let user = rows::user(&row.ok_or(ChangeError::NotFound)?)?;
    let Some(changed) = decide(&user)? else { return Ok(user) };
    update(connection, user.version, &changed).await?;
    if changed.ends_sessions() {
        sqlx::query("DELETE FROM sessions WHERE user_id = ?")
            .bind(name.id())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::from)?;
    }
    let event = events::encode(&changed.user, &changed.event);
    outbox.append(connection, changed.user.update_time, &[event]).await?;
    Ok(changed.user)
}

/// Stores what an account has become, in place of the version that was read and only of it.
pub(super) async fn update(connection: &mut SqliteConnection, read: i64, changed: &Changed) -> Result<(), ChangeError> {
    let user = &changed.user;
    let stored = sqlx::query(
        "UPDATE users SET email = ?, email_key = ?, display_name = ?, password_hash = COALESCE(?, password_hash), \
         update_time = ?, delete_time = ?, version = ? WHERE id = ? AND version = ?",
    )
    .bind(user.email.as_str())
    .bind(user.email.key())
    .bind(user.display_name.as_str())
    .bind(changed.password.as_ref().map(PasswordHash::as_str))
    .bind(to_micros(user.update_time))
    .bind(user.delete_time.map(to_micros))
    .bind(user.version)
    .bind(user.name.id())
    .bind(read)
    .execute(connection)
    .await;
    match stored.map_err(meshwork_sql::Error::from) {
        Ok(stored) if stored.rows_affected() == 1 => Ok(()),
        // What was decided was about another version.
        Ok(_) => Err(ChangeError::Conflict),
        // The address is the only unique column that changes.
        Err(error) if error.is_unique_violation() => Err(ChangeError::EmailTaken),
        Err(error) => Err(error.into()),
    }
}
