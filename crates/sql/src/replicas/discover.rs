//! Finding the primary among the servers of a database.

use std::cmp::Reverse;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::answer::Answer;
use crate::error::Error;

/// The primary among several servers.
pub(crate) struct Found {
    /// Which of the servers it is.
    pub server: usize,
    /// What it has told.
    pub answer: Answer,
    /// A connection to it.
    pub connection: PgConnection,
}

/// Asks all servers at once, each within `within`, which of them is the primary: of the system and database of the first one that
/// answers, the one that isn't in recovery and has the highest timeline. A server whose URL names another database than the first
/// one's doesn't say which database it is.
///
/// # Errors
/// When none of them is in reach, is a primary, or is the newest primary that they know of.
pub(crate) async fn find(servers: Vec<PgConnectOptions>, within: Duration) -> Result<Found, Error> {
    let first = servers.first().and_then(PgConnectOptions::get_database).map(str::to_owned);
    let namesakes: Vec<bool> = servers.iter().map(|server| server.get_database() == first.as_deref()).collect();
    let asked = join_all(servers.into_iter().map(|server| ask(server, within))).await;
    let (mut answers, mut failure) = (Vec::new(), None);
    for (server, told) in asked.into_iter().enumerate() {
        match told {
            Ok((answer, connection)) => answers.push(Found { server, answer, connection }),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let Some(identity) = answers.iter().find(|found| namesakes[found.server]).map(|found| found.answer.identity())
    else {
        return Err(Error::Database(failure.unwrap_or(sqlx::Error::PoolTimedOut)));
    };
    answers.retain(|found| found.answer.identity() == identity);
    let newest = answers.iter().map(|found| found.answer.position.timeline).max();
    let primaries = answers.into_iter().filter(|found| !found.answer.standby);
    let primary = primaries.min_by_key(|found| (Reverse(found.answer.position.timeline), found.server));
    match primary {
        Some(found) if Some(found.answer.position.timeline) == newest => Ok(found),
        other => {
            let what = match other {
                Some(_) => "they follow a newer primary, which can't be reached",
                None => "all of them are replicas",
            };
            let sentence = format!(
                "none of the servers of the database that can be reached is to be written to: {what}; list the primary among \
                 them, or promote a replica"
            );
            Err(Error::Database(sqlx::Error::Io(std::io::Error::other(sentence))))
        }
    }
}

async fn ask(server: PgConnectOptions, within: Duration) -> Result<(Answer, PgConnection), sqlx::Error> {
    let asked = tokio::time::timeout(within, async {
        let mut connection = PgConnection::connect_with(&server).await?;
        Ok::<_, sqlx::Error>((Answer::of(&mut connection).await?, connection))
    });
    asked.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
