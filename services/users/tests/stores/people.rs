//! Somebody, and what they do.

use meshwork_api::{ApiKeyName, UserName};
use meshwork_users::domain::{ApiKey, Change, KeyDigest, NewUser, PasswordHash, Role, TokenDigest, User};
use meshwork_users::ports::{Account, Decide, NewApiKey, NewSession, NewToken, PresentedKey, PresentedToken};
use time::{Duration, OffsetDateTime};

/// A time with microseconds, as stores keep it.
pub(crate) const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);

pub(crate) fn name(id: &str) -> UserName {
    UserName::new(id).unwrap()
}

/// The account `users/<id>` with the address `<id>@example.com`.
pub(crate) fn account(id: &str) -> Account {
    with_email(id, &format!("{id}@example.com"))
}

pub(crate) fn with_email(id: &str, email: &str) -> Account {
    let new = NewUser {
        name: name(id),
        email: email.parse().unwrap(),
        display_name: format!("Person {id}").parse().unwrap(),
        role: Role::Staff,
    };
    Account { user: User::register(new, NOW), password: PasswordHash::new("$hash") }
}

/// A change of whatever version.
pub(crate) fn changing(change: Change) -> Decide {
    Box::new(move |user| user.change(change.clone(), None, NOW))
}

pub(crate) fn to_email(email: &str) -> Decide {
    changing(Change { email: Some(email.parse().unwrap()), ..Change::default() })
}

pub(crate) fn to_name(name: &str) -> Decide {
    changing(Change { display_name: Some(name.parse().unwrap()), ..Change::default() })
}

pub(crate) fn to_password(hash: &str) -> Decide {
    changing(Change { password: Some(PasswordHash::new(hash)), ..Change::default() })
}

/// A token that is good for an hour.
pub(crate) fn token(n: u8) -> NewToken {
    NewToken { digest: TokenDigest([n; 32]), expire_time: NOW + Duration::HOUR, repeat: None }
}

/// A token as its owner presents it.
pub(crate) fn presented(id: &str, n: u8) -> PresentedToken {
    PresentedToken { user: Some(name(id)), digest: token(n).digest }
}

/// A session of an account whose password has the hash that it began with.
pub(crate) fn session(id: &str, n: u8) -> NewSession {
    let verified = account(id).password;
    NewSession { id: uuid::Uuid::new_v4(), create_time: NOW, user: name(id), verified, token: token(n) }
}

/// A key of an account that lives for a day.
pub(crate) fn key(id: &str, n: u8) -> NewApiKey {
    let key = ApiKey {
        name: ApiKeyName::new(name(id), format!("key-{n}")).unwrap(),
        display_name: format!("Number {n}").parse().unwrap(),
        scopes: vec!["meshwork.orders.v1.OrderService".parse().unwrap()],
        create_time: NOW,
        expire_time: NOW + Duration::DAY,
        revoke_time: None,
    };
    NewApiKey { key, digest: KeyDigest([n; 32]) }
}

/// A [`key`] as a program presents it.
pub(crate) fn presented_key(id: &str, n: u8) -> PresentedKey {
    PresentedKey { user: name(id), digest: key(id, n).digest }
}
