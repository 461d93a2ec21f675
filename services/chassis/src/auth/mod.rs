//! Who calls. Every service verifies the caller's token itself, so no header can forge an identity. The mesh's layers do it;
//! here is what our tokens and contracts add.

mod access;
mod identity;
mod verifier;

pub use access::{AccessTable, Caller};
pub use identity::ServiceIdentity;
pub use meshwork::credentials::WithToken;
pub use verifier::{Claims, GrpcKeys, JwkSet, KeySource, TokenError, Verifier, key_set};

use std::time::SystemTime;

use meshwork_api::UserName;

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Staff,
    /// A service of the back end.
    Service,
}

impl Role {
    /// The role's word, as tokens, events and stores carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Staff => "staff",
            Role::Service => "service",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "customer" => Ok(Role::Customer),
            "staff" => Ok(Role::Staff),
            "service" => Ok(Role::Service),
            _ => Err(format!("{word:?} is no role; it must be customer, staff or service")),
        }
    }
}

/// The id of the session that the access token of this request was given in, as the server has found it; `None` for a token of an
/// earlier release, and without one.
pub fn session_of<T>(request: &tonic::Request<T>) -> Option<&str> {
    request.extensions().get::<meshwork::server::auth::Principal>()?.session()
}

/// When the credentials of this request expire, as the server has found it, which then ends what is still answered; `None` without
/// any.
pub fn expiry_of<T>(request: &tonic::Request<T>) -> Option<SystemTime> {
    request.extensions().get::<meshwork::server::auth::Principal>()?.expires_at()
}

/// The caller of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody we know.
    Anonymous,
    /// An account.
    User {
        /// The account's name.
        name: UserName,
        /// Its role.
        role: Role,
        /// Whether it calls by an API key, which changes no credentials.
        is_key: bool,
    },
}

impl Principal {
    /// The caller of this request, as the server has found it.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        Self::within(request.extensions())
    }

    /// The caller by the extensions of a request.
    pub fn within(extensions: &http::Extensions) -> Self {
        extensions.get().map_or(Principal::Anonymous, Self::known)
    }

    /// The principal that the mesh has found. One that is none of ours is nobody; the verifier lets none through.
    fn known(principal: &meshwork::server::auth::Principal) -> Self {
        let role = principal.roles().next().and_then(|role| role.parse().ok());
        match (principal.subject().parse(), role) {
            (Ok(name), Some(role)) => Principal::User { name, role, is_key: principal.key().is_some() },
            _ => Principal::Anonymous,
        }
    }

    /// The account, if there is one.
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Principal::Anonymous => None,
            Principal::User { name, .. } => Some(name),
        }
    }

    /// The account's role, if there is one.
    pub fn role(&self) -> Option<Role> {
        match self {
            Principal::Anonymous => None,
            Principal::User { role, .. } => Some(*role),
        }
    }

    /// Whether the caller is a program with an API key of the account, not somebody who has signed in.
    pub fn is_key(&self) -> bool {
        matches!(self, Principal::User { is_key: true, .. })
    }

    /// Whether the caller runs the shop.
    pub fn is_staff(&self) -> bool {
        self.role() == Some(Role::Staff)
    }

    /// Whether the caller may see what anybody owns: staff and services may.
    pub fn sees_all(&self) -> bool {
        matches!(self.role(), Some(Role::Staff | Role::Service))
    }

    /// Whether the caller may see what `owner` owns: the owner, staff and services may.
    pub fn may_see(&self, owner: &UserName) -> bool {
        self.sees_all() || self.user() == Some(owner)
    }

    /// A word that tells this principal from others, for keys: the account's name, or `anonymous`.
    pub fn key(&self) -> String {
        self.user().map_or_else(|| "anonymous".to_owned(), ToString::to_string)
    }
}
