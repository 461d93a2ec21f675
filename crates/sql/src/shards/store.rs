//! The map as one database keeps it, and what follows from it there: which pieces it owns, and which rows lie there for others.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use super::map::{MapError, PieceInfo, PieceRange, ShardMap};
use super::place::ShardId;
use crate::{Component, Error};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/shards-postgres");

/// The tables of a shard.
pub const COMPONENT: Component = Component { name: "shards", migrator: &MIGRATOR };

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMap {
    /// The shard that it is.
    pub shard: ShardId,
    /// What people call it.
    pub name: String,
    /// The map that it knows.
    pub map: ShardMap,
    /// The shards of which it knows that their databases have had a map.
    pub installed: BTreeSet<ShardId>,
}

/// A piece's key in the tables, and what stands there.
type Pieces = BTreeMap<(i16, i32), PieceInfo>;

/// What the database says of itself; `None` when nothing was installed yet.
///
/// # Errors
/// [`Error::Shards`] when its map can't be read; what the read met.
pub async fn read(connection: &mut PgConnection) -> Result<Option<StoredMap>, Error> {
    let sql = "SELECT shard, name, ARRAY(SELECT i.shard FROM shard_installed i), map::text FROM shard_map";
    stored(sqlx::query(sql).fetch_optional(connection).await?, None)
}

/// As [`read`], for who has a map: one that is equal, by its mark, is not sent.
pub(super) async fn read_unless(connection: &mut PgConnection, known: &ShardMap) -> Result<Option<StoredMap>, Error> {
    let sql = "SELECT shard, name, ARRAY(SELECT i.shard FROM shard_installed i), \
               CASE WHEN mark <> $1 THEN map::text END FROM shard_map";
    stored(sqlx::query(sql).bind(known.mark()).fetch_optional(connection).await?, Some(known))
}

/// What a row says; where it has no map, that is `known`.
fn stored(row: Option<PgRow>, known: Option<&ShardMap>) -> Result<Option<StoredMap>, Error> {
    let Some(row) = row else { return Ok(None) };
    let name: String = row.try_get(1)?;
    let shard = number(row.try_get(0)?)?;
    let installed = row.try_get::<Vec<i64>, _>(2)?.into_iter().map(number).collect::<Result<_, _>>()?;
    let map = match (row.try_get::<Option<&str>, _>(3)?, known) {
        (None, Some(known)) => known.clone(),
        (text, _) => ShardMap::from_json(text.unwrap_or_default()).map_err(|error| unreadable(&name, &error))?,
    };
    Ok(Some(StoredMap { shard, name, map, installed }))
}

fn number(shard: i64) -> Result<ShardId, Error> {
    ShardId::try_from(shard).map_err(|_| Error::Shards(format!("{shard} is no number of a shard")))
}

/// Notes shards whose databases have a map. In the order of their numbers, so that no two who do it wait for each other.
pub(super) async fn note_installed(connection: &mut PgConnection, shards: &BTreeSet<ShardId>) -> Result<(), Error> {
    let shards: Vec<i64> = shards.iter().copied().map(i64::from).collect();
    let note =
        "INSERT INTO shard_installed (shard) SELECT s FROM UNNEST($1::bigint[]) AS s ORDER BY s ON CONFLICT DO NOTHING";
    sqlx::query(note).bind(shards).execute(connection).await?;
    Ok(())
}

/// Stores `map` as the first one, if there is none, and returns what is there then. Of several who come at once, one wins.
///
/// # Errors
/// As [`read`].
pub(super) async fn found(
    connection: &mut PgConnection,
    shard: ShardId,
    name: &str,
    map: &ShardMap,
) -> Result<ShardMap, Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let known = match read(&mut transaction).await? {
        Some(stored) => {
            check_identity(&stored, shard, name)?;
            stored.map
        }
        None => settle(&mut transaction, shard, name, map, None).await?,
    };
    transaction.commit().await?;
    Ok(known)
}

/// Merges `map` into what the database knows, and makes its tables agree: what it gains it owns, and what it loses is foreign to
/// it until its rows are deleted. It waits for the transactions that have entered what changes. In a transaction, within that of
/// the caller if there is one; returns the merged map.
///
/// # Errors
/// [`Error::Shards`] when the database is another shard or of another system, or its map and `map` disagree;
/// [`Kind::Conflict`](crate::Kind::Conflict) and
/// [`Kind::Unavailable`](crate::Kind::Unavailable) when what has entered doesn't end in time; what else it met.
pub async fn install(
    connection: &mut PgConnection,
    shard: ShardId,
    name: &str,
    map: &ShardMap,
) -> Result<ShardMap, Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    let stored = read(&mut transaction).await?;
    let merged = match stored {
        Some(stored) => {
            check_identity(&stored, shard, name)?;
            check_group(&stored, map, "the map that is brought to it")?;
            let merged = unite(name, &stored.map, map)?;
            settle(&mut transaction, shard, name, &merged, Some(&stored.map)).await?
        }
        None => settle(&mut transaction, shard, name, map, None).await?,
    };
    transaction.commit().await?;
    Ok(merged)
}

/// Whether the database is the shard that it is taken for.
///
/// # Errors
/// [`Error::Shards`], which names both, when it isn't.
pub(super) fn check_identity(stored: &StoredMap, shard: ShardId, name: &str) -> Result<(), Error> {
    if stored.shard == shard && stored.name == name {
        return Ok(());
    }
    Err(Error::Shards(format!(
        "the database that is configured as shard {shard}, {name:?}, says that it is shard {}, {:?}; put its URL where it belongs",
        stored.shard, stored.name
    )))
}

/// Whether the database is of the system of `map`, which is that of `others`.
///
/// # Errors
/// [`Error::Shards`], which names both, when it isn't.
pub(super) fn check_group(stored: &StoredMap, map: &ShardMap, others: &str) -> Result<(), Error> {
    if stored.map.system == map.system {
        return Ok(());
    }
    Err(Error::Shards(format!(
        "the database that is configured as shard {}, {:?}, belongs to another group of databases ({}) than {others} ({}); look \
         whether its URL is the right one",
        stored.shard, stored.name, stored.map.system, map.system
    )))
}

/// `ours` with what `theirs` knows at a higher version; one of them is of the shard `name`.
///
/// # Errors
/// [`Error::Shards`] when they say different things at the same version.
pub(super) fn unite(name: &str, ours: &ShardMap, theirs: &ShardMap) -> Result<ShardMap, Error> {
    let mut united = ours.clone();
    let disagreements = united.reconcile(theirs).disagreements;
    match disagreements.first() {
        None => Ok(united),
        Some(first) => Err(Error::Shards(format!(
            "the map in the database of the shard {name:?} and that of the others disagree in {} places, the first of which is: \
             {first}; look whether a database was put back to an older copy, and put back the newest",
            disagreements.len()
        ))),
    }
}

fn unreadable(name: &str, error: &MapError) -> Error {
    Error::Shards(format!("the database of the shard {name:?} holds a map that can't be used: {error}"))
}

/// One at a time changes the map of a database, also while it has none.
async fn lock(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(19798, 0)").execute(connection).await?;
    Ok(())
}

/// Writes a map, unless it is the one that is there, and makes the other tables agree with it.
async fn settle(
    connection: &mut PgConnection,
    shard: ShardId,
    name: &str,
    map: &ShardMap,
    stored: Option<&ShardMap>,
) -> Result<ShardMap, Error> {
    if stored == Some(map) {
        return Ok(map.clone());
    }
    map.check().map_err(|error| unreadable(name, &error))?;
    if !map.knows(shard) {
        return Err(Error::Shards(format!(
            "the shard {shard}, {name:?}, isn't in the map that is to be installed in it"
        )));
    }
    own(connection, shard, map).await?;
    let write = "INSERT INTO shard_map (one, shard, name, epoch, mark, map) VALUES (TRUE, $1, $2, $3, $4, $5::jsonb) \
         ON CONFLICT (one) DO UPDATE SET epoch = EXCLUDED.epoch, mark = EXCLUDED.mark, map = EXCLUDED.map";
    sqlx::query(write)
        .bind(i64::from(shard))
        .bind(name)
        .bind(i64::try_from(map.epoch()).unwrap_or(i64::MAX))
        .bind(map.mark())
        .bind(map.to_json())
        .execute(connection)
        .await?;
    Ok(map.clone())
}

/// Makes `shard_owned` and `shard_foreign` agree with the map.
async fn own(connection: &mut PgConnection, shard: ShardId, map: &ShardMap) -> Result<(), Error> {
    let mut wanted = Pieces::new();
    for (space, _) in map.spaces() {
        let owned = map.pieces(space).filter(|info| info.shard == shard);
        wanted.extend(owned.map(|info| ((space, info.piece), info)));
    }
    let owned = read_pieces(connection, "shard_owned", "version").await?;
    // By version and bounds: a range that was split keeps its number.
    let outdated = without(&owned, &wanted, |one, other| one.version == other.version && one.range == other.range);
    // In the order in which writes enter them. Who has entered one is waited for, and who comes then finds the new version.
    for (space, piece) in outdated.keys() {
        let wait = sqlx::query("SELECT pg_advisory_xact_lock(19799 + $1::int, $2)");
        wait.bind(i32::from(*space)).bind(*piece).execute(&mut *connection).await?;
    }
    let lost = outdated.iter().filter(|&(key, _)| !wanted.contains_key(key));
    let lost: Pieces = lost.map(|(key, info)| (*key, info.clone())).collect();
    let missing = without(&wanted, &owned, |one, other| one.version == other.version && one.range == other.range);
    delete(connection, "shard_owned", &outdated).await?;
    insert(connection, "shard_owned", true, &missing).await?;

    let old = read_pieces(connection, "shard_foreign", "NULL::bigint").await?;
    let mut foreign = Pieces::new();
    for (key, info) in old.iter().chain(&lost) {
        foreign.extend(still_foreign(map, shard, *key, info));
    }
    let gone = without(&old, &foreign, |one, other| one.range == other.range);
    let new = without(&foreign, &old, |one, other| one.range == other.range);
    delete(connection, "shard_foreign", &gone).await?;
    insert(connection, "shard_foreign", false, &new).await
}

/// Those of `pieces` that aren't the same among `others`.
fn without(pieces: &Pieces, others: &Pieces, is_same: impl Fn(&PieceInfo, &PieceInfo) -> bool) -> Pieces {
    let differs = |key: &(i16, i32), info: &PieceInfo| others.get(key).is_none_or(|other| !is_same(info, other));
    let differing = pieces.iter().filter(|&(key, info)| differs(key, info));
    differing.map(|(key, info)| (*key, info.clone())).collect()
}

/// What of a foreign piece the shard doesn't own by the map, in the pieces of the map: a range may have been split, and a part of
/// it have come here.
fn still_foreign(map: &ShardMap, shard: ShardId, (space, piece): (i16, i32), info: &PieceInfo) -> Pieces {
    let is_within = |part: &PieceInfo| match (&part.range, &info.range) {
        (PieceRange::Slot(_), PieceRange::Slot(_)) => part.piece == piece,
        (PieceRange::Keys { low, high }, PieceRange::Keys { low: first, high: end }) => {
            let begins_before_the_end = end.as_ref().is_none_or(|end| low < end);
            let ends_behind_the_first = high.as_ref().is_none_or(|high| first < high);
            begins_before_the_end && ends_behind_the_first
        }
        _ => false,
    };
    let foreign = map.pieces(space).filter(|part| part.shard != shard && is_within(part));
    foreign.map(|part| ((space, part.piece), part)).collect()
}

/// The rows of one of the tables. `table` and `version` are texts of this file.
async fn read_pieces(connection: &mut PgConnection, table: &str, version: &str) -> Result<Pieces, Error> {
    let sql = format!("SELECT space, piece, {version}, slot, low, high FROM {table} ORDER BY space, piece");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
    let mut pieces = Pieces::new();
    for row in rows {
        let (space, piece): (i16, i32) = (row.try_get(0)?, row.try_get(1)?);
        let version: Option<i64> = row.try_get(2)?;
        let slot = row.try_get::<Option<i32>, _>(3)?.and_then(|slot| u16::try_from(slot).ok());
        let range = match (slot, row.try_get::<Option<String>, _>(4)?) {
            (Some(slot), _) => PieceRange::Slot(slot),
            (None, Some(low)) => PieceRange::Keys { low, high: row.try_get(5)? },
            (None, None) => {
                return Err(Error::Shards(format!(
                    "the row of piece {piece} of space {space} in {table} names no keys"
                )));
            }
        };
        pieces.insert((space, piece), PieceInfo { piece, version: version.unwrap_or_default(), shard: 0, range });
    }
    Ok(pieces)
}

async fn delete(connection: &mut PgConnection, table: &str, pieces: &Pieces) -> Result<(), Error> {
    if pieces.is_empty() {
        return Ok(());
    }
    let (spaces, numbers): (Vec<i16>, Vec<i32>) = pieces.keys().copied().unzip();
    let sql = format!("DELETE FROM {table} WHERE (space, piece) IN (SELECT * FROM UNNEST($1::smallint[], $2::int[]))");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(spaces).bind(numbers).execute(connection).await?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, table: &str, versions: bool, pieces: &Pieces) -> Result<(), Error> {
    if pieces.is_empty() {
        return Ok(());
    }
    let (spaces, numbers): (Vec<i16>, Vec<i32>) = pieces.keys().copied().unzip();
    let mut slots: Vec<Option<i32>> = Vec::new();
    let mut lows: Vec<Option<String>> = Vec::new();
    let mut highs: Vec<Option<String>> = Vec::new();
    for info in pieces.values() {
        let (slot, low, high) = match &info.range {
            PieceRange::Slot(slot) => (Some(i32::from(*slot)), None, None),
            PieceRange::Keys { low, high } => (None, Some(low.clone()), high.clone()),
        };
        slots.push(slot);
        lows.push(low);
        highs.push(high);
    }
    let (column, parameter) = if versions { (", version", ", $6::bigint[]") } else { ("", "") };
    let sql = format!(
        "INSERT INTO {table} (space, piece, slot, low, high{column}) \
         SELECT * FROM UNNEST($1::smallint[], $2::int[], $3::int[], $4::text[], $5::text[]{parameter})"
    );
    let insert = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(spaces).bind(numbers).bind(slots).bind(lows).bind(highs);
    let versions = versions.then(|| pieces.values().map(|info| info.version).collect::<Vec<i64>>());
    let insert = match versions {
        Some(versions) => insert.bind(versions),
        None => insert,
    };
    insert.execute(connection).await?;
    Ok(())
}
