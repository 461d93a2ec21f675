//! What is read and written. This file is compiled twice, and knows no driver.

use std::error::Error;

use meshwork_sql::replay::{Known, Request};
use meshwork_sql::{Kind, WorkError};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Connection, Database, NOW, replay};

/// Why a guest has not signed. Whoever decides in a transaction has an error like this: what the store has met, beside the
/// reasons of its own.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request's id was used for another name.
    #[error("this request was another one")]
    Reused,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] meshwork_sql::Error),
}

impl WorkError for Refusal {
    fn is_conflict(&self) -> bool {
        // Of two guests at once, one breaks the primary key: it is done again, and gets the next number.
        matches!(self, Refusal::Store(error) if error.kind() == Kind::Conflict)
    }
}

/// Writes a guest's name into the book, once for each request; returns the entry's number.
async fn sign(connection: &mut Connection, request: &Request, name: &str) -> Result<i64, Refusal> {
    match replay::find(connection, request).await? {
        Known::Answered(answer) => return Ok(String::from_utf8_lossy(&answer).parse().unwrap_or_default()),
        Known::Reused => return Err(Refusal::Reused),
        Known::New => {}
    }
    let insert = format!(
        "INSERT INTO guest (n, name, signed_at) SELECT coalesce(max(n), 0) + 1, $1, {NOW} FROM guest RETURNING n"
    );
    let row = sqlx::query(AssertSqlSafe(insert)).bind(name).fetch_one(&mut *connection).await;
    let n: i64 = row.and_then(|row| row.try_get(0)).map_err(meshwork_sql::Error::from)?;
    replay::store(connection, request, n.to_string().as_bytes()).await?;
    Ok(n)
}

/// Two guests sign; one of them sends the request twice, as a client does whose answer was lost.
pub async fn visit(db: &Database) -> Result<(), Box<dyn Error>> {
    for (id, name) in [("a", "Anna"), ("a", "Anna"), ("b", "Bert")] {
        // In life the hash is SHA-256 of the request, and the principal comes from its token.
        let hash = [name.as_bytes()[0]; 32];
        let request = Request { principal: "guests".to_owned(), method: "Sign", id: id.to_owned(), hash };
        let input = (request, name.to_owned());
        let n = db.write(input, |connection, (request, name)| Box::pin(sign(connection, request, name))).await?;
        println!("{name} signs: entry {n}");
    }
    for row in sqlx::query("SELECT n, name FROM guest ORDER BY n").fetch_all(db.reader()).await? {
        println!("{}: {}", row.try_get::<i64, _>("n")?, row.try_get::<String, _>("name")?);
    }
    Ok(())
}
