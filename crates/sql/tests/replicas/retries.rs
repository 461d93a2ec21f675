//! What fails on a replica is done again elsewhere.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork_sql::{Error, Freshness, Kind, Observer, WorkError};
use meshwork_testkit::FaultProxy;

use crate::worlds::{World, eventually, port, selected};

/// Notes where reads begin: whether at a replica, and whether again.
#[derive(Default)]
struct Notes(Mutex<Vec<(String, bool, bool)>>);

impl Observer for Notes {
    fn read(&self, server: &str, replica: bool, again: bool) {
        self.0.lock().unwrap().push((server.to_owned(), replica, again));
    }
}

/// A read's own error.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("cancelled for the replay")]
    Conflict,
    #[error("of another's")]
    NotFound,
    #[error(transparent)]
    Store(#[from] Error),
}

impl WorkError for Refusal {
    fn is_conflict(&self) -> bool {
        self.kind() == Some(Kind::Conflict)
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Refusal::Conflict => Some(Kind::Conflict),
            Refusal::NotFound => None,
            Refusal::Store(error) => Some(error.kind()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_read_that_two_replicas_cancel_is_answered_by_the_primary() {
    let mut world = World::new(2, false);
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    let answered = db.read(Freshness::Bounded, (), |connection, ()| {
        Box::pin(async move {
            let sql = "SELECT pg_is_in_recovery(), inet_server_port()";
            let (standby, port): (bool, i32) = sqlx::query_as(sql).fetch_one(connection).await.map_err(Error::from)?;
            if standby { Err(Refusal::Conflict) } else { Ok(port) }
        })
    });
    assert_eq!(answered.await.unwrap(), world.primary_port());
    let told = notes.0.lock().unwrap().clone();
    let kinds: Vec<_> = told.iter().map(|(_, replica, again)| (*replica, *again)).collect();
    assert_eq!(kinds, [(true, false), (true, true), (false, true)], "{told:?}");
    assert!(told[0].0 != told[1].0 && told[2].0 == format!("127.0.0.1:{}", world.primary_port()), "{told:?}");
    // The replicas did what they should.
    assert_eq!(selected(&db), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_the_work_itself_refuses_is_not_done_again() {
    let mut world = World::new(1, false);
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    let refused = db.read(Freshness::Bounded, (), |connection, ()| {
        Box::pin(async move {
            sqlx::query("SELECT 1").execute(connection).await.map_err(Error::from)?;
            Err::<(), _>(Refusal::NotFound)
        })
    });
    assert!(matches!(refused.await.unwrap_err(), Refusal::NotFound));
    assert_eq!(notes.0.lock().unwrap().len(), 1);
    assert_eq!(selected(&db), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_a_replica_lacks_is_asked_of_the_primary() {
    let mut world = World::new(1, false);
    let notes = Arc::new(Notes::default());
    world.options.observer = Some(notes.clone());
    let db = world.open().await;
    let damaged = db.read(Freshness::Bounded, (), |connection, ()| {
        Box::pin(async move {
            // A replica that hasn't replayed a migration yet has no such table; and here the primary hasn't either.
            sqlx::query("SELECT nothing FROM nowhere").execute(connection).await?;
            Ok::<_, Error>(())
        })
    });
    assert_eq!(damaged.await.unwrap_err().kind(), Kind::Damaged);
    let asked: Vec<_> = notes.0.lock().unwrap().iter().map(|(_, replica, again)| (*replica, *again)).collect();
    assert_eq!(asked, [(true, false), (false, true)]);
    assert_eq!(selected(&db), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_what_a_replica_fails_without_refusing_a_write_costs_the_primary_no_connection() {
    let mut world = World::new(1, false);
    world.options.max_connections = 1;
    let db = world.open().await;
    let session = async |freshness: Freshness, misplaced: bool| {
        let answered = db.read(freshness, misplaced, |connection, misplaced| {
            Box::pin(async move {
                let sql = "SELECT pg_is_in_recovery(), pg_backend_pid()";
                let (standby, session): (bool, i32) = sqlx::query_as(sql).fetch_one(connection).await?;
                match (standby, *misplaced) {
                    (false, _) => Ok(session),
                    // A replica that has not replayed the newest map.
                    (true, true) => Err(Error::StaleMap("planted".to_owned())),
                    (true, false) => Err(Error::Database(sqlx::Error::PoolTimedOut)),
                }
            })
        });
        answered.await.unwrap()
    };
    let conflicting = async || {
        let answered = db.read(Freshness::Bounded, (), |connection, ()| {
            Box::pin(async move {
                let sql = "SELECT pg_is_in_recovery(), pg_backend_pid()";
                let (standby, session): (bool, i32) =
                    sqlx::query_as(sql).fetch_one(connection).await.map_err(Error::from)?;
                if standby { Err(Refusal::Conflict) } else { Ok(session) }
            })
        });
        answered.await.unwrap()
    };
    let first = session(Freshness::Latest, false).await;
    for _ in 0..5 {
        assert_eq!(session(Freshness::Bounded, true).await, first);
        assert_eq!(session(Freshness::Bounded, false).await, first);
        assert_eq!(conflicting().await, first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_to_which_connecting_takes_too_long_is_judged_by_its_answers() {
    let mut world = World::new(1, false);
    let real = world.replica_port(0);
    let proxy = FaultProxy::start((Ipv4Addr::LOCALHOST, u16::try_from(real).unwrap()).into()).await;
    let url = world.options.replicas[0].replace(&format!(":{real}/"), &format!(":{}/", proxy.addr().port()));
    world.options.replicas = vec![url];
    let db = world.open().await;
    // A question is answered within a second, and a connection, which takes several rounds, isn't made within half a second.
    proxy.latency(Duration::from_millis(100), Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(port(&db, Freshness::Bounded).await, world.primary_port());
        assert_eq!(selected(&db), 1, "{:?}", db.replicas());
    }
    proxy.latency(Duration::ZERO, Duration::ZERO);
    eventually("reads on the replica", async || port(&db, Freshness::Bounded).await == real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_session_that_a_replica_ends_fails_no_read() {
    let world = World::new(1, false);
    let db = world.open().await;
    assert_eq!(port(&db, Freshness::Bounded).await, world.replica_port(0));
    let answered = db.read(Freshness::Bounded, (), |connection, ()| {
        Box::pin(async move {
            let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_terminate_backend(pg_backend_pid()) ELSE false END";
            sqlx::query(sql).execute(&mut *connection).await?;
            let port: i32 = sqlx::query_scalar("SELECT inet_server_port()").fetch_one(connection).await?;
            Ok::<_, Error>(port)
        })
    });
    assert_eq!(answered.await.unwrap(), world.primary_port());
    eventually("reads on the replica again", async || {
        selected(&db) == 1 && port(&db, Freshness::Bounded).await == world.replica_port(0)
    })
    .await;
}
