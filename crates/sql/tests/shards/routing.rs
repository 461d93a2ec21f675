//! Calls go to where their keys live, under both strategies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use meshwork_sql::shards::{GatherError, ShardTimes, Strategy, same_marks};
use meshwork_sql::{Error, Kind, dialect};
use sqlx::Row as _;

use crate::worlds::{
    KEYS, World, count, eventually, fence, give, hand_over, install, keys, left_alone, number, other, put, stored,
    write,
};

/// The same tests, by hash and by range.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod by_hash {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::worlds::hash()).await;
            })*
        }
        mod by_range {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::worlds::range()).await;
            })*
        }
    };
}

both!(
    sh_writes_land_where_the_map_says,
    sh_a_stale_map_is_refused_and_renewed,
    sh_what_is_fenced_waits_until_it_is_free,
    sh_what_is_fenced_has_no_maps_read,
    sh_what_stays_fenced_is_given_up,
    sh_a_handover_that_was_cut_off_is_finished_by_who_comes,
    sh_one_owner_at_a_time_while_it_changes_under_load,
    sh_lists_leave_out_what_is_foreign,
);

async fn sh_writes_land_where_the_map_says(strategy: Strategy) {
    let world = World::new(strategy, 3);
    let shards = world.open().await;
    let mut used = std::collections::BTreeSet::new();
    for key in keys() {
        let took = put(&shards, &key).await.unwrap();
        assert_eq!(took, shards.map().locate(KEYS, &key).unwrap().shard, "{key}");
        for shard in shards.shards() {
            assert_eq!(count(shard, &key).await, i64::from(shard.id == took), "{key} in {}", shard.name);
        }
        used.insert(took);
    }
    assert_eq!(used.len(), 3, "the keys are spread over all");
}

async fn sh_a_stale_map_is_refused_and_renewed(strategy: Strategy) {
    let world = World::new(strategy, 2);
    let (mover, caller) = (world.open().await, world.open().await);
    let key = "key-05";
    let (from, stale) = caller.locate(KEYS, key).unwrap();
    let to = other(&mover, from.id);
    hand_over(&mover, key, to.id).await;

    let refused = write(&from, stale, key).await.unwrap_err();
    assert!(matches!(refused, Error::StaleMap(_)), "{refused}");
    assert!(refused.is_misplaced() && refused.kind() == Kind::Unavailable);
    // Neither does the new owner take it for the old one's version.
    assert!(matches!(write(&to, stale, key).await, Err(Error::StaleMap(_))));
    assert_eq!((count(&from, key).await, count(&to, key).await), (0, 0));

    assert_eq!(caller.locate(KEYS, key).unwrap().1, stale, "it has not looked yet");
    assert_eq!(put(&caller, key).await.unwrap(), to.id);
    assert_eq!((count(&from, key).await, count(&to, key).await), (0, 1));
    assert_eq!(caller.map(), mover.map());
}

async fn sh_what_is_fenced_waits_until_it_is_free(strategy: Strategy) {
    let world = World::new(strategy, 2);
    let shards = world.open().await;
    let key = "key-05";
    let (shard, place) = shards.locate(KEYS, key).unwrap();
    fence(&shard, place, 3_600_000_000).await;
    let refused = write(&shard, place, key).await.unwrap_err();
    assert!(matches!(refused, Error::Moving(_)), "{refused}");
    assert!(refused.is_misplaced() && refused.kind() == Kind::Unavailable);

    fence(&shard, place, 500_000).await;
    assert_eq!(put(&shards, key).await.unwrap(), shard.id);
    let early = "SELECT count(*) FROM note n JOIN shard_owned o ON o.fenced_until > \
         CAST(extract(epoch FROM n.at) * 1000000 AS BIGINT)";
    assert_eq!(number(&shard, early).await, 0, "nothing was written while the fence was up");
    assert_eq!(count(&shard, key).await, 1);
}

async fn sh_what_is_fenced_has_no_maps_read(strategy: Strategy) {
    let world = World::new(strategy, 3);
    let (mover, caller) = (world.open().await, world.open().await);
    let key = "key-05";
    let (shard, place) = caller.locate(KEYS, key).unwrap();
    // Something else moves, of which a caller hears who reads the maps.
    let elsewhere = keys().into_iter().find(|key| mover.locate(KEYS, key).unwrap().0.id != shard.id).unwrap();
    let owner = mover.locate(KEYS, &elsewhere).unwrap().0.id;
    hand_over(&mover, &elsewhere, 3 - shard.id - owner).await;
    let before = caller.map();
    assert_ne!(before, mover.map());

    fence(&shard, place, 3_600_000_000).await;
    let tries = Arc::new(AtomicU32::new(0));
    let waiting = tokio::spawn({
        let (caller, tries) = (caller.clone(), tries.clone());
        async move {
            let written = caller.route(KEYS, key, |shard, place| {
                tries.fetch_add(1, Ordering::Relaxed);
                Box::pin(async move { write(&shard, place, key).await })
            });
            written.await
        }
    });
    eventually("some tries", async || tries.load(Ordering::Relaxed) >= 5).await;
    fence(&shard, place, 0).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(caller.map(), before, "the maps were read while the map was not behind");
    // A map that is behind is renewed.
    put(&caller, &elsewhere).await.unwrap();
    assert_eq!(caller.map(), mover.map());
}

async fn sh_what_stays_fenced_is_given_up(strategy: Strategy) {
    let world = World::new(strategy, 2);
    let shards = world.open_with(ShardTimes { route: Duration::from_millis(200), ..left_alone() }).await.unwrap();
    let key = "key-05";
    let (shard, place) = shards.locate(KEYS, key).unwrap();
    fence(&shard, place, 3_600_000_000).await;
    let given_up = put(&shards, key).await.unwrap_err();
    assert!(matches!(given_up, Error::Moving(_)), "{given_up}");
    assert_eq!(count(&shard, key).await, 0);
    // Nothing else waits for it.
    let elsewhere = keys().into_iter().find(|key| shards.locate(KEYS, key).unwrap().1.piece != place.piece).unwrap();
    put(&shards, &elsewhere).await.unwrap();
}

async fn sh_a_handover_that_was_cut_off_is_finished_by_who_comes(strategy: Strategy) {
    let world = World::new(strategy, 3);
    let shards = world.open().await;
    let key = "key-05";
    let (from, before) = shards.locate(KEYS, key).unwrap();
    let to = other(&shards, from.id);
    let map = give(&shards, key, to.id).await;
    let after = map.locate(KEYS, key).unwrap();
    // Nobody owns it now.
    assert!(matches!(write(&from, before, key).await, Err(Error::StaleMap(_))));
    assert!(matches!(write(&to, after.place, key).await, Err(Error::StaleMap(_))));

    assert_eq!(put(&shards, key).await.unwrap(), to.id);
    for shard in shards.shards() {
        assert_eq!(stored(shard).await.unwrap(), map, "{} has the new map", shard.name);
    }
}

async fn sh_one_owner_at_a_time_while_it_changes_under_load(strategy: Strategy) {
    const FLIPS: u32 = 12;
    let world = World::new(strategy, 2);
    let mover = world.open().await;
    let key = "key-05";
    let (written, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = Vec::new();
    for _ in 0..6 {
        let (shards, written, done) = (world.open().await, written.clone(), done.clone());
        callers.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                put(&shards, key).await.unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..FLIPS {
        // Of each caller one write may be done and not counted yet: of ten, some are new.
        let before = written.load(Ordering::Relaxed);
        eventually("some writes", async || written.load(Ordering::Relaxed) >= before + 10).await;
        let owner = mover.locate(KEYS, key).unwrap().0;
        hand_over(&mover, key, other(&mover, owner.id).id).await;
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }

    // Which database took what at which version, and when, by the clock that they share.
    let mut spans: Vec<(i64, i64, i64, u16)> = Vec::new();
    let mut total = 0;
    for shard in mover.shards() {
        let sql = "SELECT version, CAST(extract(epoch FROM min(at)) * 1000000 AS BIGINT), \
             CAST(extract(epoch FROM max(at)) * 1000000 AS BIGINT), count(*) FROM note GROUP BY version";
        for row in sqlx::query(sql).fetch_all(shard.db.reader()).await.unwrap() {
            spans.push((row.get(0), row.get(1), row.get(2), shard.id));
            total += row.get::<i64, _>(3);
        }
    }
    spans.sort_unstable();
    assert_eq!(total, i64::from(written.load(Ordering::Relaxed)), "each write stands once");
    assert!(spans.len() >= usize::try_from(FLIPS).unwrap(), "each owner took some: {spans:?}");
    for pair in spans.windows(2) {
        let ((version, _, last, _), (next, first, _, _)) = (pair[0], pair[1]);
        assert!(version < next, "one database at a version: {spans:?}");
        assert!(last <= first, "version {next} begins when {version} has ended: {spans:?}");
    }
}

async fn sh_lists_leave_out_what_is_foreign(strategy: Strategy) {
    use dialect::postgres::{check_owned, map_mark, not_foreign, owned};

    let world = World::new(strategy, 2);
    let shards = world.open().await;
    for key in keys() {
        put(&shards, &key).await.unwrap();
    }
    let key = "key-05";
    let (from, place) = shards.locate(KEYS, key).unwrap();
    let listed = format!("SELECT count(*) FROM note n WHERE {}", not_foreign("n.slot", "n.key", KEYS));
    let all = number(&from, "SELECT count(*) FROM note").await;
    assert_eq!(number(&from, &listed).await, all);
    let in_piece = keys().iter().filter(|key| shards.locate(KEYS, key).unwrap().1.piece == place.piece).count();

    // Fenced is owned, and read.
    fence(&from, place, 3_600_000_000).await;
    let is_owned = format!("SELECT {}", owned(1));
    let read = async |place: meshwork_sql::Place| {
        let query = sqlx::query(sqlx::AssertSqlSafe(is_owned.clone()));
        let query = query.bind(i64::from(place.space)).bind(i64::from(place.piece)).bind(place.version);
        query.fetch_one(from.db.reader()).await.unwrap().get::<bool, _>(0)
    };
    assert!(read(place).await);
    let mut connection = from.db.reader().acquire().await.unwrap();
    check_owned(&mut connection, place).await.unwrap();
    let mark = map_mark(&mut connection).await.unwrap();
    assert_eq!(mark, shards.map().mark());

    let to = other(&shards, from.id).id;
    hand_over(&shards, key, to).await;
    assert!(!read(place).await);
    assert!(matches!(check_owned(&mut connection, place).await, Err(Error::StaleMap(_))));
    assert_ne!(map_mark(&mut connection).await.unwrap(), mark);
    drop(connection);
    assert_eq!(number(&from, &listed).await, all - i64::try_from(in_piece).unwrap());
    // What comes back is listed again.
    hand_over(&shards, key, from.id).await;
    assert_eq!(number(&from, &listed).await, all);
}

#[tokio::test]
async fn sh_answers_of_two_maps_are_told_apart() {
    let world = World::new(crate::worlds::hash(), 3);
    let shards = world.open().await;
    let marks = async || {
        let answers = shards.gather(Duration::from_secs(10), |shard| {
            Box::pin(async move {
                let mut connection = shard.db.reader().acquire().await?;
                dialect::postgres::map_mark(&mut connection).await
            })
        });
        answers.await.into_iter().map(|(_, _, answer)| answer.unwrap()).collect::<Vec<i64>>()
    };
    assert!(same_marks(marks().await));
    let from = shards.locate(KEYS, "key-05").unwrap().0;
    give(&shards, "key-05", other(&shards, from.id).id).await;
    assert!(!same_marks(marks().await));
    shards.refresh().await.unwrap();
    assert!(same_marks(marks().await));
    assert!(same_marks([]) && same_marks([7]) && !same_marks([7, 7, 8]));
}

#[tokio::test]
async fn sh_who_does_not_answer_is_named_and_holds_up_nobody() {
    let world = World::new(crate::worlds::hash(), 3);
    let shards = world.open().await;
    let answers = shards.gather::<u16, Error>(Duration::from_millis(200), |shard| {
        Box::pin(async move {
            match shard.id {
                0 => std::future::pending().await,
                1 => Err(Error::NotWritten),
                id => Ok(id),
            }
        })
    });
    let answers = answers.await;
    let names: Vec<_> = answers.iter().map(|(id, name, _)| (*id, name.as_str())).collect();
    assert_eq!(names, [(0, "shard-0"), (1, "shard-1"), (2, "shard-2")]);
    assert!(matches!(answers[0].2, Err(GatherError::Unreachable)));
    assert!(matches!(answers[1].2, Err(GatherError::Failed(Error::NotWritten))));
    assert!(matches!(answers[2].2, Ok(2)));
}

#[tokio::test]
async fn sh_a_range_is_split_while_it_is_served() {
    let world = World::new(crate::worlds::range(), 2);
    let (owner, caller) = (world.open().await, world.open().await);
    let (shard, before) = owner.locate(KEYS, "key-05").unwrap();
    put(&caller, "key-05").await.unwrap();
    let map = owner.map().with_split(KEYS, "key-10").unwrap();
    install(&shard, &map).await;
    assert!(matches!(write(&shard, before, "key-05").await, Err(Error::StaleMap(_))));
    for key in ["key-05", "key-10", "key-15"] {
        assert_eq!(put(&caller, key).await.unwrap(), shard.id, "{key}");
    }
    // A half of it moves, and a half of the rows is foreign.
    let to = other(&caller, shard.id).id;
    hand_over(&caller, "key-15", to).await;
    assert_eq!(put(&caller, "key-05").await.unwrap(), shard.id);
    assert_eq!(put(&caller, "key-10").await.unwrap(), to);
    let listed = dialect::postgres::not_foreign("n.slot", "n.key", KEYS);
    let listed = number(&shard, &format!("SELECT count(*) FROM note n WHERE {listed}")).await;
    assert_eq!(listed, 3, "three writes of key-05");
}

#[tokio::test]
async fn one_file_owns_everything() {
    use dialect::sqlite::{check_owned, map_mark, not_foreign, owned};
    use meshwork_sql::{Place, Sqlite};

    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("one.db"), &[]).await.unwrap();
    let sql = format!("SELECT CASE WHEN {} AND {} THEN $4 ELSE 0 END", owned(1), not_foreign("n.slot", "n.key", KEYS));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(3_i64).bind(4_i64).bind(5_i64).bind(77_i64);
    assert_eq!(query.fetch_one(db.reader()).await.unwrap().get::<i64, _>(0), 77);
    let mut connection = db.reader().acquire().await.unwrap();
    check_owned(&mut connection, Place { space: 3, piece: 4, version: 5 }).await.unwrap();
    assert_eq!(map_mark(&mut connection).await.unwrap(), 0);
    let written = db.write_at(&[Place::WHOLE], 7_i64, |_, n| Box::pin(async move { Ok::<_, Error>(*n) }));
    assert_eq!(written.await.unwrap(), 7);
}
