//! Repeatable writes.

use std::sync::Arc;

use meshwork_sql::Error;
use meshwork_sql::replay::{Known, Request};
use sqlx::Row as _;
use tokio::sync::Barrier;

use super::{Connection, Database, PLACES, World, replay};
use crate::tables;

fn request(principal: &str, id: &str, hash: u8) -> Request {
    Request { principal: principal.to_owned(), method: "Add", id: id.to_owned(), hash: [hash; 32] }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done(Vec<u8>),
    Reused,
}

/// Adds a number, the next free one, and answers with it; a request that comes again finds the answer.
async fn add(connection: &mut Connection, request: &Request, meet: Option<&Barrier>) -> Result<Answer, Error> {
    match replay::find(connection, request).await? {
        Known::Answered(answer) => return Ok(Answer::Done(answer)),
        Known::Reused => return Ok(Answer::Reused),
        Known::New => {}
    }
    if let Some(barrier) = meet {
        // Whoever has seen that it is new waits for the other, but not for one that isn't let so far.
        tokio::time::timeout(std::time::Duration::from_millis(100), barrier.wait()).await.ok();
    }
    let sql = "SELECT coalesce(max(n), 0) + 1 FROM numbers";
    let n: i64 = sqlx::query(sql).fetch_one(&mut *connection).await?.try_get(0)?;
    sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(n).execute(&mut *connection).await?;
    let answer = n.to_string().into_bytes();
    replay::store(connection, request, &answer).await?;
    Ok(Answer::Done(answer))
}

async fn send(db: &Database, request: Request) -> Answer {
    db.write(request, |connection, request| Box::pin(add(connection, request, None))).await.unwrap()
}

async fn count(db: &Database, sql: &'static str) -> i64 {
    sqlx::query(sql).fetch_one(db.reader()).await.unwrap().get(0)
}

const NUMBERS: &str = "SELECT count(*) FROM numbers";

async fn open(world: &World) -> Database {
    let components = [tables::ALL.as_slice(), &[replay::COMPONENT]].concat();
    world.open_with(&components).await.unwrap()
}

#[tokio::test]
async fn a_request_that_comes_again_has_one_effect_and_the_same_answer() {
    let world = World::new();
    let db = open(&world).await;
    let first = send(&db, request("anna", "a", 1)).await;
    assert_eq!(first, Answer::Done(b"1".to_vec()));
    assert_eq!(send(&db, request("anna", "a", 1)).await, first);
    assert_eq!(send(&db, request("anna", "a", 2)).await, Answer::Reused);
    assert_eq!(count(&db, NUMBERS).await, 1);
    // Another principal's request, another method's, another id.
    assert_eq!(send(&db, request("bert", "a", 1)).await, Answer::Done(b"2".to_vec()));
    let other = Request { method: "Put", ..request("anna", "a", 9) };
    assert_eq!(send(&db, other).await, Answer::Done(b"3".to_vec()));
    assert_eq!(send(&db, request("anna", "b", 1)).await, Answer::Done(b"4".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_have_one_effect_and_one_answer() {
    let world = World::new();
    let (one, other) = (open(&world).await, open(&world).await);
    let barrier = Arc::new(Barrier::new(2));
    let send = |db: Database| {
        let input = (request("anna", "a", 1), barrier.clone());
        tokio::spawn(async move {
            db.write(input, |connection, (request, barrier)| Box::pin(add(connection, request, Some(barrier)))).await
        })
    };
    let (first, second) = (send(one.clone()), send(other));
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first, second);
    assert_eq!(count(&one, NUMBERS).await, 1);
}

#[tokio::test]
async fn an_answer_with_a_place_is_found_like_one_without() {
    let world = World::new();
    let components = [tables::ALL.as_slice(), &[replay::COMPONENT, replay::PLACED], PLACES].concat();
    let db = world.open_with(&components).await.unwrap();
    let placed = db.write(request("anna", "a", 1), |connection, request| {
        Box::pin(async move { replay::store_placed(connection, request, b"1", 0, 7, "users/anna").await })
    });
    placed.await.unwrap();
    assert_eq!(send(&db, request("anna", "a", 1)).await, Answer::Done(b"1".to_vec()));
    assert_eq!(send(&db, request("anna", "a", 2)).await, Answer::Reused);
    // Whoever knows of no place stores none.
    send(&db, request("bert", "b", 1)).await;
    assert_eq!(count(&db, "SELECT count(*) FROM replay WHERE slot = 7 AND key = 'users/anna'").await, 1);
    assert_eq!(count(&db, "SELECT count(*) FROM replay WHERE slot = 0 AND key = ''").await, 1);
}

#[tokio::test]
async fn answers_past_their_retention_go_with_the_next() {
    let world = World::new();
    let db = open(&world).await;
    for n in 0..20 {
        send(&db, request("anna", &n.to_string(), 1)).await;
    }
    let aged = db.write((), |connection, ()| {
        Box::pin(async move {
            sqlx::query("UPDATE replay SET stored_at = stored_at - 24 * 60 * 60 - 10 WHERE request_id <> '7'")
                .execute(connection)
                .await?;
            Ok::<_, Error>(())
        })
    });
    aged.await.unwrap();
    for id in ["next", "and the next"] {
        send(&db, request("anna", id, 1)).await;
    }
    assert_eq!(count(&db, "SELECT count(*) FROM replay").await, 3);
    // What was forgotten is new; what is young is not.
    assert_eq!(send(&db, request("anna", "7", 1)).await, Answer::Done(b"8".to_vec()));
    assert_eq!(send(&db, request("anna", "3", 1)).await, Answer::Done(b"23".to_vec()));
}
