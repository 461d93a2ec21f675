//! Accounts and sessions that the suite works on.

use meshwork_chassis::request::RequestKey;
use meshwork_sql::Freshness;
use time::{Duration, OffsetDateTime};

use crate::domain::{Change, NewUser, PasswordHash, Repeat, Role, TokenDigest, TokenSalt, User};
use crate::ports::{
    Account, ActiveSession, Creation, NewSession, NewToken, PresentedToken, Renewal, SessionStore, UserStore,
};

/// A time with microseconds, as stores keep it.
pub(super) const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);

/// The account `users/<id>` with the address `<id>@example.com`, made at [`NOW`].
pub(super) fn account(id: &str) -> Account {
    let new = NewUser {
        name: meshwork_api::UserName::new(id).unwrap(),
        email: format!("{id}@example.com").parse().unwrap(),
        display_name: format!("Person {id}").parse().unwrap(),
        role: Role::Customer,
    };
    Account { user: User::register(new, NOW), password: PasswordHash::new(format!("$hash of {id}")) }
}

/// That an account was created as it was asked for.
pub(super) fn created(account: &Account) -> Creation {
    Creation::Created(account.user.clone())
}

/// An account as it was written last.
pub(super) async fn get(store: &impl UserStore, name: &str) -> Option<User> {
    store.get(&name.parse().unwrap(), Freshness::Latest).await.unwrap()
}

/// Stores [`account`].
pub(super) async fn create(store: &impl UserStore, id: &str) -> Account {
    let account = account(id);
    assert_eq!(store.create(account.clone(), None).await.unwrap(), created(&account));
    account
}

/// Changes an account, whatever its version.
pub(super) async fn change(store: &impl UserStore, account: &Account, change: Change) -> User {
    let at = NOW + Duration::HOUR;
    store.change(&account.user.name, Box::new(move |user| user.change(change.clone(), None, at))).await.unwrap()
}

/// Deletes an account.
pub(super) async fn delete(store: &impl UserStore, account: &Account) -> User {
    let at = NOW + Duration::HOUR;
    store.change(&account.user.name, Box::new(move |user| user.delete(None, at).map(Some))).await.unwrap()
}

/// A request; those with one `body` are the same.
pub(super) fn request(principal: &str, id: &str, body: u8) -> RequestKey {
    RequestKey { principal: principal.to_owned(), method: "CreateUser", id: id.to_owned(), hash: [body; 32] }
}

/// A token that is good for some seconds from [`NOW`] on.
pub(super) fn token(n: u8, seconds: i64) -> NewToken {
    NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::seconds(seconds), repeat: None }
}

/// A [`token`] that follows upon another by a salt, and is given again for 30 s from [`NOW`] on.
pub(super) fn repeatable(n: u8, seconds: i64) -> NewToken {
    let repeat = Repeat { salt: TokenSalt([n; 16]), until: NOW + Duration::seconds(30) };
    NewToken { repeat: Some(repeat), ..token(n, seconds) }
}

/// The id of the session that [`open`] opens with the token `n`.
pub(super) fn session_id(n: u8) -> String {
    uuid::Uuid::from_bytes([n; 16]).to_string()
}

/// The session of an account that was opened with the token `n`, as a renewal tells it.
pub(super) fn active(account: &Account, n: u8) -> ActiveSession {
    ActiveSession { id: session_id(n), user: account.user.clone() }
}

/// That the session which was opened with the token `n` was renewed.
pub(super) fn renewed(account: &Account, n: u8) -> Renewal {
    Renewal::Renewed(active(account, n))
}

/// A [`token`] as somebody presents it who says that it is this account's.
pub(super) fn presented(account: &Account, n: u8) -> PresentedToken {
    PresentedToken { user: Some(account.user.name.clone()), digest: token(n, 0).digest }
}

/// Opens a session of an account.
pub(super) async fn open(store: &impl SessionStore, account: &Account, token: NewToken) {
    let session = NewSession {
        id: uuid::Uuid::from_bytes([token.digest.0[0]; 16]),
        create_time: NOW,
        user: account.user.name.clone(),
        verified: account.password.clone(),
        token,
    };
    assert!(store.open(session).await.unwrap());
}
