//! What a server tells of itself.

use sqlx::postgres::PgConnection;

use super::position::WalPosition;

/// Asks for an [`Answer`]. A server in recovery refuses the functions of a primary, and the other way round: `CASE` leaves out what
/// doesn't apply. Of a primary it is the flushed position that counts, since replicas get no more. A standby's timeline is in
/// `pg_control_…` only after a restart point; what its receiver says is nearer, and seen by accounts with `pg_read_all_stats`.
const STATE: &str = "SELECT server.standby, (SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN server.standby THEN CAST(greatest((SELECT timeline_id FROM pg_control_checkpoint()), \
    (SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT received_tli FROM pg_stat_wal_receiver)) AS BIGINT) END, \
    CASE WHEN NOT server.standby THEN pg_walfile_name(pg_current_wal_insert_lsn()) END, \
    CAST(pg_wal_lsn_diff(CASE WHEN server.standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, '0/0') AS BIGINT), \
    CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS BIGINT), \
    (SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database()) \
    FROM (SELECT pg_is_in_recovery() AS standby) server";

/// The columns of [`STATE`].
type State = (bool, i64, Option<i64>, Option<String>, Option<i64>, i64, i64);

/// Which database of which system it is. Streaming replicas have both of their primary: another database on the right server
/// holds other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The identifier that `initdb` gave the database system.
    pub system: u64,
    /// The object identifier of the database.
    pub database: i64,
}

/// A server at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it is in recovery, as replicas are.
    pub standby: bool,
    /// How far it has replayed; of a primary, how far its log is on the disk.
    pub position: WalPosition,
    /// When it was started, in microseconds since 1970 by its own clock: another time is another copy of the data, maybe.
    pub started: i64,
    /// The object identifier of the database that it was asked in.
    pub database: i64,
}

impl Answer {
    /// Asks the server of a connection.
    pub async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let state: State = sqlx::query_as(STATE).fetch_one(connection).await?;
        let (standby, system, replayed, file, lsn, started, database) = state;
        let timeline = match file {
            Some(file) => timeline_of(&file),
            None => replayed.and_then(|timeline| u32::try_from(timeline).ok()),
        };
        let timeline = timeline.ok_or_else(|| unexpected("timeline"))?;
        let lsn = lsn.and_then(|lsn| u64::try_from(lsn).ok()).ok_or_else(|| unexpected("position in the log"))?;
        Ok(Self { standby, position: WalPosition { system: system.cast_unsigned(), timeline, lsn }, started, database })
    }

    /// Which database it was given in.
    pub fn identity(&self) -> Identity {
        Identity { system: self.position.system, database: self.database }
    }
}

/// When the server of a connection was started, as [`Answer::started`].
pub(crate) async fn started(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let sql = "SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS BIGINT)";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// How far the server of a connection has replayed by now.
pub(crate) async fn replayed(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let sql = "SELECT CAST(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') AS BIGINT)";
    let lsn: Option<i64> = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(lsn.and_then(|lsn| u64::try_from(lsn).ok()).unwrap_or_default())
}

/// The position that covers all that is committed on a primary. It is that of the insertion: a commit that doesn't wait for the
/// disk isn't flushed yet. The system is asked for each time: an address may come to lead to another server.
pub(crate) async fn written(connection: &mut PgConnection) -> Result<WalPosition, sqlx::Error> {
    let sql = "SELECT pg_walfile_name(pg_current_wal_insert_lsn()), \
               CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS BIGINT), \
               (SELECT system_identifier FROM pg_control_system())";
    let (file, lsn, system): (String, i64, i64) = sqlx::query_as(sql).fetch_one(connection).await?;
    let timeline = timeline_of(&file).ok_or_else(|| unexpected("timeline"))?;
    let lsn = u64::try_from(lsn).map_err(|_| unexpected("position in the log"))?;
    Ok(WalPosition { system: system.cast_unsigned(), timeline, lsn })
}

/// The timeline in the name of a file of the log.
fn timeline_of(file: &str) -> Option<u32> {
    u32::from_str_radix(file.get(..8)?, 16).ok()
}

fn unexpected(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("the server has told no {what}; check that it is a PostgreSQL from 14 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_is_read_from_the_name_of_a_file() {
        assert_eq!(timeline_of("0000000A0000000100000002"), Some(10));
        assert_eq!(timeline_of("0000"), None);
        assert_eq!(timeline_of("backup_label"), None);
    }
}
