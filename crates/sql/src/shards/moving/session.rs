//! The connections of a move. They are its own, so that callers keep theirs, and hold the locks that keep other movers away:
//! whatever a mover has sent ends before its locks do, so nothing of it arrives late.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _, Transaction};
use tokio::time::Instant;

use super::error::MoveError;
use super::pieces::statement;
use crate::Error;
use crate::shards::{Shard, ShardId};

/// How long the making of a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a statement may take outside of a fence.
pub(super) const STATEMENT: Duration = Duration::from_secs(30);
/// How long it is waited for the locks of a mover that has just ended: its server notices it a moment later.
const ENDING: Duration = Duration::from_secs(5);
/// The pause between two tries for the locks.
const AGAIN: Duration = Duration::from_millis(50);
/// Advisory locks (two numbers, beside those of maps and pieces): the mover from a database.
const MOVES_FROM: i32 = 19_796;
/// The mover to it, by the shard that it comes from.
const MOVES_TO: i32 = 19_797;

/// A connection to the database of a shard.
pub(super) struct Session {
    pub shard: ShardId,
    pub name: String,
    pub connection: PgConnection,
}

impl Session {
    /// Connects.
    pub async fn open<T>(shard: &Shard<T>) -> Result<Self, MoveError> {
        let options = shard.db.reader().connect_options();
        let connect = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            // Rows travel as text, the same on both sides. A mover whose host is gone without a word holds its locks no longer
            // than half a minute.
            let settings = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'; \
                            SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; \
                            SET extra_float_digits = 1; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
                            SET tcp_keepalives_count = 3";
            sqlx::raw_sql(settings).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = match tokio::time::timeout(CONNECT, connect).await {
            Ok(connection) => connection,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        };
        let connection = connection.map_err(MoveError::at(&shard.name))?;
        Ok(Self { shard: shard.id, name: shard.name.clone(), connection })
    }

    /// Takes the lock of the mover from this shard.
    pub async fn lock_as_source(&mut self) -> Result<(), MoveError> {
        self.lock(MOVES_FROM, 0).await
    }

    /// Takes the lock of the mover from `from` to this shard.
    pub async fn lock_as_destination(&mut self, from: ShardId) -> Result<(), MoveError> {
        self.lock(MOVES_TO, i32::from(from)).await
    }

    async fn lock(&mut self, class: i32, number: i32) -> Result<(), MoveError> {
        let end = Instant::now() + ENDING;
        loop {
            let lock = statement("SELECT pg_try_advisory_lock($1, $2)").bind(class).bind(number);
            let locked = lock.fetch_one(&mut self.connection).await;
            let locked = locked.and_then(|row| row.try_get::<bool, _>(0)).map_err(MoveError::at(&self.name))?;
            if locked {
                return Ok(());
            }
            if Instant::now() >= end {
                let side = if class == MOVES_FROM { "from" } else { "to" };
                return Err(MoveError::Running(format!("{side} shard {:?}", self.name)));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// A transaction whose statements take at most `bound` each, and wait at most 2 s for a lock.
pub(super) async fn transaction(
    connection: &mut PgConnection,
    bound: Duration,
) -> Result<Transaction<'_, sqlx::Postgres>, Error> {
    begin(connection, "READ WRITE", bound).await
}

/// As [`transaction`], for reading the database as it is at one moment.
pub(super) async fn snapshot(
    connection: &mut PgConnection,
    bound: Duration,
) -> Result<Transaction<'_, sqlx::Postgres>, Error> {
    begin(connection, "ISOLATION LEVEL REPEATABLE READ, READ ONLY", bound).await
}

async fn begin<'c>(
    connection: &'c mut PgConnection,
    mode: &str,
    bound: Duration,
) -> Result<Transaction<'c, sqlx::Postgres>, Error> {
    // 0 would be no bound at all.
    let bound = bound.min(STATEMENT).as_millis().max(1);
    let begin = format!("BEGIN {mode}; SET LOCAL statement_timeout = {bound}; SET LOCAL lock_timeout = 2000");
    Ok(connection.begin_with(sqlx::AssertSqlSafe(begin)).await?)
}

/// Both ends of a move, under its locks.
pub(super) struct Sessions {
    pub source: Session,
    pub destination: Session,
}

impl Sessions {
    /// Ends the transactions that are open: a future that was dropped at its BEGIN doesn't.
    ///
    /// # Errors
    /// When a side doesn't answer within `bound`.
    pub async fn end_transactions(&mut self, bound: Duration) -> Result<(), MoveError> {
        for session in [&mut self.source, &mut self.destination] {
            let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut session.connection);
            let ended = match tokio::time::timeout(bound, rollback).await {
                Ok(ended) => ended.map(drop),
                Err(_) => Err(sqlx::Error::PoolTimedOut),
            };
            ended.map_err(MoveError::at(&session.name))?;
        }
        Ok(())
    }
}
