//! Sends what is due, a few letters at a time and one at most to each recipient.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use meshwork_chassis::CancellationToken;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::app::Notifications;
use crate::domain::{Notification, Outcome};
use crate::ports::{CONTENT_TIMEOUT, Letter, LookupError, MailError};

/// How many letters are under way at most.
const CONCURRENCY: usize = 8;
/// How often it is looked for what has become due.
const POLL: Duration = Duration::from_secs(1);
/// How long a recipient may be looked up: others' letters wait for the place that it takes.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a try may take: the mail system's thinking, and what comes before it.
const TRY_TIMEOUT: Duration = Duration::from_secs(CONTENT_TIMEOUT.as_secs() + 60);
/// How often its lease is renewed within one. Of several renewals one may fail.
const RENEWALS: u32 = 3;
/// How long tries that are under way may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(4);

/// The recipients' words for what went wrong.
const NO_RECIPIENT: &str = "the recipient has no account any more, or none with an e-mail address";
const NO_LOOKUP: &str = "the recipient's address couldn't be looked up";
const NO_MAIL: &str = "the mail system didn't take it";
const REFUSED: &str = "the mail system refused it";
const FAULT: &str = "something failed inside";
const TOO_SLOW: &str = "the try took too long";

impl Notifications {
    /// Sends letters until `shutdown`. Others may send from the same store.
    ///
    /// A letter is sent at least once: a crash after the mail system took it and before that was noted sends it again once
    /// the lease is over, under the same id.
    pub async fn send_due(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tries = JoinSet::new();
        while !shutdown.is_cancelled() {
            let free = CONCURRENCY - tries.len();
            if free > 0 {
                match self.store.claim(free, self.rules.lease).await {
                    Ok(claimed) => {
                        for notification in claimed {
                            fail::fail_point!("letters::claimed");
                            let (app, shutdown) = (self.clone(), shutdown.clone());
                            tries.spawn(async move { app.send(notification, shutdown).await });
                        }
                    }
                    Err(error) => tracing::warn!(%error, "due notifications can't be claimed; trying again"),
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(_) = tries.join_next() => {}
                () = self.due.notified(), if tries.len() < CONCURRENCY => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        // Tries that don't end in time are made again when their leases are over.
        let drained = tokio::time::timeout(DRAIN, async { while tries.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(tries = tries.len(), "letters were still under way at the stop; they will be sent again");
        }
    }

    /// Makes one try and notes how it ended, unless its letter was lost to another meanwhile.
    async fn send(&self, notification: Notification, shutdown: CancellationToken) {
        let (id, attempt) = (notification.id, notification.attempts);
        // A panic would leave the row SENDING as well.
        let delivery = AssertUnwindSafe(self.deliver(&notification)).catch_unwind();
        let outcome = tokio::select! {
            tried = tokio::time::timeout(TRY_TIMEOUT, delivery) => match tried {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Outcome::Again(FAULT),
                Err(_) => Outcome::Again(TOO_SLOW),
            },
            () = self.hold(id, attempt) => {
                tracing::warn!(notification = %id, attempt, "a try was too slow in renewing its lease; another sends the letter");
                return;
            }
        };
        // Left SENDING, it would keep its recipient's other letters waiting, and be sent again. Once the lease is over, its end
        // is nobody's affair any more.
        let noted = async {
            while let Err(error) = self.store.settle(id, attempt, outcome.clone()).await {
                tracing::warn!(notification = %id, %error, "the end of a try can't be noted; trying again");
                if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                    return;
                }
            }
        };
        if tokio::time::timeout(self.rules.lease, noted).await.is_err() {
            tracing::error!(notification = %id, attempt, "the end of a try could not be noted; the letter is sent again");
        }
        fail::fail_point!("letters::noted");
    }

    /// Renews the lease of a try again and again; returns when another has begun.
    async fn hold(&self, id: Uuid, attempt: u32) {
        let interval = self.rules.lease / RENEWALS;
        let mut pause = interval;
        loop {
            tokio::time::sleep(pause).await;
            let renewal = self.store.renew(id, attempt, self.rules.lease);
            pause = match tokio::time::timeout(interval, renewal).await {
                Ok(Ok(true)) => interval,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(notification = %id, attempt, %error, "a lease can't be renewed; trying again");
                    POLL.min(interval)
                }
                Err(_) => {
                    tracing::warn!(notification = %id, attempt, "a lease isn't renewed in time; trying again");
                    Duration::ZERO
                }
            };
        }
    }

    async fn deliver(&self, notification: &Notification) -> Outcome {
        let id = notification.id;
        let Some(occasion) = &notification.occasion else { return Outcome::Again(FAULT) };
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, self.recipients.find(&notification.recipient)).await;
        let to = match lookup.unwrap_or_else(|_| Err(LookupError("there was no answer in time".to_owned()))) {
            Ok(Some(recipient)) => recipient,
            Ok(None) => return Outcome::Never(NO_RECIPIENT),
            Err(error) => {
                tracing::warn!(notification = %id, attempt = notification.attempts, %error, "a letter waits");
                return Outcome::Again(NO_LOOKUP);
            }
        };
        let letter = Letter {
            id,
            subject: notification.subject.clone(),
            body: occasion.body(&to.display_name),
            to,
            date: self.clock.now(),
        };
        match self.mailer.send(letter).await {
            Ok(()) => {
                fail::fail_point!("letters::handed_over");
                Outcome::Sent
            }
            Err(error) => {
                tracing::warn!(notification = %id, attempt = notification.attempts, %error, "a letter was not taken");
                match error {
                    MailError::Unavailable(_) => Outcome::Again(NO_MAIL),
                    MailError::Refused(_) => Outcome::Never(REFUSED),
                }
            }
        }
    }
}
