//! What goes wrong between us and a SQL store, and the one classification of it.

/// What can go wrong between us and a SQL store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's folder or file can't be used.
    #[error("can't open the database {path}: {source}")]
    Open {
        /// The database file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A component's tables can't be brought to its version.
    #[error("can't migrate the tables of {component}: {source}")]
    Migrate {
        /// The component.
        component: &'static str,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A migration has waited in vain for a lock; it has changed nothing.
    #[error(
        "can't migrate the tables of {component}: others have held a lock on them for too long, or migrate at this moment; try \
         again, and if it stays so, look into pg_stat_activity for long transactions, and end them: {source}"
    )]
    Locked {
        /// The component.
        component: &'static str,
        /// What the server says.
        source: sqlx::Error,
    },
    /// The database lacks what somebody else makes ([`Migrations::Wait`](crate::Migrations)); nothing was made.
    #[error("the database is not at this release yet: {0}")]
    Pending(String),
    /// A statement or a commit has failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The commit has failed; what was written may be on the disk all the same.
    #[error("the commit has failed, and its outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The work of a transaction has panicked; it was rolled back.
    #[error("the work of a transaction has panicked; it was rolled back")]
    Panicked,
    /// The transaction could not begin or the store is closing; nothing was written.
    #[error("nothing was written: the transaction could not begin, or the database is being closed; try again")]
    NotWritten,
    /// There was no connection in time; nothing was done. The sentence says why, and what to do.
    #[error("nothing was done: {0}")]
    NoConnection(String),
    /// The database doesn't own the keys at the version that the caller's shard map names; nothing was done.
    #[error(
        "nothing was done: the shard map in use is behind, or ahead of the database ({0}); refresh it and try again"
    )]
    StaleMap(String),
    /// The keys are about to move to another database; nothing was done.
    #[error("nothing was done: these keys are being moved to another database ({0}); try again in a moment")]
    Moving(String),
    /// The shards, their map and the configuration don't fit each other.
    #[error("the shards don't fit their configuration: {0}")]
    Shards(String),
    /// The database of a shard can't be reached, or has not been since the start, so that it isn't known to be the right one.
    #[error("the database of the shard {0} can't be reached; look whether it runs, and try again")]
    Unreached(String),
    /// The shard map names an owner of keys that this process doesn't know: it was added after this process had started.
    #[error("the shard {0} owns keys and isn't configured here; add it to the configuration")]
    Unconfigured(String),
}

/// What a failure means for who has met it, whatever the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The store can't be reached or can't do it at this moment. Nothing was written; a later try may succeed.
    Unavailable,
    /// The store broke off while it committed. What was written may stand; a later try is safe only where it is known as
    /// the same.
    OutcomeUnknown,
    /// Another transaction was in the way: a serialisation failure, a deadlock or a row that both have inserted. Nothing
    /// was written; the same work may succeed at once.
    Conflict,
    /// The store holds something that can't be, or doesn't have what it must. A later try fails as well.
    Damaged,
}

impl Error {
    /// What the failure means.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Open { .. }
            | Error::Pending(_)
            | Error::NotWritten
            | Error::NoConnection(_)
            | Error::StaleMap(_)
            | Error::Moving(_)
            | Error::Unreached(_)
            | Error::Unconfigured(_) => Kind::Unavailable,
            Error::OutcomeUnknown(_) => Kind::OutcomeUnknown,
            Error::Locked { .. } => Kind::Conflict,
            Error::Panicked | Error::Shards(_) => Kind::Damaged,
            Error::Migrate { source, .. } => match source {
                sqlx::migrate::MigrateError::Execute(source)
                | sqlx::migrate::MigrateError::ExecuteMigration(source, _) => kind_of(source),
                _ => Kind::Damaged,
            },
            Error::Database(source) => kind_of(source),
        }
    }

    /// Whether the keys aren't owned, or not to be written, where they were looked for: with a newer shard map, or in a moment, it
    /// may be done.
    pub fn is_misplaced(&self) -> bool {
        matches!(self, Error::StaleMap(_) | Error::Moving(_))
    }

    /// What a piece's entering was refused by, if that is what `error` is (SQLSTATE MW001 and MW002 of `shard_enter`).
    pub(crate) fn of_entering(error: &sqlx::Error) -> Option<Self> {
        let error = error.as_database_error()?;
        match &*error.code()? {
            "MW001" => Some(Error::StaleMap(error.message().to_owned())),
            "MW002" => Some(Error::Moving(error.message().to_owned())),
            _ => None,
        }
    }

    /// Whether the statement broke a unique index or a primary key.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Error::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

fn kind_of(error: &sqlx::Error) -> Kind {
    use sqlx::Error;
    match error {
        Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::BeginFailed => Kind::Unavailable,
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.is_unique_violation() {
                Kind::Conflict
            } else if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                kind_of_result_code(code.parse().unwrap_or_default())
            } else {
                kind_of_sqlstate(&code)
            }
        }
        _ => Kind::Damaged,
    }
}

/// The result codes of SQLite: READONLY, BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN and PROTOCOL, with any
/// extension in the upper bytes, tell of the file, the disk or the memory, and not of what the file holds.
fn kind_of_result_code(code: i32) -> Kind {
    match code & 0xff {
        5..=10 | 13..=15 => Kind::Unavailable,
        _ => Kind::Damaged,
    }
}

/// Whether a lock could not be had in time, on PostgreSQL.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// The SQLSTATE codes of PostgreSQL (its manual, appendix A).
fn kind_of_sqlstate(code: &str) -> Kind {
    match code {
        // Serialisation failure, deadlock, a lock that could not be had in time.
        "40001" | "40P01" | "55P03" => Kind::Conflict,
        "40003" => Kind::OutcomeUnknown,
        // A server that is a replica by now, or that is not to be connected to; a transaction that we left idle for too long.
        "25006" | "25P03" | "25P04" | "55000" | "55006" => Kind::Unavailable,
        // The connection, the account, the database's name, the server's resources, its operator, its system.
        _ if ["08", "28", "3D", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Kind::Unavailable,
        _ => Kind::Damaged,
    }
}

/// The error of a transaction's or a read's work, as far as [`write`](crate::Postgres::write) and [`read`](crate::Postgres::read)
/// must know it.
pub trait WorkError: From<Error> + Send + 'static {
    /// Whether another transaction was in the way, so that the work may be done again at once.
    fn is_conflict(&self) -> bool;

    /// What the failure of the store means; `None`, as by default, where the work itself has refused. A
    /// [`read`](crate::Postgres::read) that has met [`Kind::Unavailable`] or [`Kind::Conflict`] on a replica is done again elsewhere.
    fn kind(&self) -> Option<Kind> {
        None
    }

    /// Whether a replica may have refused a statement because it writes: then the primary refuses what writes too, on a connection of
    /// its own. By default whatever is [`Kind::Unavailable`] may be that.
    fn is_refused_write(&self) -> bool {
        self.kind() == Some(Kind::Unavailable)
    }
}

impl WorkError for Error {
    fn is_conflict(&self) -> bool {
        self.kind() == Kind::Conflict
    }

    fn kind(&self) -> Option<Kind> {
        Some(Error::kind(self))
    }

    fn is_refused_write(&self) -> bool {
        let Error::Database(error) = self else { return false };
        error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("25006"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_and_states_have_their_kind() {
        for (code, kind) in [
            (5, Kind::Unavailable),           // BUSY
            (5 | 2 << 8, Kind::Unavailable),  // BUSY_SNAPSHOT
            (10 | 3 << 8, Kind::Unavailable), // IOERR_WRITE
            (13, Kind::Unavailable),          // FULL
            (11, Kind::Damaged),              // CORRUPT
            (26, Kind::Damaged),              // NOTADB
            (19 | 1 << 8, Kind::Damaged),     // CONSTRAINT_CHECK
            (1, Kind::Damaged),               // ERROR
        ] {
            assert_eq!(kind_of_result_code(code), kind, "{code}");
        }
        for (state, kind) in [
            ("40001", Kind::Conflict),
            ("40P01", Kind::Conflict),
            ("57014", Kind::Unavailable), // the statement's timeout
            ("57P01", Kind::Unavailable), // the server is shut down
            ("53300", Kind::Unavailable), // too many connections
            ("25006", Kind::Unavailable),
            ("25P03", Kind::Unavailable), // idle in a transaction
            ("28P01", Kind::Unavailable),
            ("40003", Kind::OutcomeUnknown),
            ("23514", Kind::Damaged), // a check
            ("42P01", Kind::Damaged), // no such table
            ("XX001", Kind::Damaged),
            ("", Kind::Damaged),
        ] {
            assert_eq!(kind_of_sqlstate(state), kind, "{state}");
        }
    }

    #[test]
    fn failures_without_a_code_have_their_kind() {
        for (error, kind) in [
            (Error::NotWritten, Kind::Unavailable),
            (Error::Pending(String::new()), Kind::Unavailable),
            (Error::NoConnection(String::new()), Kind::Unavailable),
            (Error::Panicked, Kind::Damaged),
            (Error::OutcomeUnknown(String::new()), Kind::OutcomeUnknown),
            (Error::StaleMap(String::new()), Kind::Unavailable),
            (Error::Moving(String::new()), Kind::Unavailable),
            (Error::Unreached(String::new()), Kind::Unavailable),
            (Error::Unconfigured(String::new()), Kind::Unavailable),
            (Error::Shards(String::new()), Kind::Damaged),
            (sqlx::Error::PoolTimedOut.into(), Kind::Unavailable),
            (sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into(), Kind::Unavailable),
            (sqlx::Error::ColumnNotFound(String::new()).into(), Kind::Damaged),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.is_conflict());
        }
    }
}
