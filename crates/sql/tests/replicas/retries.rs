//! What fails on a replica is done again elsewhere.

use std::sync::{Arc, Mutex};

use meshwork_sql::{Error, Freshness, Kind, Observer, WorkError};

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
