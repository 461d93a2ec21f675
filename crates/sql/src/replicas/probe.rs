//! Asks each server of a group what it is, again and again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use super::answer::Answer;
use super::group::Group;

/// The pause between two questions to a server; some tenths more or less, so that many processes don't ask at once.
const PERIOD: Duration = Duration::from_millis(500);
/// The pause at the start, so that replicas are soon read from.
const FIRST_PERIOD: Duration = Duration::from_millis(50);
/// How many questions are asked so soon.
const FIRST: u32 = 6;
/// How long a server may take to answer, connecting included.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches the servers of a group until its pool is closed or it is dropped. Each server has a task of its own: one that hangs keeps
/// nobody from asking the others.
pub(crate) fn watch(group: &Arc<Group>) {
    for server in group.servers() {
        let options = group.connect_options(server).clone().application_name("meshwork-probe");
        tokio::spawn(watch_server(Arc::downgrade(group), server, options));
    }
}

async fn watch_server(group: Weak<Group>, server: usize, options: PgConnectOptions) {
    let (mut connection, mut asked) = (None, 0_u32);
    loop {
        let told = timeout(PATIENCE, ask(&mut connection, &options)).await;
        // Held only now: nobody's pools stay open for a question.
        let Some(group) = group.upgrade() else { return };
        match told {
            Ok(Ok(answer)) => group.answered(server, answer),
            Ok(Err(error)) => group.failed(server, &error),
            Err(_) => group.failed(server, &format_args!("it has not answered within {PATIENCE:?}")),
        }
        if group.primary().is_closed() {
            group.replica(server).close().await;
            return;
        }
        drop(group);
        asked = asked.saturating_add(1);
        let period = if asked < FIRST { FIRST_PERIOD } else { PERIOD };
        tokio::time::sleep(period.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
    }
}

/// Asks on the connection that is kept, or on a new one: that the old one was closed says nothing of the server.
async fn ask(kept: &mut Option<PgConnection>, options: &PgConnectOptions) -> Result<Answer, sqlx::Error> {
    // Taken, so that none is kept on which an answer may still come.
    if let Some(mut connection) = kept.take()
        && let Ok(answer) = Answer::of(&mut connection).await
    {
        *kept = Some(connection);
        return Ok(answer);
    }
    let mut connection = PgConnection::connect_with(options).await?;
    let answer = Answer::of(&mut connection).await?;
    *kept = Some(connection);
    Ok(answer)
}
