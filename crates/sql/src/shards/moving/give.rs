//! Gives the pieces to the new owner: the old one stops first.

use std::time::Duration;

use sqlx::Transaction;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::error::MoveError;
use super::fence::{Fence, stands};
use super::journal::{Journal, Phase};
use super::owned::lock;
use super::session::transaction;
use crate::shards::{MapError, Shard, ShardId, ShardMap, Shards, store};
use crate::{Error, Kind};

/// How long a statement of the transaction may take in which the pieces are given.
const GIVE: Duration = Duration::from_secs(2);
/// How long it is tried to bring the map to the new owner. Until it is there, nobody owns the pieces; whoever reads the maps of
/// the shards brings it as well.
const INSTALL: Duration = Duration::from_secs(10);
/// How long it is tried to bring it to each of the others.
const OTHERS: Duration = Duration::from_secs(2);
/// The pause between two tries.
const AGAIN: Duration = Duration::from_millis(50);

/// Writes down the new owner, in a transaction of the old one, if the fence has stood until now. The map that it made of it;
/// `None` when the fence has come down.
pub(super) async fn give(
    connection: &mut PgConnection,
    journal: &mut Journal,
    fence: Fence,
) -> Result<Option<ShardMap>, Error> {
    let parts = journal.parts.clone();
    let mut transaction = transaction(connection, GIVE).await?;
    // Held to the commit, they keep writers out even when the fence ends meanwhile.
    lock(&mut transaction, &parts).await?;
    if !stands(&mut transaction, &parts, fence).await? {
        // At once: the move pauses before its next fence, and writers wait for the locks.
        transaction.rollback().await?;
        return Ok(None);
    }
    let Some(stored) = store::read(&mut transaction).await? else {
        transaction.rollback().await?;
        return Err(Error::Shards("the old owner has no shard map any more; put its database back".to_owned()));
    };
    let unusable = |error: MapError| Error::Shards(format!("the new shard map can't be made: {error}"));
    let mut map = stored.map.with_shard(journal.to, &journal.to_name).map_err(unusable)?;
    for part in &parts.parts {
        map = map.with_owner(parts.space, part.piece, journal.to).map_err(unusable)?;
    }
    let map = store::install(&mut transaction, stored.shard, &stored.name, &map).await?;
    let before = std::mem::replace(&mut journal.phase, Phase::Given);
    match commit(transaction, journal).await {
        Ok(()) => Ok(Some(map)),
        Err(error) => {
            journal.phase = before;
            Err(error)
        }
    }
}

async fn commit(mut transaction: Transaction<'_, sqlx::Postgres>, journal: &Journal) -> Result<(), Error> {
    journal.save(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Brings the map to the new owner, and as far as possible to the others.
pub(super) async fn install<T: Send + Sync + 'static>(
    shards: &Shards<T>,
    map: &ShardMap,
    journal: &Journal,
) -> Result<(), MoveError> {
    let Some(to) = shards.shard(journal.to) else {
        return Err(MoveError::Refused(format!(
            "shard {:?} isn't configured any more; add it again, and resume the move",
            journal.to_name
        )));
    };
    let end = Instant::now() + INSTALL;
    loop {
        match tokio::time::timeout(INSTALL, install_at(to, map)).await {
            Ok(Ok(())) => break,
            Ok(Err(error)) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) && Instant::now() < end => {
                tokio::time::sleep(AGAIN).await;
            }
            Ok(Err(error)) => return Err(MoveError::at(&to.name)(error)),
            Err(_) => return Err(MoveError::at(&to.name)(sqlx::Error::PoolTimedOut)),
        }
    }
    fail::fail_point!("moving::installed", |_| Err(MoveError::Stopped));
    install_elsewhere(shards, journal.to, map).await;
    Ok(())
}

/// Brings a map that one shard has to the others, as far as they are in reach; later they get it from whoever reads the maps.
pub(super) async fn install_elsewhere<T: Send + Sync + 'static>(shards: &Shards<T>, has_it: ShardId, map: &ShardMap) {
    // A database that isn't known to be the right one may be an empty one in its place.
    for shard in shards.shards().iter().filter(|shard| shard.id != has_it && shard.check().is_ok()) {
        match tokio::time::timeout(OTHERS, install_at(shard, map)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(shard = shard.name, %error, "a shard has not got the new shard map; it gets it later");
            }
            Err(_) => tracing::warn!(shard = shard.name, "a shard does not answer; it gets the new shard map later"),
        }
    }
    if let Err(error) = shards.refresh().await {
        tracing::warn!(%error, "the shard maps could not be read again; the next write does it");
    }
}

/// Brings a map to a shard, in a transaction of its own.
async fn install_at<T>(shard: &Shard<T>, map: &ShardMap) -> Result<(), Error> {
    let mut transaction = shard.db.reader().begin().await?;
    store::install(&mut transaction, shard.id, &shard.name, map).await?;
    transaction.commit().await?;
    Ok(())
}
