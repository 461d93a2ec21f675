//! The journal of moves, in the database of the old owner.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::pieces::{Part, Parts, statement};
use super::progress::PendingMove;
use crate::Error;
use crate::shards::ShardId;

/// Microseconds since 1970 by the database's clock.
pub(super) const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
/// How long the journal keeps moves that are at their end, in microseconds: 7 days.
const RETENTION: i64 = 7 * 24 * 3600 * 1_000_000;
/// The moves that aren't at their end.
pub(super) const UNFINISHED: &str = "phase NOT IN ('done', 'abandoned')";

/// What a resumed move begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Prepare,
    Copy,
    Follow,
    /// As `Follow`, and a fence may be up.
    Fence,
    /// The new owner is written down.
    Given,
    Done,
    Abandoned,
}

impl Phase {
    fn text(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Follow => "follow",
            Self::Fence => "fence",
            Self::Given => "given",
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let all = [Self::Prepare, Self::Copy, Self::Follow, Self::Fence, Self::Given, Self::Done, Self::Abandoned];
        all.into_iter().find(|phase| phase.text() == text)
    }
}

/// How far the copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The table that is copied, by its place among those of the space.
    pub table: usize,
    /// The primary key of the last row that was copied, as JSON; before the first row `None`.
    pub after: Option<String>,
}

/// One move.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub id: String,
    pub parts: Parts,
    pub to: ShardId,
    pub to_name: String,
    pub phase: Phase,
    pub cursor: Cursor,
    /// Counts the installations of the triggers.
    pub generation: i32,
    /// The generation whose log has become too long, if any has.
    pub overrun: i32,
    pub fences: i32,
    pub copied: i64,
    pub followed: i64,
    pub deleted: i64,
    /// Seconds since it began, when it was read.
    pub age: i64,
    /// Seconds since it was written, when it was read.
    pub idle: i64,
}

impl Journal {
    /// A move that is about to begin.
    pub fn new(parts: Parts, to: ShardId, to_name: &str) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            parts,
            to,
            to_name: to_name.to_owned(),
            phase: Phase::Prepare,
            cursor: Cursor::default(),
            generation: 0,
            overrun: 0,
            fences: 0,
            copied: 0,
            followed: 0,
            deleted: 0,
            age: 0,
            idle: 0,
        }
    }

    /// Whether the log of changes has become too long to follow.
    pub fn is_overrun(&self) -> bool {
        self.generation > 0 && self.overrun == self.generation
    }

    /// As others see it.
    pub fn pending(&self, from: ShardId) -> PendingMove {
        PendingMove {
            id: self.id.clone(),
            space: self.parts.space,
            pieces: self.parts.pieces(),
            from,
            to: self.to,
            to_name: self.to_name.clone(),
            phase: self.phase.text().to_owned(),
            copied: self.copied,
            followed: self.followed,
            deleted: self.deleted,
            fences: self.fences,
            is_overrun: self.is_overrun(),
            age: self.age,
            idle: self.idle,
        }
    }

    /// Writes a new move. A unique index refuses it while another isn't at its end.
    pub async fn insert(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO shard_move (id, space, pieces, to_shard, to_name, phase, cursor, started_at, updated_at) \
             VALUES ($1::uuid, $2, $3::jsonb, $4, $5, $6, $7::jsonb, {NOW}, {NOW})"
        );
        let insert = statement(sql).bind(self.id.clone()).bind(self.parts.space).bind(json(&self.parts.parts)?);
        let insert = insert.bind(i32::from(self.to)).bind(self.to_name.clone()).bind(self.phase.text());
        insert.bind(json(&self.cursor)?).execute(connection).await?;
        Ok(())
    }

    /// Writes what has changed. What was given stays so: of a commit whose answer was lost, the journal knows more than its
    /// writer.
    pub async fn save(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let sql = format!(
            "UPDATE shard_move SET phase = $2, cursor = $3::jsonb, generation = $4, fences = $5, copied = $6, \
             followed = $7, deleted = $8, updated_at = {NOW} \
             WHERE id = $1::uuid AND (phase <> 'given' OR $2 IN ('given', 'done'))"
        );
        let update = statement(sql).bind(self.id.clone()).bind(self.phase.text()).bind(json(&self.cursor)?);
        let update = update.bind(self.generation).bind(self.fences).bind(self.copied).bind(self.followed);
        let updated = update.bind(self.deleted).execute(connection).await?;
        if updated.rows_affected() != 1 {
            return Err(Error::Database(sqlx::Error::RowNotFound));
        }
        Ok(())
    }
}

/// The move that isn't at its end, of which there is one at most.
pub(super) async fn unfinished(connection: &mut PgConnection) -> Result<Option<Journal>, Error> {
    let sql = format!(
        "SELECT id::text, space, pieces::text, to_shard, to_name, phase, cursor::text, generation, overrun, fences, copied, \
         followed, deleted, ({NOW} - started_at) / 1000000, ({NOW} - updated_at) / 1000000 \
         FROM shard_move WHERE {UNFINISHED}"
    );
    let found = statement(sql).fetch_optional(connection).await?;
    found.map(|row| journal_of(&row)).transpose()
}

/// Whether the log of changes of this move has become too long.
pub(super) async fn is_overrun(connection: &mut PgConnection, journal: &Journal) -> Result<bool, Error> {
    let found = statement("SELECT 1 FROM shard_move WHERE id = $1::uuid AND overrun = $2 AND overrun > 0");
    let found = found.bind(journal.id.clone()).bind(journal.generation).fetch_optional(connection).await?;
    Ok(found.is_some())
}

/// Forgets moves that have been at their end for long.
pub(super) async fn prune(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = format!("DELETE FROM shard_move WHERE NOT ({UNFINISHED}) AND updated_at < {NOW} - $1");
    statement(sql).bind(RETENTION).execute(connection).await?;
    Ok(())
}

fn journal_of(row: &PgRow) -> Result<Journal, Error> {
    let parts: Vec<Part> = read(row, 2)?;
    let to: i32 = row.try_get(3)?;
    let phase: String = row.try_get(5)?;
    Ok(Journal {
        id: row.try_get(0)?,
        parts: Parts { space: row.try_get(1)?, parts },
        to: ShardId::try_from(to).map_err(|error| damaged("to_shard", error))?,
        to_name: row.try_get(4)?,
        phase: Phase::of(&phase).ok_or_else(|| damaged("phase", format!("{phase:?} is unknown to this release")))?,
        cursor: read(row, 6)?,
        generation: row.try_get(7)?,
        overrun: row.try_get(8)?,
        fences: row.try_get(9)?,
        copied: row.try_get(10)?,
        followed: row.try_get(11)?,
        deleted: row.try_get(12)?,
        age: row.try_get(13)?,
        idle: row.try_get(14)?,
    })
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| damaged("JSON", error))
}

fn read<T: serde::de::DeserializeOwned>(row: &PgRow, column: usize) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| damaged("JSON", error))
}

/// What the journal holds and can't be.
fn damaged(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Database(sqlx::Error::Decode(format!("the journal of moves is damaged: {what}: {error}").into()))
}
