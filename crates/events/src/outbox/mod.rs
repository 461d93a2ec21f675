//! The outbox: events of a SQL store, written in the transaction of their cause, in dense and commit-ordered positions.

/// The table of the events of aggregates that have come from another database.
pub const HISTORY_TABLE: &str = "outbox_history";
/// The columns that tell its rows apart. It also has the columns `slot` and `key`, by which its rows go where their aggregate
/// goes.
pub const HISTORY_KEY: &[&str] = &["subject", "version"];

/// The SELECT list over a row `t` of an outbox that makes a row of [`HISTORY_TABLE`](crate::outbox::HISTORY_TABLE); `$slot` and `$key` are SQL over `t` for
/// the slot and the key of its aggregate, as literals.
///
/// ```
/// let list: &str = meshwork_events::outbox_history_select!("7", "substr(t.subject, 8)");
/// assert!(list.ends_with("7 AS slot, substr(t.subject, 8) AS key"));
/// ```
#[macro_export]
macro_rules! outbox_history_select {
    ($slot:literal, $key:literal) => {
        concat!(
            "t.subject, t.version, t.type, t.schema_version, t.time, t.context, t.data, ",
            $slot,
            " AS slot, ",
            $key,
            " AS key"
        )
    };
}

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
    mod history;
    mod rows;

    pub use rows::Outbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static OUTBOX: Migrator = sqlx::migrate!("migrations/outbox");
    static SUBJECT: Migrator = sqlx::migrate!("migrations/outbox_subject");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/outbox_context");
    static MOVED: Migrator = sqlx::migrate!("migrations/outbox_history");

    /// The outbox's tables.
    pub const COMPONENTS: [Component; 3] = [
        Component { name: "outbox", migrator: &OUTBOX },
        Component { name: "outbox_subject", migrator: &SUBJECT },
        Component { name: "outbox_context", migrator: &CONTEXT },
    ];

    /// The table of events of aggregates that have come from another database ([`Outbox::with_history`]).
    pub const HISTORY: Component = Component { name: "outbox_history", migrator: &MOVED };
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod history;
    mod rows;

    pub use rows::Outbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static OUTBOX: Migrator = sqlx::migrate!("migrations/outbox-postgres");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/outbox_context-postgres");
    static MOVED: Migrator = sqlx::migrate!("migrations/outbox_history-postgres");

    /// The outbox's tables.
    pub const COMPONENTS: [Component; 2] =
        [Component { name: "outbox", migrator: &OUTBOX }, Component { name: "outbox_context", migrator: &CONTEXT }];

    /// The table of events of aggregates that have come from another database ([`Outbox::with_history`]).
    pub const HISTORY: Component = Component { name: "outbox_history", migrator: &MOVED };
}
