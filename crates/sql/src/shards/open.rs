//! Opening the databases, and their first map.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::cluster::{Inner, Shard, Shards, Standing};
use super::map::{MapError, ShardMap, SpaceSpec};
use super::options::{ShardOptions, ShardTimes};
use super::place::ShardId;
use super::refresh::keep_fresh;
use super::store::{self, StoredMap};
use crate::{AppliedMigration, Component, Error, Kind, Migrations, Postgres};

/// A database that was opened, and its map, if it has answered.
struct Member {
    id: ShardId,
    name: String,
    db: Postgres,
    stored: Result<Option<StoredMap>, Error>,
}

impl<T: Send + Sync + 'static> Shards<T> {
    /// Opens the databases and brings their tables to their version; `components` contain [`store::COMPONENT`]. Where no database
    /// has a map, all must be in reach, and the first one is made. Else a shard that is out of reach doesn't stop the start: it is
    /// opened once it is reached. Maps are read again every 5 s, until all clones are gone.
    ///
    /// A configured shard that is new owns nothing yet. One that owns nothing may be left out of the configuration.
    ///
    /// With [`Migrations::Wait`] among the options no table and no first map is made, and nobody looks at the tables of a shard that
    /// is out of reach at the start: whoever makes them has to have reached it.
    ///
    /// # Errors
    /// [`Error::Pending`] when somebody else is to make the tables or the first map; [`Error::Shards`] when a database says that it is
    /// another shard, belongs to another group of databases or contradicts the others, the map names an owner that isn't
    /// configured, or a space has another strategy in it; [`Error::Unreached`] when a first map, or a space of it, can't be made;
    /// when a migration fails.
    pub async fn open(
        options: &[ShardOptions],
        components: &'static [Component],
        spaces: &[SpaceSpec],
        part: impl Fn(ShardId, Postgres) -> T,
    ) -> Result<Self, Error> {
        Self::open_with(options, components, spaces, part, ShardTimes::default()).await
    }

    /// As [`Shards::open`], with other times.
    ///
    /// # Errors
    /// As [`Shards::open`].
    pub async fn open_with(
        options: &[ShardOptions],
        components: &'static [Component],
        spaces: &[SpaceSpec],
        part: impl Fn(ShardId, Postgres) -> T,
        times: ShardTimes,
    ) -> Result<Self, Error> {
        let (members, map) = assemble(options, components, spaces, times).await?;
        let shards = members.into_iter().map(|member| {
            let part = part(member.id, member.db.clone());
            Arc::new(Shard::new(member.id, member.name, member.db, part))
        });
        let inner =
            Inner { shards: shards.collect(), map: ArcSwap::from_pointee(map), times, refreshed: Mutex::new(None) };
        let opened = Self { inner: Arc::new(inner) };
        opened.refresh().await?;
        for shard in opened.shards() {
            if let Standing::Refused(sentence) = &**shard.standing.load() {
                return Err(Error::Shards(sentence.clone()));
            }
        }
        opened.check_owners()?;
        tokio::spawn(keep_fresh(Arc::downgrade(&opened.inner)));
        Ok(opened)
    }

    /// Migrates all databases, and makes their first map, without keeping them open, whatever [`Migrations`] the options name.
    /// Returns what was applied: the migrations of each database behind those of the one before, in the order of `options`.
    ///
    /// # Errors
    /// As [`Shards::open`], and when one is out of reach.
    pub async fn migrate(
        options: &[ShardOptions],
        components: &'static [Component],
        spaces: &[SpaceSpec],
    ) -> Result<Vec<AppliedMigration>, Error> {
        let mut options = options.to_vec();
        let mut applied = Vec::new();
        for shard in &mut options {
            shard.postgres.migrations = Migrations::Apply;
            applied.extend(Postgres::migrate(&shard.postgres, components).await?);
        }
        let opened = Shards::<()>::open(&options, components, spaces, |_, _| ()).await?;
        for shard in opened.shards() {
            shard.db.reader().close().await;
        }
        Ok(applied)
    }

    /// Whoever owns keys must be configured.
    fn check_owners(&self) -> Result<(), Error> {
        match self.unconfigured().first() {
            Some(shard) => Err(Error::Shards(format!(
                "the shard {}, {:?}, owns keys and isn't configured here; add it to the configuration",
                shard.id, shard.name
            ))),
            None => Ok(()),
        }
    }
}

/// The databases, sorted by number, and the map that they agree on.
async fn assemble(
    options: &[ShardOptions],
    components: &'static [Component],
    spaces: &[SpaceSpec],
    times: ShardTimes,
) -> Result<(Vec<Member>, ShardMap), Error> {
    if !components.iter().any(|component| component.name == store::COMPONENT.name) {
        return Err(Error::Shards(
            "their tables are missing; add meshwork_sql::shards::COMPONENT to the components".to_owned(),
        ));
    }
    let mut options = options.to_vec();
    // All who open them must agree on the first, which decides who makes the first map.
    options.sort_by_key(|shard| shard.id);
    let names: Vec<_> = options.iter().map(|shard| (shard.id, shard.name.as_str())).collect();
    let seed = ShardMap::seed(&names, spaces).map_err(refused)?;

    let opens = options.iter().cloned().map(move |shard| open_one(shard, components, times));
    let members = join_all(opens.collect::<Vec<_>>()).await.into_iter().collect::<Result<Vec<Member>, Error>>()?;
    let mut known: Option<(&str, ShardMap)> = None;
    for member in &members {
        let stored = match &member.stored {
            Ok(Some(stored)) => stored,
            Err(Error::Shards(sentence)) => return Err(Error::Shards(sentence.clone())),
            Ok(None) | Err(_) => continue,
        };
        store::check_identity(stored, member.id, &member.name)?;
        match known.as_mut() {
            Some((first, known)) => {
                store::check_group(stored, known, &format!("that of the shard {first:?}"))?;
                *known = store::unite(&member.name, known, &stored.map)?;
            }
            None => known = Some((member.name.as_str(), stored.map.clone())),
        }
    }
    let waits = options.iter().any(|shard| shard.postgres.migrations == Migrations::Wait);
    let known = match known.map(|(_, known)| known) {
        Some(known) => known,
        None if waits => return Err(unfounded(members)),
        None => {
            let first = all_reached(&members)?;
            let mut connection = first.db.reader().acquire().await?;
            store::found(&mut connection, first.id, &first.name, &seed).await?
        }
    };
    let mut map = known;
    for shard in &options {
        map = map.with_shard(shard.id, &shard.name).map_err(refused)?;
    }
    let before = map.spaces().count();
    for space in spaces {
        map = map.with_space(space).map_err(refused)?;
    }
    if map.spaces().count() > before {
        if waits {
            return Err(Error::Pending("the map of the shards lacks a space of keys".to_owned()));
        }
        // A space that is new to the databases: as for the first map, the first of them decides.
        let first = all_reached(&members)?;
        let mut connection = first.db.reader().acquire().await?;
        map = store::install(&mut connection, first.id, &first.name, &map).await?;
    }
    if waits {
        members.iter().for_each(tell);
    }
    Ok((members, map))
}

/// Why there is no map, for who waits for one.
fn unfounded(members: Vec<Member>) -> Error {
    let away = members.into_iter().find_map(|member| member.stored.err());
    away.unwrap_or_else(|| Error::Pending("the shards have no map".to_owned()))
}

/// Tells of a database that the start goes on without.
fn tell(member: &Member) {
    if let Err(error) = &member.stored {
        tracing::warn!(shard = member.name, %error, "the map of a shard can't be read at the start");
    }
}

async fn open_one(shard: ShardOptions, components: &'static [Component], times: ShardTimes) -> Result<Member, Error> {
    let waits = shard.postgres.migrations == Migrations::Wait;
    let db = match Postgres::open_when_reached(&shard.postgres, components).await {
        // The others may know the map, and serve without it.
        Err(error) if waits && error.kind() == Kind::Unavailable && !matches!(error, Error::Pending(_)) => {
            let db = Postgres::pooled(&shard.postgres)?;
            return Ok(Member { id: shard.id, name: shard.name, db, stored: Err(error) });
        }
        opened => opened?,
    };
    let read = async {
        let mut connection = db.reader().acquire().await?;
        store::read(&mut connection).await
    };
    // What has had no time for an answer counts as away.
    let stored = match tokio::time::timeout(times.read, read).await {
        Ok(stored) => stored,
        Err(_) => Err(Error::Unreached(shard.name.clone())),
    };
    let member = Member { id: shard.id, name: shard.name, db, stored };
    // Whoever waits comes again and again: it is told once the start goes on.
    if !waits {
        tell(&member);
    }
    Ok(member)
}

/// The first of the databases, if all have answered.
fn all_reached(members: &[Member]) -> Result<&Member, Error> {
    let away: Vec<&str> =
        members.iter().filter(|member| member.stored.is_err()).map(|member| member.name.as_str()).collect();
    if !away.is_empty() {
        return Err(Error::Unreached(away.join(", ")));
    }
    members.first().ok_or_else(|| refused(MapError::Shards("there is none; name at least one".to_owned())))
}

fn refused(error: MapError) -> Error {
    Error::Shards(error.to_string())
}
