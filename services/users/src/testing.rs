//! The conformance suite: what every adapter of the stores must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod sessions;
mod users;

use std::sync::Arc;

use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use time::{Duration, OffsetDateTime};

use crate::domain::{Change, NewUser, PasswordHash, Role, TokenDigest, User};
use crate::ports::{Account, Creation, NewSession, NewToken, PresentedToken, SessionStore, UserStore};

/// Runs the suite; `make` gives an empty store each time.
pub async fn conformance<S: UserStore + SessionStore>(make: impl AsyncFn() -> Arc<S>) {
    conformance_of_users(&make).await;
    sessions::a_session_opens_for_the_password_that_was_verified(&*make().await).await;
    sessions::a_token_is_good_once_and_its_copy_ends_the_session(&*make().await).await;
    sessions::a_token_is_only_its_owners(&*make().await).await;
    sessions::an_expired_token_is_refused(&*make().await).await;
    sessions::a_session_is_ended_by_any_of_its_tokens(&*make().await).await;
    sessions::a_new_password_and_a_deletion_end_the_sessions_of_one_account(&*make().await).await;
    sessions::what_has_expired_is_dropped_in_bounded_steps(&*make().await).await;
    sessions::of_racing_renewals_one_wins_and_the_session_ends(make().await).await;
}

/// Runs the part of the suite that is of accounts alone, for what stands before a store.
pub async fn conformance_of_users<S: UserStore>(make: &impl AsyncFn() -> Arc<S>) {
    users::an_account_is_read_back(&*make().await).await;
    users::ids_and_addresses_are_unique_and_stay_taken(&*make().await).await;
    users::a_repeated_request_gets_its_first_answer(&*make().await).await;
    users::a_refused_request_is_not_remembered(&*make().await).await;
    users::a_change_is_stored_as_it_was_decided(&*make().await).await;
    users::a_refused_change_leaves_everything(&*make().await).await;
    users::lists_are_filtered_and_cut_into_pages(&*make().await).await;
    users::an_address_goes_from_one_account_to_another_and_back(&*make().await).await;
    users::of_racing_creations_one_wins(make().await).await;
    users::of_racing_changes_to_one_address_one_is_made(make().await).await;
    users::of_racing_changes_each_sees_the_one_before(make().await).await;
}

/// A time with microseconds, as stores keep it.
const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);

/// The account `users/<id>` with the address `<id>@example.com`, made at [`NOW`].
fn account(id: &str) -> Account {
    let new = NewUser {
        name: meshwork_api::UserName::new(id).unwrap(),
        email: format!("{id}@example.com").parse().unwrap(),
        display_name: format!("Person {id}").parse().unwrap(),
        role: Role::Customer,
    };
    Account { user: User::register(new, NOW), password: PasswordHash::new(format!("$hash of {id}")) }
}

/// That an account was created as it was asked for.
fn created(account: &Account) -> Creation {
    Creation::Created(account.user.clone())
}

/// An account as it was written last.
async fn get(store: &impl UserStore, name: &str) -> Option<User> {
    store.get(&name.parse().unwrap(), Freshness::Latest).await.unwrap()
}

/// Stores [`account`].
async fn create(store: &impl UserStore, id: &str) -> Account {
    let account = account(id);
    assert_eq!(store.create(account.clone(), None).await.unwrap(), created(&account));
    account
}

/// Changes an account, whatever its version.
async fn change(store: &impl UserStore, account: &Account, change: Change) -> User {
    let at = NOW + Duration::HOUR;
    store.change(&account.user.name, Box::new(move |user| user.change(change.clone(), None, at))).await.unwrap()
}

/// Deletes an account.
async fn delete(store: &impl UserStore, account: &Account) -> User {
    let at = NOW + Duration::HOUR;
    store.change(&account.user.name, Box::new(move |user| user.delete(None, at).map(Some))).await.unwrap()
}

/// A request; those with one `body` are the same.
fn request(principal: &str, id: &str, body: u8) -> RequestKey {
    RequestKey { principal: principal.to_owned(), method: "CreateUser", id: id.to_owned(), hash: [body; 32] }
}

/// A token that is good for some seconds from [`NOW`] on.
fn token(n: u8, seconds: i64) -> NewToken {
    NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::seconds(seconds) }
}

/// A [`token`] as somebody presents it who says that it is this account's.
fn presented(account: &Account, n: u8) -> PresentedToken {
    PresentedToken { user: Some(account.user.name.clone()), digest: token(n, 0).digest }
}

/// Opens a session of an account.
async fn open(store: &impl SessionStore, account: &Account, token: NewToken) {
    let session = NewSession {
        id: uuid::Uuid::from_bytes([token.digest.0[0]; 16]),
        user: account.user.name.clone(),
        verified: account.password.clone(),
        token,
    };
    assert!(store.open(session).await.unwrap());
}
