//! Splits a range, at its owner.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::error::MoveError;
use super::give::install_elsewhere;
use super::journal::unfinished;
use super::owned::{all_owned, lock};
use super::pieces::Parts;
use super::session::{Session, transaction};
use crate::Error;
use crate::shards::{Shard, ShardMap, Shards, store};

/// How long it waits for the writers of the range.
const OPEN: Duration = Duration::from_secs(2);
/// How often it looks for the owner again.
const ATTEMPTS: u32 = 3;

/// How a try ended.
enum Ended {
    /// By this map the range is two.
    Split(ShardMap),
    /// The range isn't there as it was thought to be.
    Stale,
    /// It can't be split so.
    Refused(MoveError),
}

/// Splits the range of a space in which the key `at` lies: the second half begins there. Both stay with the owner, and no row
/// moves; writes to the range wait for a moment.
///
/// # Errors
/// [`MoveError::Refused`] when it can't be split there, [`MoveError::Pending`] while a piece of the space is moved from its owner.
pub async fn split<T: Send + Sync + 'static>(shards: &Shards<T>, space: i16, at: &str) -> Result<(), MoveError> {
    let refused = |error: Error| MoveError::Refused(error.to_string());
    for _ in 0..ATTEMPTS {
        let (shard, place) = shards.locate(space, at).map_err(refused)?;
        let map = shards.map();
        let parts = Parts::of(&map, space, &[place.piece], shard.id).map_err(MoveError::Refused)?;
        let mut session = Session::open(&shard).await?;
        let ended = try_at(&mut session.connection, &shard, &parts, at).await.map_err(MoveError::at(&shard.name))?;
        match ended {
            Ended::Split(map) => {
                install_elsewhere(shards, shard.id, &map).await;
                return Ok(());
            }
            Ended::Stale => shards.refresh().await.map_err(MoveError::at(&shard.name))?,
            Ended::Refused(error) => return Err(error),
        }
    }
    Err(MoveError::Refused("the range has changed its owner again and again; try again later".to_owned()))
}

async fn try_at<T>(connection: &mut PgConnection, shard: &Shard<T>, parts: &Parts, at: &str) -> Result<Ended, Error> {
    let mut transaction = transaction(connection, OPEN).await?;
    lock(&mut transaction, parts).await?;
    if !all_owned(&mut transaction, parts).await? {
        transaction.rollback().await?;
        return Ok(Ended::Stale);
    }
    if let Some(other) = unfinished(&mut transaction).await?.filter(|other| other.parts.overlap(parts)) {
        transaction.rollback().await?;
        return Ok(Ended::Refused(MoveError::Pending(format!(
            "the move {} of this range is not at its end",
            other.id
        ))));
    }
    let Some(stored) = store::read(&mut transaction).await? else {
        transaction.rollback().await?;
        return Ok(Ended::Stale);
    };
    let map = match stored.map.with_split(parts.space, at) {
        Ok(map) => map,
        Err(error) => {
            transaction.rollback().await?;
            return Ok(Ended::Refused(MoveError::Refused(error.to_string())));
        }
    };
    let map = store::install(&mut transaction, shard.id, &shard.name, &map).await?;
    transaction.commit().await?;
    Ok(Ended::Split(map))
}
