//! Applying commits to a version: each once, in the transaction that moves the checkpoint.

use std::collections::BTreeMap;

use meshwork_api::OrderName;
use meshwork_eventstore::projection::{Applied, ApplyMode, Checkpoint, Retried};
use meshwork_eventstore::{Commit, StoreError};
use meshwork_sql::{Error as SqlError, WorkError, to_micros};
use sqlx::{AssertSqlSafe, Row as _};

use super::super::order_row::{follow, parse};
use super::{Connection, NOW, Row};
use crate::domain::Order;
use crate::ports::StoreError as OrdersError;

/// Why a transaction is undone.
pub(super) enum Undo<T> {
    /// The store has failed.
    Store(StoreError),
    /// Another transaction was in the way.
    Conflict(SqlError),
    /// There was nothing to be done, or nothing that can be: this is the answer.
    Answer(T),
}

impl<T> From<SqlError> for Undo<T> {
    fn from(error: SqlError) -> Self {
        if error.is_conflict() { Undo::Conflict(error) } else { Undo::Store(error.into()) }
    }
}

impl<T: Send + 'static> WorkError for Undo<T> {
    fn is_conflict(&self) -> bool {
        matches!(self, Undo::Conflict(_))
    }
}

impl<T> From<sqlx::Error> for Undo<T> {
    fn from(error: sqlx::Error) -> Self {
        SqlError::from(error).into()
    }
}

/// An order while a batch is applied.
struct Draft {
    order: Option<Order>,
    /// Its position in the view; 0 when it isn't there.
    n: i64,
    /// The position of the last commit of the batch that has changed it.
    changed: Option<i64>,
    /// Whether it is parked, and since which commit of the batch.
    parked: Option<Option<(i64, String)>>,
}

/// Applies a batch; the fence is the checkpoint.
pub(super) async fn batch(
    connection: &mut Connection,
    version: i64,
    partition: u16,
    after: i64,
    commits: &[Commit],
    mode: ApplyMode,
) -> Result<Applied, Undo<Applied>> {
    let Some(last) = commits.last().map(Checkpoint::of) else { return Ok(Applied::Yes) };
    if !is_followed(connection, version, mode).await? || !fence(connection, version, partition, after, &last).await? {
        return Err(Undo::Answer(Applied::Elsewhere));
    }
    let mut drafts: BTreeMap<OrderName, Draft> = BTreeMap::new();
    for commit in commits {
        // The streams of requests are no orders, and tombstones are nothing's. Nor is a name an order's that a request has
        // claimed, which comes out of `follow`.
        let Ok(name) = commit.stream.parse::<OrderName>() else { continue };
        #[cfg(feature = "ablation")]
        if crate::adapters::planted::is_skipped(commit) {
            continue;
        }
        if !drafts.contains_key(&name) {
            let draft = load(connection, version, &name).await?;
            if let Some(Some((_, reason))) = &draft.parked {
                refuse(connection, mode, &name, reason).await?;
            }
            drafts.insert(name.clone(), draft);
        }
        let Some(draft) = drafts.get_mut(&name) else { continue };
        if draft.parked.is_some() || commit.position.n <= draft.n {
            continue;
        }
        match follow(draft.order.clone(), &name, commit) {
            Ok(order) => {
                draft.order = order;
                draft.changed = Some(commit.position.n);
            }
            Err(OrdersError::Damaged(reason)) => {
                refuse(connection, mode, &name, &reason).await?;
                tracing::error!(order = %name, reason, "an order's history can't be followed; lists show it as it was");
                draft.parked = Some(Some((commit.position.n, reason)));
            }
            Err(error) => return Err(Undo::Store(StoreError::Unavailable(error.to_string()))),
        }
    }
    for (name, draft) in &drafts {
        if let (Some(order), Some(n)) = (&draft.order, draft.changed) {
            put(connection, version, order, n).await?;
        }
        if let Some(Some((n, reason))) = &draft.parked {
            park(connection, version, name, *n, reason).await?;
        }
    }
    fail::fail_point!("projector::before_commit");
    Ok(Applied::Yes)
}

/// Refuses the batch for an order that would be parked, unless that is allowed.
async fn refuse(
    connection: &mut Connection,
    mode: ApplyMode,
    name: &OrderName,
    reason: &str,
) -> Result<(), Undo<Applied>> {
    if mode == ApplyMode::Strict && !is_parked_live(connection, name).await? {
        return Err(Undo::Answer(Applied::Poisoned { stream: name.to_string(), reason: reason.to_owned() }));
    }
    Ok(())
}

/// Makes a parked order's row anew of its whole history, which holds everything of it up to position `known` at least.
pub(super) async fn retry(
    connection: &mut Connection,
    version: i64,
    partition: u16,
    stream: &str,
    known: i64,
    history: &[Commit],
) -> Result<Retried, Undo<Retried>> {
    let name: OrderName = stream.parse().map_err(|_| Undo::Answer(Retried::NotParked))?;
    // Updates that change nothing keep a switch away, and the projector out of the partition, until the transaction's end.
    let live = sqlx::query("UPDATE view_versions SET kept_at = kept_at WHERE version = $1 AND state = 'live'")
        .bind(version)
        .execute(&mut *connection)
        .await?;
    if live.rows_affected() == 0 {
        return Err(Undo::Answer(Retried::Moved));
    }
    let checkpoint = sqlx::query("UPDATE checkpoints SET n = n WHERE view_version = $1 AND partition = $2 RETURNING n")
        .bind(version)
        .bind(i64::from(partition))
        .fetch_optional(&mut *connection)
        .await?;
    // What lies beyond was passed for being parked, and isn't met again.
    if checkpoint.map(|row| row.try_get::<i64, _>(0)).transpose()?.unwrap_or_default() > known {
        return Err(Undo::Answer(Retried::Moved));
    }
    let unparked = sqlx::query("DELETE FROM parked_orders WHERE view_version = $1 AND id = $2")
        .bind(version)
        .bind(name.id())
        .execute(&mut *connection)
        .await?;
    if unparked.rows_affected() == 0 {
        return Err(Undo::Answer(Retried::NotParked));
    }
    let (mut order, mut n) = (None, 0);
    for commit in history {
        n = commit.position.n;
        let followed = follow(order, &name, commit);
        order = followed.map_err(|error| Undo::Answer(Retried::Poisoned { reason: error.to_string() }))?;
    }
    if let Some(order) = order {
        put(connection, version, &order, n).await?;
    }
    Ok(Retried::Yes)
}

/// Whether the version is what its follower takes it for: the projector follows the live one, a builder the one that it
/// builds. A projector that hasn't heard of a switch yet must not follow a version that is built by another.
async fn is_followed(connection: &mut Connection, version: i64, mode: ApplyMode) -> Result<bool, sqlx::Error> {
    let state = match mode {
        ApplyMode::Park => "live",
        ApplyMode::Strict => "building",
    };
    // A live version may be held for a moment; of a building one, the time only says that its builder is alive.
    let sql = format!(
        "SELECT 1 FROM view_versions WHERE version = $1 AND state = $2 AND (state = 'building' OR kept_at <= {NOW})"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(version).bind(state).fetch_optional(connection).await?;
    Ok(found.is_some())
}

/// Moves the checkpoint from `after` to `last`, if it is there.
async fn fence(
    connection: &mut Connection,
    version: i64,
    partition: u16,
    after: i64,
    last: &Checkpoint,
) -> Result<bool, sqlx::Error> {
    let identity = identity_text(last);
    let moved = if after == 0 {
        sqlx::query(
            "INSERT INTO checkpoints (view_version, partition, n, last_commit) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(version)
        .bind(i64::from(partition))
        .bind(last.position)
        .bind(identity)
        .execute(connection)
        .await?
    } else {
        sqlx::query(
            "UPDATE checkpoints SET n = $3, last_commit = $5 WHERE view_version = $1 AND partition = $2 AND n = $4",
        )
        .bind(version)
        .bind(i64::from(partition))
        .bind(last.position)
        .bind(after)
        .bind(identity)
        .execute(connection)
        .await?
    };
    Ok(moved.rows_affected() == 1)
}

/// The last commit as its column holds it.
fn identity_text(last: &Checkpoint) -> String {
    format!("{}/{}", last.position, last.identity)
}

/// The checkpoint of a row. Where its position is another than the identity's, an earlier release beside this one has moved it on,
/// and the identity isn't known.
pub(super) fn checkpoint(row: &Row) -> Result<Checkpoint, sqlx::Error> {
    let (position, text): (i64, String) = (row.try_get("n")?, row.try_get("last_commit")?);
    let identity = text.split_once('/').filter(|(n, _)| *n == position.to_string()).map(|(_, identity)| identity);
    Ok(Checkpoint { position, identity: identity.unwrap_or_default().to_owned() })
}

async fn load<T>(connection: &mut Connection, version: i64, name: &OrderName) -> Result<Draft, Undo<T>> {
    let row = sqlx::query("SELECT body, n FROM orders WHERE view_version = $1 AND id = $2")
        .bind(version)
        .bind(name.id())
        .fetch_optional(&mut *connection)
        .await?;
    let parked = sqlx::query("SELECT 1 FROM parked_orders WHERE view_version = $1 AND id = $2")
        .bind(version)
        .bind(name.id())
        .fetch_optional(connection)
        .await?;
    let mut draft = Draft { order: None, n: 0, changed: None, parked: parked.map(|_| None) };
    if let Some(row) = row {
        draft.n = row.try_get("n")?;
        match parse(row.try_get("body")?) {
            Ok(order) => draft.order = Some(order),
            // Its next commit can't be applied to it, and says so.
            Err(error) => draft.parked = Some(Some((draft.n, error.to_string()))),
        }
    }
    Ok(draft)
}

async fn put<T>(connection: &mut Connection, version: i64, order: &Order, n: i64) -> Result<(), Undo<T>> {
    let body = serde_json::to_string(order)
        .map_err(|error| Undo::Store(StoreError::Unavailable(format!("{} as JSON: {error}", order.name))))?;
    sqlx::query(
        "INSERT INTO orders (view_version, id, customer, state, version, n, created_at, updated_at, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (view_version, id) DO UPDATE SET customer = excluded.customer, state = excluded.state, \
         version = excluded.version, n = excluded.n, created_at = excluded.created_at, \
         updated_at = excluded.updated_at, body = excluded.body",
    )
    .bind(version)
    .bind(order.name.id())
    .bind(order.customer.to_string())
    .bind(order.state.as_str())
    .bind(order.version)
    .bind(n)
    .bind(to_micros(order.created_at))
    .bind(to_micros(order.updated_at))
    .bind(body)
    .execute(connection)
    .await?;
    Ok(())
}

async fn park(
    connection: &mut Connection,
    version: i64,
    name: &OrderName,
    n: i64,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO parked_orders (view_version, id, n, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(version)
    .bind(name.id())
    .bind(n)
    // PostgreSQL keeps no text with a NUL in it.
    .bind(reason.replace('\0', "\u{fffd}"))
    .execute(connection)
    .await?;
    Ok(())
}

async fn is_parked_live(connection: &mut Connection, name: &OrderName) -> Result<bool, sqlx::Error> {
    let found = sqlx::query(
        "SELECT 1 FROM parked_orders p JOIN view_versions v ON v.version = p.view_version AND v.state = 'live' \
         WHERE p.id = $1",
    )
    .bind(name.id())
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}
