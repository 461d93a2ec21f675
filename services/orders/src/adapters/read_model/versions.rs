//! The versions of the view, as a projection's store.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use meshwork_api::OrderName;
use meshwork_eventstore::projection::{
    Applied, ApplyMode, Checkpoint, Page, ParkedStream, ProjectionStore, Retried, RowPair, Side, Taken, VersionState,
};
use meshwork_eventstore::{Commit, StoreError};
use meshwork_sql::Error as SqlError;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};

use super::apply::{self, Undo};
use super::{Connection, Driver, NOW, ReadModel, Row};

/// For how long a builder may be silent before its version is taken from it.
const SILENCE: Duration = Duration::from_secs(10);
/// For how long the live version is held at most: its builder may die meanwhile.
const HOLD: Duration = Duration::from_secs(2);
/// How many rows of a dropped version one transaction deletes.
const SWEEP: i64 = 1_000;
/// How many parked orders a comparison knows of.
const PARKED: i64 = 10_000;

fn failed(error: sqlx::Error) -> StoreError {
    SqlError::from(error).into()
}

fn state(word: &str) -> Result<VersionState, StoreError> {
    match word {
        "live" => Ok(VersionState::Live),
        "building" => Ok(VersionState::Building),
        "retired" => Ok(VersionState::Retired),
        other => Err(StoreError::Unavailable(format!("the view has a version in the state {other:?}"))),
    }
}

impl ReadModel {
    /// Runs a change in a transaction; what it undoes it answers.
    async fn change<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        input: I,
        change: impl for<'c> Fn(&'c mut Connection, &'c I) -> BoxFuture<'c, Result<T, Undo<T>>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.db.write(input, change).await {
            Ok(answer) | Err(Undo::Answer(answer)) => Ok(answer),
            Err(Undo::Store(error)) => Err(error),
            Err(Undo::Conflict(error)) => Err(error.into()),
        }
    }

    /// Deletes what is left of versions that are no more, in steps. What remains when that fails costs space, and the next
    /// one deletes it.
    async fn sweep(&self) {
        for (table, key) in SWEPT {
            loop {
                let swept =
                    self.db.write::<_, u64, SqlError, _>((), |connection, ()| Box::pin(sweep(connection, table, key)));
                match swept.await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "rows of versions that are no more are left behind");
                        return;
                    }
                }
            }
        }
    }
}

/// The tables with rows of versions, and what tells the rows of one version apart. The checkpoints last: where they are, the
/// version's number isn't given again.
const SWEPT: [(&str, &str); 3] = [("orders", "id"), ("parked_orders", "id"), ("checkpoints", "partition")];

/// Deletes some rows of a version that is no more. Returns how many; 0 when there are none.
async fn sweep(connection: &mut Connection, table: &str, key: &str) -> Result<u64, SqlError> {
    let behind = format!("SELECT min(view_version) FROM {table} WHERE view_version > $1");
    let delete = format!(
        "DELETE FROM {table} WHERE view_version = $1 AND {key} IN (SELECT {key} FROM {table} WHERE view_version = $1 \
         LIMIT $2) AND NOT EXISTS (SELECT 1 FROM view_versions WHERE version = $1)"
    );
    let mut version = 0;
    loop {
        let next = sqlx::query(AssertSqlSafe(behind.clone())).bind(version).fetch_one(&mut *connection).await?;
        let Some(next) = next.try_get::<Option<i64>, _>(0)? else { return Ok(0) };
        version = next;
        let deleted = sqlx::query(AssertSqlSafe(delete.clone())).bind(version).bind(SWEEP);
        let deleted = deleted.execute(&mut *connection).await?.rows_affected();
        if deleted > 0 {
            return Ok(deleted);
        }
    }
}

/// Gives the building version up if `which` holds, a condition on `$1`: one that was live can be gone back to again.
async fn give_up(connection: &mut Connection, which: &str, value: i64) -> Result<(), SqlError> {
    for change in
        ["UPDATE view_versions SET state = 'retired' WHERE was_live = 1 AND", "DELETE FROM view_versions WHERE"]
    {
        let sql = format!("{change} state = 'building' AND {which}");
        sqlx::query(AssertSqlSafe(sql)).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

async fn take(connection: &mut Connection, retired: bool) -> Result<Taken, SqlError> {
    // Nobody else takes one at the same time: this waits for them.
    sqlx::query("UPDATE view_versions SET kept_at = kept_at WHERE state = 'live'").execute(&mut *connection).await?;
    give_up(connection, &format!("kept_at < {NOW} - $1"), micros(SILENCE)).await?;
    let building = sqlx::query("SELECT 1 FROM view_versions WHERE state = 'building'");
    if building.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(Taken::Running);
    }
    if retired {
        let sql = format!(
            "UPDATE view_versions SET state = 'building', kept_at = {NOW} WHERE state = 'retired' RETURNING version"
        );
        let taken = sqlx::query(AssertSqlSafe(sql)).fetch_optional(connection).await?;
        return Ok(match taken {
            Some(row) => Taken::Version(row.try_get(0)?),
            None => Taken::Nothing,
        });
    }
    let sql = format!(
        "INSERT INTO view_versions (version, state, kept_at) \
         SELECT max(version) + 1, 'building', {NOW} FROM (SELECT max(version) AS version FROM view_versions \
         UNION ALL SELECT max(view_version) FROM orders UNION ALL SELECT max(view_version) FROM parked_orders \
         UNION ALL SELECT max(view_version) FROM checkpoints) AS used RETURNING version"
    );
    let made = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(Taken::Version(made.try_get(0)?))
}

async fn switch(connection: &mut Connection, to: i64, diverged: &[u16]) -> Result<bool, SqlError> {
    let behind = sqlx::query(
        "SELECT l.partition FROM checkpoints l JOIN view_versions v ON v.version = l.view_version AND v.state = 'live' \
         LEFT JOIN checkpoints b ON b.view_version = $1 AND b.partition = l.partition \
         WHERE coalesce(b.n, 0) < l.n",
    );
    for row in behind.bind(to).fetch_all(&mut *connection).await? {
        let partition: i64 = row.try_get(0)?;
        if !diverged.iter().any(|diverged| i64::from(*diverged) == partition) {
            return Ok(false);
        }
    }
    sqlx::query("DELETE FROM view_versions WHERE state = 'retired'").execute(&mut *connection).await?;
    sqlx::query("UPDATE view_versions SET state = 'retired' WHERE state = 'live'").execute(&mut *connection).await?;
    let switched = sqlx::query(
        "UPDATE view_versions SET state = 'live', kept_at = 0, was_live = 1 WHERE version = $1 AND state = 'building'",
    )
    .bind(to)
    .execute(connection)
    .await?;
    match switched.rows_affected() {
        1 => Ok(true),
        // It was taken away: nothing of this stands.
        _ => Err(SqlError::NotWritten),
    }
}

/// By partition, up to where both versions have applied everything.
async fn both(connection: &mut Connection, live: i64, built: i64, partitions: u16) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query("SELECT view_version, partition, n FROM checkpoints WHERE view_version IN ($1, $2)")
        .bind(live)
        .bind(built)
        .fetch_all(connection)
        .await?;
    let mut reached: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for row in rows {
        reached.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    let at = |version, partition| reached.get(&(version, i64::from(partition))).copied().unwrap_or_default();
    Ok((0..partitions).map(|partition| at(live, partition).min(at(built, partition))).collect())
}

async fn parked_in_either(connection: &mut Connection, live: i64, built: i64) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT DISTINCT id FROM parked_orders WHERE view_version IN ($1, $2) LIMIT $3")
        .bind(live)
        .bind(built)
        .bind(PARKED)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(stream(row.try_get(0)?))).collect()
}

fn stream(id: &str) -> String {
    OrderName::new(id).map_or_else(|_| id.to_owned(), |name| name.to_string())
}

/// The columns that are compared.
const ROW: &str =
    "SELECT id, n, customer, state, version, created_at, updated_at, body FROM orders WHERE view_version = ";

fn side(row: &Row) -> Result<(String, Side), sqlx::Error> {
    let content = format!(
        "{} {} version {} made {} changed {}: {}",
        row.try_get::<String, _>("customer")?,
        row.try_get::<String, _>("state")?,
        row.try_get::<i64, _>("version")?,
        row.try_get::<i64, _>("created_at")?,
        row.try_get::<i64, _>("updated_at")?,
        row.try_get::<String, _>("body")?,
    );
    Ok((row.try_get("id")?, Side { n: row.try_get("n")?, content }))
}

async fn sides(
    connection: &mut Connection,
    mut sql: QueryBuilder<Driver>,
) -> Result<BTreeMap<String, Side>, sqlx::Error> {
    sql.build().fetch_all(connection).await?.iter().map(side).collect()
}

/// The rows of two versions side by side, up to and including `until`.
fn pairs(mut live: BTreeMap<String, Side>, mut built: BTreeMap<String, Side>, until: Option<&str>) -> Vec<RowPair> {
    let ids: std::collections::BTreeSet<String> = live.keys().chain(built.keys()).cloned().collect();
    let wanted = ids.into_iter().filter(|id| until.is_none_or(|until| id.as_str() <= until));
    wanted.map(|id| RowPair { key: stream(&id), live: live.remove(&id), built: built.remove(&id) }).collect()
}

#[async_trait]
impl ProjectionStore for ReadModel {
    async fn versions(&self) -> Result<Vec<(i64, VersionState)>, StoreError> {
        let rows = sqlx::query("SELECT version, state FROM view_versions ORDER BY version DESC")
            .fetch_all(self.db.reader())
            .await
            .map_err(failed)?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(failed)?, state(row.try_get(1).map_err(failed)?)?))).collect()
    }

    async fn checkpoint(&self, version: i64, partition: u16) -> Result<Checkpoint, StoreError> {
        let row = sqlx::query("SELECT n, last_commit FROM checkpoints WHERE view_version = $1 AND partition = $2")
            .bind(version)
            .bind(i64::from(partition))
            .fetch_optional(self.db.reader())
            .await
            .map_err(failed)?;
        row.map_or(Ok(Checkpoint::default()), |row| apply::checkpoint(&row).map_err(failed))
    }

    async fn apply(
        &self,
        version: i64,
        partition: u16,
        after: i64,
        commits: Vec<Commit>,
        mode: ApplyMode,
    ) -> Result<Applied, StoreError> {
        self.change(commits, move |connection, commits| {
            Box::pin(apply::batch(connection, version, partition, after, commits, mode))
        })
        .await
    }

    async fn take(&self, retired: bool) -> Result<Taken, StoreError> {
        Ok(self.db.write::<_, _, SqlError, _>((), move |connection, ()| Box::pin(take(connection, retired))).await?)
    }

    async fn keep(&self, version: i64) -> Result<bool, StoreError> {
        let kept = self.db.write::<_, u64, SqlError, _>((), move |connection, ()| {
            Box::pin(async move {
                let sql = format!("UPDATE view_versions SET kept_at = {NOW} WHERE version = $1 AND state = 'building'");
                Ok(sqlx::query(AssertSqlSafe(sql)).bind(version).execute(connection).await?.rows_affected())
            })
        });
        Ok(kept.await? == 1)
    }

    async fn give_up(&self, version: i64) -> Result<(), StoreError> {
        let given = self.db.write::<_, (), SqlError, _>((), move |connection, ()| {
            Box::pin(give_up(connection, "version = $1", version))
        });
        given.await?;
        self.sweep().await;
        Ok(())
    }

    async fn page(
        &self,
        live: i64,
        built: i64,
        after: &str,
        limit: usize,
        partitions: u16,
    ) -> Result<Page, StoreError> {
        let mut snapshot = self.db.snapshot().await?;
        let after = after.rsplit('/').next().unwrap_or_default().to_owned();
        let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let of = |version: i64| {
            let mut sql = QueryBuilder::<Driver>::new(ROW);
            sql.push_bind(version).push(" AND id > ").push_bind(after.clone());
            sql.push(" ORDER BY id LIMIT ").push_bind(limit_rows);
            sql
        };
        let ours = sides(&mut snapshot, of(live)).await.map_err(failed)?;
        let theirs = sides(&mut snapshot, of(built)).await.map_err(failed)?;
        // A page ends where the first of the two does that has more.
        let full = |side: &BTreeMap<String, Side>| (side.len() >= limit).then(|| side.keys().next_back().cloned());
        let until = full(&ours).into_iter().chain(full(&theirs)).flatten().min();
        let page = Page {
            rows: pairs(ours, theirs, until.as_deref()),
            next: until,
            both: both(&mut snapshot, live, built, partitions).await.map_err(failed)?,
            parked: parked_in_either(&mut snapshot, live, built).await.map_err(failed)?,
        };
        Ok(page)
    }

    async fn rows(&self, live: i64, built: i64, keys: &[String], partitions: u16) -> Result<Page, StoreError> {
        let mut snapshot = self.db.snapshot().await?;
        let ids: Vec<_> = keys.iter().map(|key| key.rsplit('/').next().unwrap_or_default().to_owned()).collect();
        let of = |version: i64| {
            let mut sql = QueryBuilder::<Driver>::new(ROW);
            sql.push_bind(version).push(" AND id IN (");
            let mut list = sql.separated(", ");
            for id in &ids {
                list.push_bind(id.clone());
            }
            sql.push(")");
            sql
        };
        let ours = sides(&mut snapshot, of(live)).await.map_err(failed)?;
        let theirs = sides(&mut snapshot, of(built)).await.map_err(failed)?;
        let page = Page {
            rows: pairs(ours, theirs, None),
            next: None,
            both: both(&mut snapshot, live, built, partitions).await.map_err(failed)?,
            parked: parked_in_either(&mut snapshot, live, built).await.map_err(failed)?,
        };
        Ok(page)
    }

    async fn hold(&self) -> Result<(), StoreError> {
        let held = self.db.write::<_, (), SqlError, _>((), move |connection, ()| {
            Box::pin(async move {
                let sql = format!("UPDATE view_versions SET kept_at = {NOW} + $1 WHERE state = 'live'");
                sqlx::query(AssertSqlSafe(sql)).bind(micros(HOLD)).execute(connection).await?;
                Ok(())
            })
        });
        Ok(held.await?)
    }

    async fn switch(&self, to: i64, diverged: &[u16]) -> Result<bool, StoreError> {
        let switched = self.db.write::<_, _, SqlError, _>(diverged.to_vec(), move |connection, diverged| {
            Box::pin(switch(connection, to, diverged))
        });
        let switched = switched.await?;
        if switched {
            self.sweep().await;
        }
        Ok(switched)
    }

    async fn parked(&self, version: i64, limit: usize) -> Result<Vec<ParkedStream>, StoreError> {
        let rows =
            sqlx::query("SELECT id, n, reason FROM parked_orders WHERE view_version = $1 ORDER BY n DESC LIMIT $2")
                .bind(version)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(self.db.reader())
                .await
                .map_err(failed)?;
        let parked = |row: &Row| -> Result<ParkedStream, sqlx::Error> {
            let stream = stream(row.try_get(0)?);
            Ok(ParkedStream { partition: 0, position: row.try_get(1)?, reason: row.try_get(2)?, stream })
        };
        rows.iter().map(parked).collect::<Result<_, _>>().map_err(failed)
    }

    async fn retry(
        &self,
        version: i64,
        partition: u16,
        stream: &str,
        known: i64,
        history: Vec<Commit>,
    ) -> Result<Retried, StoreError> {
        let stream = stream.to_owned();
        self.change((stream, history), move |connection, (stream, history)| {
            Box::pin(apply::retry(connection, version, partition, stream, known, history))
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.db.ping().await?)
    }
}
