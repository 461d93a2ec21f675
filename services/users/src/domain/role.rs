//! What an account is for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Staff,
    /// A service of the back end.
    Service,
}

/// A word is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be customer, staff or service")]
pub struct UnknownRole;

impl Role {
    /// The role's word, as events and stores carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Staff => "staff",
            Role::Service => "service",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        match word {
            "customer" => Ok(Role::Customer),
            "staff" => Ok(Role::Staff),
            "service" => Ok(Role::Service),
            _ => Err(UnknownRole),
        }
    }
}
