//! Who makes tables, indexes and streams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a service does at its start about tables, indexes and streams that servers lack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Migrations {
    /// It makes them.
    #[default]
    Apply,
    /// It makes none, and waits for who does, and for the servers.
    Wait,
}

impl From<Migrations> for meshwork_sql::Migrations {
    fn from(migrations: Migrations) -> Self {
        match migrations {
            Migrations::Apply => Self::Apply,
            Migrations::Wait => Self::Wait,
        }
    }
}
