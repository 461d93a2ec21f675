//! The inbox: which events a consumer has applied, kept in the consumer's database (NT-5).
//!
//! [`gate`](sqlite::gate) decides about an event in the transaction of its effect, so that each is applied once, and in the
//! order of its aggregate's versions. What can't be applied is parked beside it, in [`Inbox`](sqlite::Inbox): the aggregate
//! waits, others go on (ES-7).

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is the aggregate's next; the inbox has noted it. Apply it in this transaction.
    Apply,
    /// It was applied before; do nothing.
    Duplicate,
    /// Events before it are missing; undo the transaction and fetch them.
    Hole {
        /// The version that was applied last; 0 for none.
        last: i64,
    },
    /// An earlier event of the aggregate is parked; undo the transaction and park this one behind it.
    Parked,
}

/// In SQLite.
#[path = "."]
pub mod sqlite {
    meshwork_sql::dialect!(sqlite);
    mod gate;
    mod letters;

    pub use gate::gate;
    pub use letters::Inbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static INBOX: Migrator = sqlx::migrate!("migrations/inbox");
    static DEAD_LETTERS: Migrator = sqlx::migrate!("migrations/dead_letters");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/dead_letters_context");

    /// The tables of the inbox and of what is parked.
    pub const COMPONENTS: [Component; 3] = [
        Component { name: "inbox", migrator: &INBOX },
        Component { name: "dead_letters", migrator: &DEAD_LETTERS },
        Component { name: "dead_letters_context", migrator: &CONTEXT },
    ];
}

/// In PostgreSQL.
#[path = "."]
pub mod postgres {
    meshwork_sql::dialect!(postgres);
    mod gate;
    mod letters;

    pub use gate::gate;
    pub use letters::Inbox;

    use meshwork_sql::Component;
    use sqlx::migrate::Migrator;

    static INBOX: Migrator = sqlx::migrate!("migrations/inbox-postgres");
    static DEAD_LETTERS: Migrator = sqlx::migrate!("migrations/dead_letters-postgres");
    static CONTEXT: Migrator = sqlx::migrate!("migrations/dead_letters_context-postgres");

    /// The tables of the inbox and of what is parked.
    pub const COMPONENTS: [Component; 3] = [
        Component { name: "inbox", migrator: &INBOX },
        Component { name: "dead_letters", migrator: &DEAD_LETTERS },
        Component { name: "dead_letters_context", migrator: &CONTEXT },
    ];
}
