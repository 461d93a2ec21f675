//! Repeatable writes: a request id gives one effect and the same answer, however often it comes (AIP-155).
//!
//! The answer is stored in the transaction of the effect, under (principal, method, request id), with a hash of the
//! request. Only successes are stored: a request that was refused may be sent again. Of two that come at once, the second
//! breaks the primary key: a conflict, after which its transaction is done again and finds the first one's answer.

use std::time::Duration;

/// How long an answer is kept.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who sends it; two principals never share an answer.
    pub principal: String,
    /// The method, such as `CreateUser`.
    pub method: &'static str,
    /// The id that its sender gave it.
    pub id: String,
    /// SHA-256 of the request without its id.
    pub hash: [u8; 32],
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It hasn't come before.
    New,
    /// It has been answered by this.
    Answered(Vec<u8>),
    /// Its id came with another body.
    Reused,
}

/// In SQLite.
#[path = "."]
pub mod sqlite {
    crate::dialect!(sqlite);
    mod answers;

    pub use answers::{find, store, store_placed};

    use crate::Component;

    static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/replay");
    static PLACE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/replay_place");

    /// The table of answers.
    pub const COMPONENT: Component = Component { name: "replay", migrator: &MIGRATOR };
    /// The columns by which answers go where goes what they are about ([`store_placed`]), behind [`COMPONENT`].
    pub const PLACED: Component = Component { name: "replay_place", migrator: &PLACE };
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    crate::dialect!(postgres);
    mod answers;

    pub use answers::{find, store, store_placed};

    use crate::Component;

    static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/replay-postgres");
    static PLACE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/replay_place-postgres");

    /// The table of answers.
    pub const COMPONENT: Component = Component { name: "replay", migrator: &MIGRATOR };
    /// The columns by which answers go where goes what they are about ([`store_placed`]), behind [`COMPONENT`].
    pub const PLACED: Component = Component { name: "replay_place", migrator: &PLACE };
}
