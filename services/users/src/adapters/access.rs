//! Who may do what to which account: what the option of a method can't say.

use meshwork_api::{SessionName, UserName};
use meshwork_chassis::Principal;
use meshwork_chassis::errors::NOT_ALLOWED;
use tonic::Status;

use super::errors::{DOMAIN, ROLE_NOT_ALLOWED, SESSION_NOT_FOUND};
use crate::domain::Role;

/// Whether the caller may give an account this role: anybody may make customers, staff may make all.
///
/// # Errors
/// PERMISSION_DENIED (ROLE_NOT_ALLOWED).
pub(super) fn may_give(principal: &Principal, role: Role) -> Result<(), Status> {
    if role == Role::Customer || principal.is_staff() {
        return Ok(());
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
