//! The first map, and who comes when.

use std::sync::Arc;
use std::time::Duration;

use meshwork_sql::shards::{GatherError, ShardTimes, Shards, SpaceSpec, Strategy};
use meshwork_sql::{Error, Kind, Migrations, Postgres};
use meshwork_testkit::Postgres as TestServer;

use crate::worlds::{
    ALL, KEYS, OTHERS, World, count, eventually, execute, hand_over, hash, install, keys, options, put, range, stored,
};

/// The sentence by which the shards are refused.
async fn refusal(world: &World) -> String {
    match world.try_open().await.unwrap_err() {
        error @ Error::Shards(_) => {
            assert_eq!(error.kind(), Kind::Damaged);
            error.to_string()
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn sh_four_that_start_at_once_make_one_map() {
    for strategy in [hash(), range()] {
        let world = World::new(strategy, 3);
        let other = world.backwards();
        let (a, b, c, d) = tokio::join!(world.try_open(), other.try_open(), world.try_open(), other.try_open());
        let opened = [a, b, c, d].map(Result::unwrap);
        let map = opened[0].map();
        for shards in &opened {
            assert_eq!(shards.map(), map);
        }
        for shard in opened[0].shards() {
            eventually("the map", async || stored(shard).await.is_some_and(|stored| stored == *map)).await;
        }
        assert!(map.pieces(KEYS).chain(map.pieces(OTHERS)).all(|info| info.version == 1), "{map:?}");
    }
}

#[tokio::test]
async fn a_first_map_that_was_cut_off_is_finished() {
    let world = World::new(hash(), 3);
    let first = world.open().await;
    // Nobody knew yet that the others had one.
    execute(&first.shards()[0], "DELETE FROM shard_installed").await;
    for shard in &first.shards()[1..] {
        for table in ["shard_map", "shard_owned", "shard_installed"] {
            execute(shard, &format!("DELETE FROM {table}")).await;
        }
    }
    let again = world.open().await;
    assert_eq!(again.map(), first.map());
    for key in keys() {
        put(&again, &key).await.unwrap();
    }
}

#[tokio::test]
async fn sh_one_that_is_down_stops_nobody_else_and_comes_back_with_the_newest_map() {
    let mut server = TestServer::private();
    let mut world = World::new(hash(), 2);
    world.options.push(options(2, server.database()));
    drop(world.open().await);
    server.kill();

    let shards =
        world.open_with(ShardTimes { refresh: Duration::from_millis(500), ..ShardTimes::default() }).await.unwrap();
    let (mut served, mut refused) = (0, Vec::new());
    for key in keys() {
        match put(&shards, &key).await {
            Ok(id) => {
                assert_ne!(id, 2);
                served += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                assert_eq!(shards.map().locate(KEYS, &key).unwrap().shard, 2);
                refused.push(key);
            }
        }
    }
    assert!(served > 0 && !refused.is_empty());
    assert!(!shards.shard(2).unwrap().is_reached() && shards.shard(0).unwrap().is_reached());
    // Something moves meanwhile between the others.
    let moved = keys().into_iter().find(|key| shards.map().locate(KEYS, key).unwrap().shard == 0).unwrap();
    hand_over(&shards, &moved, 1).await;
    assert_eq!(put(&shards, &moved).await.unwrap(), 1);

    server.restart();
    eventually("the shard", async || put(&shards, &refused[0]).await.is_ok()).await;
    let back = shards.shard(2).unwrap();
    eventually("the newest map", async || stored(back).await.is_some_and(|map| map == *shards.map())).await;
    assert_eq!(count(back, &refused[0]).await, 1);
}

#[tokio::test]
async fn sh_a_shard_that_dies_under_us_stops_nobody_else() {
    let mut server = TestServer::private();
    let mut world = World::new(hash(), 1);
    world.options.push(options(1, server.database()));
    let shards = world.open().await;
    let of = |id: u16| keys().into_iter().find(|key| shards.map().locate(KEYS, key).unwrap().shard == id).unwrap();
    let (ours, theirs) = (of(0), of(1));
    put(&shards, &theirs).await.unwrap();
    server.kill();
    assert_eq!(put(&shards, &theirs).await.unwrap_err().kind(), Kind::Unavailable);
    put(&shards, &ours).await.unwrap();
    shards.refresh().await.unwrap();
    server.restart();
    eventually("the shard", async || put(&shards, &theirs).await.is_ok()).await;
}

#[tokio::test]
async fn the_first_map_needs_all() {
    let mut server = TestServer::private();
    let mut world = World::new(hash(), 1);
    world.options.push(options(1, server.database()));
    server.kill();
    let refused = world.try_open().await.unwrap_err();
    assert!(matches!(refused, Error::Unreached(_)) && refused.to_string().contains("shard-1"), "{refused}");
    assert_eq!(refused.kind(), Kind::Unavailable);
    server.restart();
    world.try_open().await.unwrap();
}

#[tokio::test]
async fn sh_another_database_behind_a_name_is_refused() {
    let mut world = World::new(hash(), 2);
    drop(world.open().await);
    let [one, other] = [0, 1].map(|at| world.options[at].postgres.clone());
    world.options[0].postgres = other;
    world.options[1].postgres = one;
    let says = refusal(&world).await;
    assert!(says.contains("\"shard-0\"") && says.contains("\"shard-1\""), "{says}");
}

#[tokio::test]
async fn sh_a_database_of_another_group_is_refused_at_the_start() {
    let (mut ours, theirs) = (World::new(hash(), 2), World::new(hash(), 2));
    let map = ours.open().await.map();
    let others = theirs.open().await;
    for at in [0, 1] {
        let right = std::mem::replace(&mut ours.options[at].postgres, theirs.options[at].postgres.clone());
        let says = refusal(&ours).await;
        assert!(says.contains("\"shard-0\"") && says.contains("\"shard-1\""), "{says}");
        assert!(says.contains("another group of databases") && says.contains("URL"), "{says}");
        ours.options[at].postgres = right;
    }
    for shard in others.shards() {
        assert_eq!(stored(shard).await.unwrap(), *others.map(), "it was written to");
    }
    assert_eq!(ours.open().await.map(), map);
}

#[tokio::test]
async fn sh_a_database_of_another_group_is_refused_when_it_comes_later() {
    let mut server = TestServer::private();
    let (mut ours, mut theirs) = (World::new(hash(), 1), World::new(hash(), 1));
    ours.options.push(options(1, server.database()));
    theirs.options.push(options(1, server.database()));
    let map = ours.open().await.map();
    let their_map = theirs.open().await.map();
    let key = keys().into_iter().find(|key| map.locate(KEYS, key).unwrap().shard == 1).unwrap();
    ours.options[1].postgres = theirs.options[1].postgres.clone();
    server.kill();
    let times = ShardTimes { refresh: Duration::from_millis(500), ..ShardTimes::default() };
    let shards = ours.open_with(times).await.unwrap();
    server.restart();
    eventually("the refusal", async || {
        let refused = put(&shards, &key).await.unwrap_err();
        refused.to_string().contains("another group of databases")
    })
    .await;
    let answers =
        shards.gather(Duration::from_secs(10), |shard| Box::pin(async move { Ok::<_, Error>(shard.id) })).await;
    assert!(answers[0].2.is_ok() && matches!(answers[1].2, Err(GatherError::Unreachable)), "it is read from");
    let wrong = shards.shard(1).unwrap();
    assert_eq!(stored(wrong).await.unwrap(), *their_map, "it was written to");
    assert_eq!(count(wrong, &key).await, 0);
    assert_eq!(shards.map(), map);
}

#[tokio::test]
async fn sh_a_shard_whose_map_disagrees_is_refused_until_it_is_put_back() {
    let world = World::new(hash(), 3);
    let shards = world.open().await;
    let map = shards.map();
    let [first, _, third] = [0, 1, 2].map(|id| shards.shard(id).unwrap().clone());
    for table in ["shard_map", "shard_owned", "shard_foreign"] {
        execute(&third, &format!("CREATE TABLE old_{table} AS TABLE {table}")).await;
    }
    let theirs = keys().into_iter().find(|key| map.locate(KEYS, key).unwrap().shard == 2).unwrap();
    // Two pieces have gone to the second by what their owner says, and to the third by what that says.
    let pieces: Vec<i32> = map.pieces(KEYS).filter(|info| info.shard == 0).map(|info| info.piece).take(2).collect();
    let given = |to: u16| pieces.iter().fold((*map).clone(), |map, piece| map.with_owner(KEYS, *piece, to).unwrap());
    install(&first, &given(1)).await;
    install(&third, &given(2)).await;
    shards.refresh().await.unwrap();
    assert_eq!(*shards.map(), given(1));
    let refused = put(&shards, &theirs).await.unwrap_err();
    assert!(matches!(refused, Error::Shards(_)) && refused.to_string().contains("in 2 places"), "{refused}");
    assert_eq!(stored(&third).await.unwrap(), given(2), "nothing is brought to it");
    let says = refusal(&world).await;
    assert!(says.contains("\"shard-2\"") && says.contains("older copy"), "{says}");
    for table in ["shard_map", "shard_owned", "shard_foreign"] {
        execute(&third, &format!("DELETE FROM {table}")).await;
        execute(&third, &format!("INSERT INTO {table} SELECT * FROM old_{table}")).await;
    }
    shards.refresh().await.unwrap();
    assert_eq!(put(&shards, &theirs).await.unwrap(), 2);
    assert_eq!(stored(&third).await.unwrap(), *shards.map());
}

#[tokio::test]
async fn a_shard_keeps_its_name_and_a_space_its_strategy() {
    let mut world = World::new(hash(), 2);
    drop(world.open().await);
    world.options[1].name = "renamed".to_owned();
    let says = refusal(&world).await;
    assert!(says.contains("\"renamed\"") && says.contains("\"shard-1\""), "{says}");
    world.options[1].name = "shard-1".to_owned();
    world.spaces[0].strategy = range();
    let says = refusal(&world).await;
    assert!(says.contains("by hash in the databases"), "{says}");
    world.spaces[0].strategy = hash();
    world.try_open().await.unwrap();
}

#[tokio::test]
async fn sh_an_owner_that_is_not_configured_is_refused() {
    let mut world = World::new(hash(), 3);
    drop(world.open().await);
    let left_out = world.options.pop().unwrap();
    let says = refusal(&world).await;
    assert!(says.contains("\"shard-2\"") && says.contains("add it to the configuration"), "{says}");
    world.options.push(left_out);
    world.try_open().await.unwrap();
}

#[tokio::test]
async fn sh_a_new_shard_owns_nothing_until_it_is_given_something() {
    let mut world = World::new(hash(), 3);
    let third = world.options.pop().unwrap();
    let old = world.open().await;
    world.options.push(third.clone());
    let new = world.open().await;
    assert_eq!(new.map().shards().len(), 3);
    assert!(new.map().pieces(KEYS).all(|info| info.shard != 2));
    // Who doesn't know it yet goes on, until it owns something.
    world.options.pop();
    drop(world.open().await);
    let key = "key-05";
    hand_over(&new, key, 2).await;
    assert_eq!(put(&new, key).await.unwrap(), 2);
    let unknown = put(&old, key).await.unwrap_err();
    assert!(matches!(unknown, Error::Unconfigured(_)), "{unknown}");
    assert_eq!(unknown.kind(), Kind::Unavailable);
    assert!(unknown.to_string().contains("\"shard-2\"") && unknown.to_string().contains("add it to the configuration"));
    // Lists name it.
    let answers = old.gather(Duration::from_secs(10), |shard| Box::pin(async move { Ok::<_, Error>(shard.id) })).await;
    let names: Vec<_> = answers.iter().map(|(id, name, answer)| (*id, name.as_str(), answer.is_ok())).collect();
    assert_eq!(names, [(0, "shard-0", true), (1, "shard-1", true), (2, "shard-2", false)]);
    assert!(matches!(answers[2].2, Err(GatherError::Unreachable)));
    let other = keys().into_iter().find(|key| new.map().locate(KEYS, key).unwrap().shard != 2).unwrap();
    put(&old, &other).await.unwrap();
}

#[tokio::test]
async fn a_new_space_is_made_as_the_first_ones_were() {
    let mut world = World::new(hash(), 2);
    let old = world.open().await;
    hand_over(&old, "key-05", 1 - old.locate(KEYS, "key-05").unwrap().0.id).await;
    world.spaces.push(SpaceSpec { id: 5, name: "new", strategy: Strategy::Hash });
    let (one, other) = tokio::join!(world.open(), world.open());
    assert_eq!(one.map(), other.map());
    assert_eq!(one.map().pieces(5).count(), 1024);
    assert_eq!(one.map().locate(KEYS, "key-05").unwrap().place.version, 2, "what was there stays");
    for shard in one.shards() {
        assert_eq!(stored(shard).await.unwrap(), *one.map());
    }
    // A release that doesn't know the space goes on.
    old.refresh().await.unwrap();
    put(&old, "key-05").await.unwrap();
}

#[tokio::test]
async fn a_database_that_has_lost_its_map_is_not_taken_for_a_new_one() {
    let world = World::new(hash(), 2);
    let shards = world.open().await;
    let (shard, _) = shards.locate(KEYS, "key-05").unwrap();
    execute(&shard, "DELETE FROM shard_map").await;
    execute(&shard, "DELETE FROM shard_owned").await;
    for _ in 0..2 {
        shards.refresh().await.unwrap();
        let refused = put(&shards, "key-05").await.unwrap_err();
        assert!(matches!(refused, Error::Shards(_)) && refused.to_string().contains("lost its map"), "{refused}");
    }
    assert_eq!(stored(&shard).await, None);
}

#[tokio::test]
async fn an_empty_database_in_the_place_of_one_that_was_given_something_is_refused() {
    let mut world = World::new(hash(), 2);
    let shards = world.open().await;
    let to = 1 - shards.locate(KEYS, "key-05").unwrap().0.id;
    hand_over(&shards, "key-05", to).await;
    let empty = World::new(hash(), 1).options.remove(0).postgres;
    let right = std::mem::replace(&mut world.options[usize::from(to)].postgres, empty);
    let says = refusal(&world).await;
    assert!(says.contains(&format!("\"shard-{to}\"")) && says.contains("lost its map"), "{says}");
    world.options[usize::from(to)].postgres = right;
    world.try_open().await.unwrap();
}

#[tokio::test]
async fn an_empty_database_in_the_place_of_a_first_owner_is_refused_at_the_start() {
    let mut world = World::new(hash(), 2);
    let map = world.open().await.map();
    assert!(map.pieces(KEYS).all(|info| info.version == 1));
    for at in [0, 1] {
        let empty = World::new(hash(), 1).options.remove(0).postgres;
        let right = std::mem::replace(&mut world.options[at].postgres, empty);
        for _ in 0..2 {
            let says = refusal(&world).await;
            assert!(says.contains(&format!("\"shard-{at}\"")) && says.contains("lost its map"), "{says}");
        }
        world.options[at].postgres = right;
    }
    assert_eq!(world.open().await.map(), map);
}

#[tokio::test]
async fn an_empty_database_in_the_place_of_a_first_owner_is_refused_when_it_comes_later() {
    let mut server = TestServer::private();
    let mut world = World::new(hash(), 1);
    world.options.push(options(1, server.database()));
    let first = world.open().await;
    for table in ["shard_map", "shard_owned", "shard_installed"] {
        execute(&first.shards()[1], &format!("DELETE FROM {table}")).await;
    }
    let theirs = keys().into_iter().find(|key| first.map().locate(KEYS, key).unwrap().shard == 1).unwrap();
    drop(first);
    server.kill();
    // It is away at the start, so that nothing is known of it here.
    let times = ShardTimes { refresh: Duration::from_millis(500), ..ShardTimes::default() };
    let shards = world.open_with(times).await.unwrap();
    server.restart();
    eventually("the refusal", async || {
        let refused = put(&shards, &theirs).await.unwrap_err();
        refused.to_string().contains("lost its map")
    })
    .await;
    assert_eq!(stored(shards.shard(1).unwrap()).await, None, "it was taken for a new one");
}

#[tokio::test]
async fn the_tables_are_made_without_opening() {
    let world = World::new(hash(), 2);
    let applied = Shards::<()>::migrate(&world.options, *ALL, &world.spaces).await.unwrap();
    assert_eq!(applied.iter().map(|it| it.component).collect::<Vec<_>>(), ["shards", "notes", "shards", "notes"]);
    let opened = world.open().await;
    assert_eq!(opened.map().epoch(), 2048);
    let without: &[meshwork_sql::Component] = &[];
    let refused = Shards::<()>::open(&world.options, without, &world.spaces, |_, _| ()).await.unwrap_err();
    assert!(refused.to_string().contains("COMPONENT"), "{refused}");
}

#[tokio::test]
async fn who_waits_makes_neither_tables_nor_a_map_and_goes_on_once_both_are_there() {
    let mut world = World::new(hash(), 2);
    for shard in &mut world.options {
        shard.postgres.migrations = Migrations::Wait;
    }
    let pending = async |world: &World| match world.try_open().await {
        Err(Error::Pending(what)) => what,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    };
    let what = pending(&world).await;
    assert!(what.contains("the tables of shards"), "{what}");
    for shard in &world.options {
        Postgres::migrate(&shard.postgres, *ALL).await.unwrap();
    }
    let what = pending(&world).await;
    assert!(what.contains("no map"), "{what}");
    // It applies, whatever the options say of opening.
    Shards::<()>::migrate(&world.options, *ALL, &world.spaces).await.unwrap();
    assert_eq!(world.try_open().await.unwrap().map().epoch(), 2048);
    // A space of keys that a newer release has is another's to make, too.
    world.spaces.push(SpaceSpec { id: 7, name: "more", strategy: hash() });
    let what = pending(&world).await;
    assert!(what.contains("space"), "{what}");
    Shards::<()>::migrate(&world.options, *ALL, &world.spaces).await.unwrap();
    world.try_open().await.unwrap();
}

#[tokio::test]
async fn sh_one_that_is_down_stops_nobody_who_waits_once_there_is_a_map() {
    let mut server = TestServer::private();
    let mut world = World::new(hash(), 1);
    world.options.push(options(1, server.database()));
    for shard in &mut world.options {
        shard.postgres.migrations = Migrations::Wait;
    }
    Postgres::migrate(&world.options[0].postgres, *ALL).await.unwrap();
    // There is no map yet; why is what the one says that is away.
    server.kill();
    let refused = world.try_open().await.unwrap_err();
    assert!(refused.kind() == Kind::Unavailable && !matches!(refused, Error::Pending(_)), "{refused}");
    server.restart();
    Shards::<()>::migrate(&world.options, *ALL, &world.spaces).await.unwrap();
    server.kill();
    let times = ShardTimes { refresh: Duration::from_millis(500), ..ShardTimes::default() };
    let shards = world.open_with(times).await.unwrap();
    let of = |id: u16| keys().into_iter().find(|key| shards.map().locate(KEYS, key).unwrap().shard == id).unwrap();
    assert_eq!(put(&shards, &of(0)).await.unwrap(), 0);
    assert_eq!(put(&shards, &of(1)).await.unwrap_err().kind(), Kind::Unavailable);
    server.restart();
    eventually("the shard", async || put(&shards, &of(1)).await.is_ok()).await;
    // Tables that a shard in reach lacks are waited for, whoever else has them.
    let shard = shards.shard(1).unwrap();
    execute(shard, "DROP TABLE note").await;
    execute(shard, "DROP TABLE _migrations_notes").await;
    assert!(matches!(world.try_open().await.unwrap_err(), Error::Pending(_)));
}

#[tokio::test]
async fn maps_are_read_again_until_nobody_uses_them() {
    let world = World::new(hash(), 2);
    let mover = world.open().await;
    let looks =
        world.open_with(ShardTimes { refresh: Duration::from_millis(50), ..ShardTimes::default() }).await.unwrap();
    let from = mover.locate(KEYS, "key-05").unwrap().0.id;
    hand_over(&mover, "key-05", 1 - from).await;
    eventually("the new map", async || looks.map() == mover.map()).await;
    let shard = looks.shards()[0].clone();
    drop(looks);
    eventually("the end of the reading", async || Arc::strong_count(&shard) == 1).await;
}
