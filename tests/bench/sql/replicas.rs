//! Reads a second with none, one and two replicas, and with the token of a write.

use std::time::Duration;

use meshwork_sql::{Error, Freshness, Postgres, PostgresOptions};

use crate::Values;
use crate::accounts::{self, SELECT};
use crate::turns::{self, by_turns, per_second};

/// How many reads each caller does in a round.
const READS: usize = 500;
/// How long replicas may take to be read from.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(values: &mut Values) {
    let cluster = tokio::task::spawn_blocking(|| meshwork_testkit::Postgres::with_replicas(2, false)).await.unwrap();
    let database = cluster.database();
    let alone = accounts::keep(&database).await;
    cluster.wait_for_replay(0);
    cluster.wait_for_replay(1);
    let replicas = cluster.replica_urls(&database);
    let mut servers = vec![alone];
    for count in [1, 2] {
        let options = PostgresOptions { replicas: replicas[..count].to_vec(), ..PostgresOptions::new(&database) };
        let db = Postgres::open(&options, &[accounts::TABLES]).await.unwrap();
        selected(&db, count).await;
        servers.push(db);
    }
    let position = servers[2].position().await.expect("there are replicas");
    cluster.wait_for_replay(0);
    cluster.wait_for_replay(1);
    let ways = [
        (servers[0].clone(), Freshness::Bounded),
        (servers[1].clone(), Freshness::Bounded),
        (servers[2].clone(), Freshness::Bounded),
        (servers[2].clone(), Freshness::AtLeast(position)),
        (servers[2].clone(), Freshness::Latest),
    ];
    let rates = by_turns(ways.len(), async |way| {
        let (db, freshness) = &ways[way];
        per_second(READS, |caller| reads(db.clone(), *freshness, caller)).await
    })
    .await;
    turns::add_rate(values, "reads_without_replicas", &rates[0]);
    turns::add(values, "reads_with_one_replica", "none", &rates[1], &rates[0]);
    turns::add(values, "reads_with_two_replicas", "none", &rates[2], &rates[0]);
    turns::add(values, "reads_with_two_replicas_and_a_token", "none", &rates[3], &rates[0]);
    turns::add(values, "reads_of_the_primary_beside_two_replicas", "none", &rates[4], &rates[0]);
}

/// Waits until so many replicas are read from.
async fn selected(db: &Postgres, count: usize) {
    let all = async {
        while db.replicas().iter().filter(|replica| replica.selected).count() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let selected = tokio::time::timeout(PATIENCE, all).await;
    assert!(selected.is_ok(), "{count} replicas were never read from: {:?}", db.replicas());
}

async fn reads(db: Postgres, freshness: Freshness, caller: usize) {
    let mut random = fastrand::Rng::with_seed(caller as u64);
    for _ in 0..READS {
        let read = db.read(freshness, accounts::any(&mut random), |connection, id| {
            Box::pin(async move {
                Ok::<i64, Error>(sqlx::query_scalar(SELECT).bind(id.as_str()).fetch_one(connection).await?)
            })
        });
        assert_eq!(read.await.unwrap(), 0);
    }
}
