//! Between the domain and the contracts.

use meshwork_aip::{etag, filter};
use meshwork_api::meshwork::users::v1 as proto;
use meshwork_chassis::clock::timestamp;
use prost::Message as _;

use crate::app::commands::{ExchangedToken, Tokens};
use crate::domain::{Role, Session, User};
use crate::ports::PublicKey;

/// How many bytes an account has as callers see it; one that can't be read is left out and has none.
pub(super) fn user_bytes(account: Option<&User>) -> usize {
    account.map_or(0, |account| user(account).encoded_len())
}

/// An account as callers see it.
pub(super) fn user(user: &User) -> proto::User {
    // What stands in place of what was erased, or of an address that we don't have, is our own affair.
    let shown = |text: &str, is_shown: bool| if is_shown { text.to_owned() } else { String::new() };
    let is_there = !user.is_erased();
    proto::User {
        name: user.name.to_string(),
        email: shown(user.email.as_str(), is_there && !user.is_foreign()),
        display_name: shown(user.display_name.as_str(), is_there),
        role: role(user.role).into(),
        password: String::new(),
        create_time: Some(timestamp(user.create_time)),
        update_time: Some(timestamp(user.update_time)),
        delete_time: user.delete_time.map(timestamp),
        etag: etag::format(user.version),
    }
}

fn role(role: Role) -> proto::Role {
    match role {
        Role::Customer => proto::Role::Customer,
        Role::Staff => proto::Role::Staff,
        Role::Service => proto::Role::Service,
    }
}

/// The role that a request gives: a customer's when it gives none.
///
/// # Errors
/// When there is no such role.
pub(super) fn role_of_request(role: i32) -> Result<Role, &'static str> {
    match proto::Role::try_from(role) {
        Ok(proto::Role::Unspecified | proto::Role::Customer) => Ok(Role::Customer),
        Ok(proto::Role::Staff) => Ok(Role::Staff),
        Ok(proto::Role::Service) => Ok(Role::Service),
        Err(_) => Err("must be ROLE_CUSTOMER, ROLE_STAFF or ROLE_SERVICE"),
    }
}

/// The role that a filter names, `CUSTOMER` or `ROLE_CUSTOMER`.
///
/// # Errors
/// When there is no such role.
pub(super) fn role_of_filter(word: &str) -> Result<Role, &'static str> {
    let all = [Role::Customer, Role::Staff, Role::Service];
    let by_name = |name: &str| all.into_iter().find(|known| role(*known).as_str_name() == name);
    filter::enum_value(word, "ROLE_", by_name).ok_or("must compare role with CUSTOMER, STAFF or SERVICE")
}

/// The role as tokens carry it.
pub(super) fn role_of_principal(role: Role) -> meshwork_chassis::Role {
    match role {
        Role::Customer => meshwork_chassis::Role::Customer,
        Role::Staff => meshwork_chassis::Role::Staff,
        Role::Service => meshwork_chassis::Role::Service,
    }
}

/// A session's tokens. From here on nothing hides them.
pub(super) fn session(tokens: &Tokens) -> proto::Session {
    proto::Session {
        user: tokens.user.to_string(),
        access_token: tokens.access_token.expose().to_owned(),
        access_token_expire_time: Some(timestamp(tokens.access_token_expire_time)),
        refresh_token: tokens.refresh_token.expose().to_owned(),
        refresh_token_expire_time: Some(timestamp(tokens.refresh_token_expire_time)),
    }
}

/// What a token of another issuer was exchanged for. From here on nothing hides it.
pub(super) fn exchanged(exchanged: &ExchangedToken) -> proto::ExchangedToken {
    proto::ExchangedToken {
        user: exchanged.user.to_string(),
        access_token: exchanged.access_token.expose().to_owned(),
        access_token_expire_time: Some(timestamp(exchanged.access_token_expire_time)),
    }
}

/// How many bytes a session has as its owner sees it.
pub(super) fn session_bytes(session: &Session) -> usize {
    user_session(session.clone()).encoded_len()
}

/// A session as its owner sees it.
pub(super) fn user_session(session: Session) -> proto::UserSession {
    let Session { name, create_time, refresh_time, expire_time } = session;
    proto::UserSession {
        name: name.to_string(),
        create_time: create_time.map(timestamp),
        refresh_time: refresh_time.map(timestamp),
        expire_time: Some(timestamp(expire_time)),
    }
}

/// A public key (RFC 8037).
pub(super) fn json_web_key(key: PublicKey) -> proto::JsonWebKey {
    proto::JsonWebKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        kid: key.kid,
        r#use: "sig".to_owned(),
        alg: "EdDSA".to_owned(),
        x: key.x,
    }
}
