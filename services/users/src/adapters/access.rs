//! Who may do what to which account: what the option of a method can't say.

use meshwork_api::{ApiKeyName, SessionName, UserName};
use meshwork_chassis::Principal;
use meshwork_chassis::errors::NOT_ALLOWED;
use tonic::{Request, Status};

use super::errors::{API_KEY_NOT_FOUND, DOMAIN, NOT_FOR_KEYS, ROLE_NOT_ALLOWED, SESSION_NOT_FOUND};
use crate::domain::Role;

/// The caller of a method that is not for programs with API keys.
///
/// # Errors
/// As [`refuse_key`].
pub(super) fn without_key<T>(request: &Request<T>) -> Result<Principal, Status> {
    let principal = Principal::of(request);
    refuse_key(&principal)?;
    Ok(principal)
}

/// Whether the caller is no program with an API key, which changes no credentials and makes no keys, whatever its account may do.
///
/// # Errors
/// PERMISSION_DENIED (NOT_FOR_KEYS).
pub(super) fn refuse_key(principal: &Principal) -> Result<(), Status> {
    if principal.is_key() {
        return Err(NOT_FOR_KEYS.status(DOMAIN, "a caller with an API key may not do this; sign in", &[]));
    }
    Ok(())
}

/// Whether the caller may give an account this role: anybody may make customers, staff may make all, but not by a key.
///
/// # Errors
/// PERMISSION_DENIED (ROLE_NOT_ALLOWED, NOT_FOR_KEYS).
pub(super) fn may_give(principal: &Principal, role: Role) -> Result<(), Status> {
    if role == Role::Customer {
        return Ok(());
    }
    if principal.is_staff() {
        return refuse_key(principal);
    }
    let role = role.as_str();
    Err(ROLE_NOT_ALLOWED.status(DOMAIN, format!("only staff may give the role {role}"), &[("role", role)]))
}

/// Whether the caller may see this account: its owner, staff and services may.
///
/// # Errors
/// PERMISSION_DENIED (NOT_ALLOWED), whether the account exists or not.
pub(super) fn may_see(principal: &Principal, user: &UserName) -> Result<(), Status> {
    if principal.may_see(user) { Ok(()) } else { Err(not_allowed(user)) }
}

/// Whether the caller may change this account: its owner and staff may.
///
/// # Errors
/// PERMISSION_DENIED (NOT_ALLOWED), whether the account exists or not.
pub(super) fn may_change(principal: &Principal, user: &UserName) -> Result<(), Status> {
    if principal.is_staff() || principal.user() == Some(user) { Ok(()) } else { Err(not_allowed(user)) }
}

/// Whether this account is the caller's own.
///
/// # Errors
/// PERMISSION_DENIED (NOT_ALLOWED), whether the account exists or not.
pub(super) fn must_own(principal: &Principal, user: &UserName) -> Result<(), Status> {
    if principal.user() == Some(user) { Ok(()) } else { Err(not_allowed(user)) }
}

/// Whether the caller may see this key, and revoke it: the owner of its account and staff may.
///
/// # Errors
/// NOT_FOUND (API_KEY_NOT_FOUND), whether the key exists or not.
pub(super) fn may_see_key(principal: &Principal, key: &ApiKeyName) -> Result<(), Status> {
    if principal.is_staff() || principal.user() == Some(key.user()) {
        return Ok(());
    }
    let name = key.to_string();
    Err(API_KEY_NOT_FOUND.status(DOMAIN, format!("the caller has no key {name}"), &[("resource", &name)]))
}

/// Whether the caller may end this session: the owner of its account and staff may.
///
/// # Errors
/// NOT_FOUND (SESSION_NOT_FOUND), whether the session exists or not.
pub(super) fn may_end(principal: &Principal, session: &SessionName) -> Result<(), Status> {
    if principal.is_staff() || principal.user() == Some(session.user()) {
        return Ok(());
    }
    let name = session.to_string();
    Err(SESSION_NOT_FOUND.status(DOMAIN, format!("the caller has no session {name}"), &[("resource", &name)]))
}

fn not_allowed(user: &UserName) -> Status {
    let name = user.to_string();
    NOT_ALLOWED.status(DOMAIN, format!("the caller may not do this to {name}"), &[("resource", &name)])
}
