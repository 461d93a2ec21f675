//! Creating accounts, and what requests have created.

use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use meshwork_sql::replay::{Known, Request};
use meshwork_sql::shards::Place;
use meshwork_sql::to_micros;

use super::super::outcome::{Claiming, Creating, NewAccount, StoredAnswer, Taking};
use super::super::undo::Undo;
use super::super::{USERS, replay_request, slot};
use super::store::Store;
use super::{Connection, check_owned, claims, replay};
use crate::adapters::events;
use crate::domain::UserEvent;
use crate::ports::{Account, Creation, StoreError};

impl Store {
    /// What a request has come to, whose account's piece is `place`; `None` when it has come to nothing here.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn find_creation(&self, place: Place, request: RequestKey) -> Result<Option<Creation>, StoreError> {
        let input = (place, replay_request(&request));
        let read = self.db.read(Freshness::Latest, input, |connection, (place, request)| {
            Box::pin(async move {
                let known = known(connection, request).await?;
                if known.is_none() {
                    check_owned(connection, *place).await?;
                }
                Ok::<_, Undo>(known)
            })
        });
        Ok(read.await?)
    }

    /// Creates an account, all in one transaction: the lookup of the request, the claim on its address or the use of one, the
    /// account, the answer to the request and the event. `places` are the pieces of the account and, if the claim is made here, of
    /// its address.
    ///
    /// # Errors
    /// When the store fails, or what is to be written doesn't belong here.
    pub async fn create(&self, places: &[Place], new: NewAccount, claiming: Claiming) -> Result<Creating, StoreError> {
        let created = self.db.write_at(places, (self.clone(), new, claiming), |connection, (store, new, claiming)| {
            Box::pin(create(connection, store, new, *claiming))
        });
        match created.await {
            Err(Undo::Creating(outcome)) => Ok(*outcome),
            created => Ok(created?),
        }
    }
}

/// What a request has come to before.
async fn known(connection: &mut Connection, request: &Request) -> Result<Option<Creation>, Undo> {
    Ok(match replay::find(connection, request).await? {
        Known::New => None,
        Known::Reused => Some(Creation::RequestReused),
        Known::Answered(answer) => {
            let StoredAnswer { user, password } = serde_json::from_slice(&answer).map_err(StoreError::damaged)?;
            Some(Creation::Replayed(Account { user, password }))
        }
    })
}

async fn create(
    connection: &mut Connection,
    store: &Store,
    new: &NewAccount,
    claiming: Claiming,
) -> Result<Creating, Undo> {
    let Account { user, password } = &new.account;
    let request = new.request.as_ref().map(replay_request);
    if let Some(request) = &request
        && let Some(known) = known(connection, request).await?
    {
        return Ok(Creating::Answer(known));
    }
    match claiming {
        Claiming::Here => {
            if let Taking::Held(held) = claims::take(connection, &new.claim, user.name.id(), true).await? {
                return Ok(Creating::Held(held));
            }
        }
        Claiming::Before => {
            if !claims::use_up(connection, &new.claim, user.name.id()).await? {
                return Ok(Creating::Voided);
            }
        }
    }
    if !insert(connection, new).await? {
        // The same request may have come twice at once, and the other one was waited for.
        let known = match &request {
            Some(request) => known(connection, request).await?,
            None => None,
        };
        let answer = match known {
            Some(known) => known,
            None => {
                let has_id = is_taken(connection, user.name.id()).await?;
                if has_id { Creation::IdTaken } else { Creation::EmailTaken }
            }
        };
        return Err(Undo::Creating(Box::new(Creating::Answer(answer))));
    }
    if let Some(request) = &request {
        let answer = StoredAnswer { user: user.clone(), password: password.clone() };
        let answer = serde_json::to_vec(&answer).map_err(StoreError::damaged)?;
        replay::store_placed(connection, request, &answer, USERS, slot(user.name.id()), user.name.id()).await?;
    }
    let event = events::encode(user, &UserEvent::Registered);
    store.outbox.append(connection, user.create_time, &[event]).await?;
    Ok(Creating::Answer(Creation::Created(user.clone())))
}

/// Adds an account; returns whether nothing of it was taken.
async fn insert(connection: &mut Connection, new: &NewAccount) -> Result<bool, Undo> {
    let Account { user, password } = &new.account;
    let added = sqlx::query(
        "INSERT INTO users (id, email, email_key, display_name, role, password_hash, create_time, update_time, \
         delete_time, version, slot, claim) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT DO NOTHING",
    )
    .bind(user.name.id())
    .bind(user.email.as_str())
    .bind(user.email.key())
    .bind(user.display_name.as_str())
    .bind(user.role.as_str())
    .bind(password.as_str())
    .bind(to_micros(user.create_time))
    .bind(to_micros(user.update_time))
    .bind(user.delete_time.map(to_micros))
    .bind(user.version)
    .bind(slot(user.name.id()))
    .bind(&new.claim.id)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

async fn is_taken(connection: &mut Connection, id: &str) -> Result<bool, Undo> {
    let taken = sqlx::query("SELECT 1 FROM users WHERE id = $1").bind(id).fetch_optional(connection).await?;
    Ok(taken.is_some())
}
