//! What an order's event does, in one transaction.

use meshwork_api::OrderName;
use meshwork_events::inbox::Gate;
use meshwork_events::inbox::sqlite as inbox;
use meshwork_events::outbox::NewEvent;
use meshwork_events::outbox::sqlite::Outbox;
use meshwork_sql::to_micros;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::{LineRow, ReservationRow};
use super::{damaged, stock};
use crate::adapters::events;
use crate::domain::{Decision, Input, Line, Movement, Reservation, Shortage, transition};
use crate::ports::{Applied, OrderEvent, StoreError};

/// As whom the inbox knows us.
const CONSUMER: &str = "inventory";

/// Why a transaction is undone.
pub(super) enum Abort {
    /// The event can't follow upon what came before.
    Contradiction(&'static str),
    /// The store has failed.
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for Abort {
    fn from(error: E) -> Self {
        Abort::Store(error.into())
    }
}

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
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    outbox: &Outbox,
    event: &OrderEvent,
    now: OffsetDateTime,
) -> Result<Applied, Abort> {
    match inbox::gate(connection, CONSUMER, &event.order.to_string(), event.version).await? {
        Gate::Apply => {}
        Gate::Duplicate => return Ok(Applied::Before),
        Gate::Hole { last } => return Ok(Applied::Hole { last }),
        Gate::Parked => return Ok(Applied::Parked),
    }
    let Some(input) = &event.input else { return Ok(Applied::Now) };
    Ok(match carry_out(connection, outbox, &event.order, input, now).await? {
        Carried::Nothing | Carried::Changed => Applied::Now,
        Carried::Alarm(what) => Applied::Alarm(what),
    })
}

/// Does what the reservation's machine decides.
pub(super) async fn carry_out(
    connection: &mut SqliteConnection,
    outbox: &Outbox,
    order: &OrderName,
    input: &Input,
    now: OffsetDateTime,
) -> Result<Carried, Abort> {
    let current = find(connection, order).await?;
    let (lines, outcome) = match transition(current.as_ref(), input, now) {
        Decision::Ignore => return Ok(Carried::Nothing),
        Decision::Alarm(what) => return Ok(Carried::Alarm(what)),
        Decision::Contradiction(why) => return Err(Abort::Contradiction(why)),
        Decision::Repeat => {
            repeat(connection, outbox, order, now).await?;
            return Ok(Carried::Changed);
        }
        Decision::Settle(outcome) => (Vec::new(), outcome),
        Decision::Move { movement, lines, moved, short } => {
            let shortages = move_pieces(connection, order, movement, &lines, now).await?;
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
        outbox.append(connection, now, &[event]).await?;
    }
    Ok(Carried::Changed)
}

async fn find(connection: &mut SqliteConnection, order: &OrderName) -> Result<Option<Reservation>, StoreError> {
    let row: Option<ReservationRow> = sqlx::query_as("SELECT * FROM reservation WHERE order_id = ?")
        .bind(order.id())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let lines: Vec<LineRow> =
        sqlx::query_as("SELECT order_id, product, quantity FROM reservation_line WHERE order_id = ? ORDER BY product")
            .bind(order.id())
            .fetch_all(connection)
            .await?;
    row.with(lines.into_iter().map(Line::try_from).collect::<Result<_, _>>()?).map(Some)
}

/// Moves the pieces of all lines, or none; returns what there was too little of.
async fn move_pieces(
    connection: &mut SqliteConnection,
    order: &OrderName,
    movement: Movement,
    lines: &[Line],
    now: OffsetDateTime,
) -> Result<Vec<Shortage>, StoreError> {
    let mut shortages = Vec::new();
    sqlx::query("SAVEPOINT pieces").execute(&mut *connection).await?;
    for line in lines {
        if stock::shift(connection, &line.product, movement.delta(line.quantity), now).await? {
            record(connection, order, movement, line, now).await?;
        } else {
            let available = stock::find(&mut *connection, &line.product).await?.map_or(0, |stock| stock.available);
            shortages.push(Shortage { product: line.product.clone(), requested: line.quantity, available });
        }
    }
    if !shortages.is_empty() {
        sqlx::query("ROLLBACK TO pieces").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE pieces").execute(connection).await?;
    Ok(shortages)
}

async fn record(
    connection: &mut SqliteConnection,
    order: &OrderName,
    movement: Movement,
    line: &Line,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO stock_ledger (order_id, product, transition, quantity, at) VALUES (?, ?, ?, ?, ?)")
        .bind(order.id())
        .bind(line.product.id())
        .bind(movement.as_str())
        .bind(line.quantity)
        .bind(to_micros(now))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    reservation: &Reservation,
    event: Option<&NewEvent>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reservation (order_id, state, expires_at, created_at, updated_at, version, last_type, last_data) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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
    for line in &reservation.lines {
        sqlx::query("INSERT INTO reservation_line (order_id, product, quantity, created_at) VALUES (?, ?, ?, ?)")
            .bind(reservation.order.id())
            .bind(line.product.id())
            .bind(line.quantity)
            .bind(to_micros(reservation.created_at))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Writes `after` in place of `before`, and only of it.
async fn replace(
    connection: &mut SqliteConnection,
    before: &Reservation,
    after: &Reservation,
    event: Option<&NewEvent>,
) -> Result<(), StoreError> {
    let replaced = sqlx::query(
        "UPDATE reservation SET state = ?, expires_at = ?, updated_at = ?, version = ?, \
         last_type = coalesce(?, last_type), last_data = coalesce(?, last_data) \
         WHERE order_id = ? AND state = ? AND version = ?",
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
        _ => Err(damaged(format_args!("the reservation of {} has changed under the writer", before.order))),
    }
}

/// Tells the last event again, as a new one.
async fn repeat(
    connection: &mut SqliteConnection,
    outbox: &Outbox,
    order: &OrderName,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "UPDATE reservation SET version = version + 1 WHERE order_id = ? RETURNING version, last_type, last_data",
    )
    .bind(order.id())
    .fetch_one(&mut *connection)
    .await?;
    let word: String = row.try_get("last_type")?;
    let event_type = events::reservation_type(&word);
    let event = NewEvent {
        event_type: event_type.ok_or_else(|| damaged(format_args!("{word:?} is no event of a reservation")))?,
        subject: events::reservation_subject(order.id()),
        version: row.try_get("version")?,
        data: row.try_get("last_data")?,
    };
    outbox.append(connection, now, &[event]).await?;
    Ok(())
}
