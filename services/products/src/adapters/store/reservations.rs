//! What an order's event does, in one transaction.

use meshwork_api::OrderName;
use meshwork_events::inbox::Gate;
use meshwork_events::outbox::NewEvent;
use meshwork_sql::{from_micros, to_micros};
use sqlx::{AssertSqlSafe, FromRow as _, QueryBuilder, Row as _};
use time::OffsetDateTime;

use super::super::damaged;
use super::super::rows::{LineRow, ReservationRow};
use super::super::undo::Undo;
use super::store::Store;
use super::{Connection, Driver, NOW, inbox, stock};
use crate::adapters::events;
use crate::domain::{Decision, Input, Line, Movement, Reservation, Shortage, transition};
use crate::ports::{Applied, OrderEvent, StoreError};

/// As whom the inbox knows us.
pub(super) const CONSUMER: &str = "inventory";

/// What was done.
pub(super) enum Carried {
    /// Nothing was to be done.
    Nothing,
    /// Nothing could be done, and people must know.
    Alarm(&'static str),
    /// The reservation is another, or has told its last event again.
    Changed,
}

/// Applies an event of an order, unless that was done before (NT-5).
pub(super) async fn apply(connection: &mut Connection, store: &Store, event: &OrderEvent) -> Result<Applied, Undo> {
    match gate(connection, store, event).await? {
        Gate::Apply => {}
        Gate::Duplicate => return Ok(Applied::Before),
        Gate::Hole { last } => return Err(Undo::Answer(Applied::Hole { last })),
        Gate::Parked => return Err(Undo::Answer(Applied::Parked)),
    }
    fail::fail_point!("products::gated");
    let Some(input) = &event.input else { return Ok(Applied::Now) };
    Ok(match carry_out(connection, store, &event.order, input, super::FOR_UPDATE).await? {
        Carried::Nothing | Carried::Changed => Applied::Now,
        Carried::Alarm(what) => Applied::Alarm(what),
    })
}

/// Whether the event is the next one of its order.
async fn gate(connection: &mut Connection, store: &Store, event: &OrderEvent) -> Result<Gate, Undo> {
    #[cfg(feature = "ablation")]
    if matches!(store.planted, Some(super::super::Planted::NoInbox | super::super::Planted::InboxApart)) {
        return Ok(Gate::Apply);
    }
    _ = store;
    Ok(inbox::gate(connection, CONSUMER, &event.order.to_string(), event.version).await?)
}

/// Notes that an event was applied, apart from its effect: a planted bug. Returns the answer when it was noted before.
#[cfg(feature = "ablation")]
pub(super) async fn note_apart(connection: &mut Connection, event: &OrderEvent) -> Result<Option<Applied>, Undo> {
    Ok(match inbox::gate(connection, CONSUMER, &event.order.to_string(), event.version).await? {
        Gate::Apply => None,
        Gate::Duplicate => Some(Applied::Before),
        Gate::Hole { last } => Some(Applied::Hole { last }),
        Gate::Parked => Some(Applied::Parked),
    })
}

/// Does what the reservation's machine decides. The reservation is locked by `lock`; one that isn't got is as if there were
/// none.
pub(super) async fn carry_out(
    connection: &mut Connection,
    store: &Store,
    order: &OrderName,
    input: &Input,
    lock: &'static str,
) -> Result<Carried, Undo> {
    let (current, now) = find(connection, order, lock).await?;
    #[cfg(feature = "ablation")]
    let now = match (store.planted, input) {
        (Some(super::super::Planted::ApplicationClock(ahead)), Input::Expired) => OffsetDateTime::now_utc() + ahead,
        _ => now,
    };
    let (lines, outcome) = match transition(current.as_ref(), input, now) {
        Decision::Ignore => return Ok(Carried::Nothing),
        Decision::Alarm(what) => return Ok(Carried::Alarm(what)),
        Decision::Contradiction(why) => return Err(Undo::Answer(Applied::Contradiction(why))),
        Decision::Repeat => {
            repeat(connection, store, order, now).await?;
            return Ok(Carried::Changed);
        }
        Decision::Settle(outcome) => (Vec::new(), outcome),
        Decision::Move { movement, lines, moved, short } => {
            let shortages = move_pieces(connection, store, order, movement, &lines).await?;
            fail::fail_point!("products::moved");
            let outcome = if shortages.is_empty() { Some(moved) } else { short.outcome(shortages) };
            let missing = || damaged(format_args!("pieces that were kept for {order} are missing"));
            (lines, outcome.ok_or_else(missing)?)
        }
    };
    let after = Reservation::after(current.as_ref(), order, &lines, &outcome, now);
    let event = outcome.event.as_ref().map(|event| events::of_reservation(&after, event));
    match &current {
        None => insert(connection, &after, event.as_ref()).await?,
        Some(before) => replace(connection, before, &after, event.as_ref()).await?,
    }
    if let Some(event) = event {
        store.outbox.append(connection, now, &[event]).await?;
    }
    Ok(Carried::Changed)
}

/// An order's reservation, which nobody else changes until the transaction's end, and the time once it was locked.
async fn find(
    connection: &mut Connection,
    order: &OrderName,
    lock: &'static str,
) -> Result<(Option<Reservation>, OffsetDateTime), Undo> {
    let sql = format!(
        "WITH locked AS (SELECT * FROM reservation WHERE order_id = $1{lock}) \
         SELECT {NOW} AS now, locked.* FROM (SELECT 1 AS one) AS always LEFT JOIN locked ON true"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(order.id()).fetch_one(&mut *connection).await?;
    let now = from_micros(row.try_get("now")?);
    if row.try_get::<Option<String>, _>("order_id")?.is_none() {
        return Ok((None, now));
    }
    let lines: Vec<LineRow> =
        sqlx::query_as("SELECT order_id, product, quantity FROM reservation_line WHERE order_id = $1 ORDER BY product")
            .bind(order.id())
            .fetch_all(connection)
            .await?;
    let lines = lines.into_iter().map(Line::try_from).collect::<Result<_, StoreError>>()?;
    Ok((Some(ReservationRow::from_row(&row)?.with(lines)?), now))
}

/// Moves the pieces of all lines, or none; returns what there was too little of.
async fn move_pieces(
    connection: &mut Connection,
    store: &Store,
    order: &OrderName,
    movement: Movement,
    lines: &[Line],
) -> Result<Vec<Shortage>, Undo> {
    #[cfg(feature = "ablation")]
    let lines = &as_named(store, order, lines)[..];
    let mut shortages = Vec::new();
    // One line that is short has moved nothing.
    let several = lines.len() > 1;
    if several {
        sqlx::query("SAVEPOINT pieces").execute(&mut *connection).await?;
    }
    for Line { product, quantity } in lines {
        if stock::shift_of_order(connection, store, product, movement.delta(*quantity)).await? {
            continue;
        }
        let available = stock::find(connection, product).await?.map_or(0, |stock| stock.available);
        if movement.takes_available() && available >= *quantity {
            // Somebody has brought some since.
            return Err(Undo::conflict(product));
        }
        shortages.push(Shortage { product: product.clone(), requested: *quantity, available });
    }
    if several && !shortages.is_empty() {
        sqlx::query("ROLLBACK TO pieces").execute(&mut *connection).await?;
    }
    if several {
        sqlx::query("RELEASE pieces").execute(&mut *connection).await?;
    }
    if shortages.is_empty() {
        record(connection, order, movement, lines).await?;
    }
    Ok(shortages)
}

/// Writes a movement of all lines to the ledger.
async fn record(
    connection: &mut Connection,
    order: &OrderName,
    movement: Movement,
    lines: &[Line],
) -> Result<(), sqlx::Error> {
    let mut sql =
        QueryBuilder::<Driver>::new("INSERT INTO stock_ledger (order_id, product, transition, quantity, at) ");
    sql.push_values(lines, |mut row, line| {
        row.push_bind(order.id()).push_bind(line.product.id()).push_bind(movement.as_str());
        row.push_bind(line.quantity).push(NOW);
    });
    sql.build().execute(connection).await?;
    Ok(())
}

async fn insert(
    connection: &mut Connection,
    reservation: &Reservation,
    event: Option<&NewEvent>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reservation (order_id, state, expires_at, created_at, updated_at, version, last_type, last_data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(reservation.order.id())
    .bind(reservation.state.as_str())
    .bind(reservation.expires_at.map(to_micros))
    .bind(to_micros(reservation.created_at))
    .bind(to_micros(reservation.updated_at))
    .bind(reservation.version)
    .bind(event.map(|event| event.event_type))
    .bind(event.map(|event| event.data.as_slice()))
    .execute(&mut *connection)
    .await?;
    if reservation.lines.is_empty() {
        return Ok(());
    }
    let mut sql =
        QueryBuilder::<Driver>::new("INSERT INTO reservation_line (order_id, product, quantity, created_at) ");
    sql.push_values(&reservation.lines, |mut row, line| {
        row.push_bind(reservation.order.id()).push_bind(line.product.id());
        row.push_bind(line.quantity).push_bind(to_micros(reservation.created_at));
    });
    sql.build().execute(connection).await?;
    Ok(())
}

/// Writes `after` in place of `before`, and only of it.
async fn replace(
    connection: &mut Connection,
    before: &Reservation,
    after: &Reservation,
    event: Option<&NewEvent>,
) -> Result<(), Undo> {
    let replaced = sqlx::query(
        "UPDATE reservation SET state = $1, expires_at = $2, updated_at = $3, version = $4, \
         last_type = coalesce($5, last_type), last_data = coalesce($6, last_data) \
         WHERE order_id = $7 AND state = $8 AND version = $9",
    )
    .bind(after.state.as_str())
    .bind(after.expires_at.map(to_micros))
    .bind(to_micros(after.updated_at))
    .bind(after.version)
    .bind(event.map(|event| event.event_type))
    .bind(event.map(|event| event.data.as_slice()))
    .bind(after.order.id())
    .bind(before.state.as_str())
    .bind(before.version)
    .execute(connection)
    .await?;
    match replaced.rows_affected() {
        1 => Ok(()),
        _ => Err(Undo::conflict(format_args!("the reservation of {}", before.order))),
    }
}

/// Tells the last event again, as a new one.
async fn repeat(
    connection: &mut Connection,
    store: &Store,
    order: &OrderName,
    now: OffsetDateTime,
) -> Result<(), Undo> {
    let row = sqlx::query(
        "UPDATE reservation SET version = version + 1 WHERE order_id = $1 RETURNING version, last_type, last_data",
    )
    .bind(order.id())
    .fetch_one(&mut *connection)
    .await?;
    let word: String = row.try_get("last_type")?;
    let event_type = events::reservation_type(&word);
    let event = NewEvent {
        event_type: event_type.ok_or_else(|| damaged(format_args!("{word:?} is no event of a reservation")))?,
        schema_version: events::SCHEMA_VERSION,
        subject: events::reservation_subject(order.id()),
        version: row.try_get("version")?,
        data: row.try_get("last_data")?,
    };
    store.outbox.append(connection, now, &[event]).await?;
    Ok(())
}

/// The lines in another order for every second order, when that bug is planted.
#[cfg(feature = "ablation")]
fn as_named(store: &Store, order: &OrderName, lines: &[Line]) -> Vec<Line> {
    let mut lines = lines.to_vec();
    if store.planted == Some(super::super::Planted::NoLockOrder)
        && order.id().bytes().map(u64::from).sum::<u64>() % 2 == 0
    {
        lines.reverse();
    }
    lines
}
