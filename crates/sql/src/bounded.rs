//! A bound for what only reads.

use std::time::Duration;

use crate::Error;

/// How long a read may take. Servers bound their statements; this is for one that hangs, or is gone without a word.
pub(crate) const READ: Duration = Duration::from_secs(30);

/// What a read gives, within 30 s: nothing waits for ever for a server that is gone without a word.
///
/// # Errors
/// What the read met; [`Kind::Unavailable`](crate::Kind::Unavailable) when the time is over.
pub async fn bounded<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(READ, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(timed_out()),
    }
}

/// A read that has taken too long.
pub(crate) fn timed_out() -> Error {
    let sentence = format!(
        "the database has not answered within {READ:?}; look whether it runs and what keeps it busy, and try again"
    );
    Error::Database(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, sentence)))
}
