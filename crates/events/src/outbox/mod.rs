//! The outbox: events of a SQL store, written in the transaction of their cause, in dense and commit-ordered positions.

/// How many partitions an outbox has. Positions depend on it: it never changes.
pub const PARTITIONS: u16 = 4;

/// An event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The type, such as `stock_reserved`.
    pub event_type: &'static str,
    /// The version of the type's schema, from 1.
    pub schema_version: u16,
    /// The aggregate that it happened to, such as `reservations/42`.
    pub subject: String,
    /// The aggregate's version after it: contiguous, from 1.
    pub version: i64,
    /// The encoded event.
    pub data: Vec<u8>,
}

/// In SQLite.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod rows;

    pub use rows::Outbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static OUTBOX: Migrator = sqlx::migrate!("migrations/outbox");
    static SUBJECT: Migrator = sqlx::migrate!("migrations/outbox_subject");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/outbox_context");

    /// The outbox's tables.
    pub const COMPONENTS: [Component; 3] = [
        Component { name: "outbox", migrator: &OUTBOX },
        Component { name: "outbox_subject", migrator: &SUBJECT },
        Component { name: "outbox_context", migrator: &CONTEXT },
    ];
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod rows;

    pub use rows::Outbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static OUTBOX: Migrator = sqlx::migrate!("migrations/outbox-postgres");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/outbox_context-postgres");

    /// The outbox's tables.
    pub const COMPONENTS: [Component; 2] =
        [Component { name: "outbox", migrator: &OUTBOX }, Component { name: "outbox_context", migrator: &CONTEXT }];
}
