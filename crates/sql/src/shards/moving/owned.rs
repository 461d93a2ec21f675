//! Who owns the pieces of a move, as one database knows it, and the locks that guard it.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::pieces::{Parts, statement};
use crate::Error;

/// The class of the advisory locks of a space's pieces is this and the space. Writers take them shared, in the beginning of
/// their transactions.
const PIECES: i32 = 19_799;

/// Takes the pieces' locks for the rest of the transaction, in order: it waits for the writers that have entered, and those that
/// come wait for it.
pub(super) async fn lock(connection: &mut PgConnection, parts: &Parts) -> Result<(), Error> {
    let lock = statement("SELECT pg_advisory_xact_lock($1, p) FROM unnest($2::int[]) AS p");
    lock.bind(PIECES + i32::from(parts.space)).bind(parts.pieces()).execute(connection).await?;
    Ok(())
}

/// As [`lock`], as a writer does: it keeps away who would change the pieces, and waits for no writer.
pub(super) async fn lock_shared(connection: &mut PgConnection, parts: &Parts) -> Result<(), Error> {
    let lock = statement("SELECT pg_advisory_xact_lock_shared($1, p) FROM unnest($2::int[]) AS p");
    lock.bind(PIECES + i32::from(parts.space)).bind(parts.pieces()).execute(connection).await?;
    Ok(())
}

/// One of the database's own pieces that holds keys of these, if there is any. A range may have been split since.
pub(super) async fn any_owned(connection: &mut PgConnection, parts: &Parts) -> Result<Option<i32>, Error> {
    let found = statement(
        "SELECT o.piece FROM shard_owned AS o WHERE o.space = $1 AND (o.piece = ANY($2) OR EXISTS \
         (SELECT 1 FROM unnest($3::text[], $4::text[]) AS p(low, high) \
         WHERE (o.high IS NULL OR p.low < o.high) AND (p.high IS NULL OR o.low < p.high) AND o.low IS NOT NULL)) LIMIT 1",
    );
    let (lows, highs) = parts.ranges();
    let found = found.bind(parts.space).bind(parts.pieces()).bind(lows).bind(highs);
    Ok(found.fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()?)
}

/// Whether the database owns all of the pieces, at their versions.
pub(super) async fn all_owned(connection: &mut PgConnection, parts: &Parts) -> Result<bool, Error> {
    let found = statement(
        "SELECT count(*) FROM shard_owned AS o JOIN unnest($2::int[], $3::bigint[]) AS p(piece, version) \
         ON o.piece = p.piece AND o.version = p.version WHERE o.space = $1",
    );
    let found = found.bind(parts.space).bind(parts.pieces()).bind(parts.versions()).fetch_one(connection).await?;
    Ok(u64::try_from(found.try_get::<i64, _>(0)?).is_ok_and(|found| found == parts.count()))
}

/// Notes that rows of the pieces lie here that another database owns, so that lists leave them out.
pub(super) async fn add_foreign(connection: &mut PgConnection, parts: &Parts) -> Result<(), Error> {
    for part in &parts.parts {
        let insert = statement(
            "INSERT INTO shard_foreign (space, piece, slot, low, high) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (space, piece) DO UPDATE SET slot = EXCLUDED.slot, low = EXCLUDED.low, high = EXCLUDED.high",
        );
        let insert = insert.bind(parts.space).bind(part.piece).bind(part.slot).bind(part.low.clone());
        insert.bind(part.high.clone()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Notes that none of their rows lie here any more.
pub(super) async fn drop_foreign(connection: &mut PgConnection, parts: &Parts) -> Result<(), Error> {
    let delete = statement(
        "DELETE FROM shard_foreign AS f WHERE f.space = $1 AND (f.piece = ANY($2) OR EXISTS \
         (SELECT 1 FROM unnest($3::text[], $4::text[]) AS p(low, high) \
         WHERE f.low >= p.low AND (p.high IS NULL OR f.high <= p.high)))",
    );
    let (lows, highs) = parts.ranges();
    delete.bind(parts.space).bind(parts.pieces()).bind(lows).bind(highs).execute(connection).await?;
    Ok(())
}
