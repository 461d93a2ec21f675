//! What the use cases need from the world.

use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::UserName;
pub use meshwork_chassis::Clock;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Content, Freshness, Notice, Notification, Outcome, State};

/// An event that has come, and where it stands in the history of what it happened to (NT-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its id.
    pub event_id: String,
    /// The aggregate, such as `orders/42`.
    pub subject: String,
    /// Its version after the event: contiguous, from 1.
    pub version: i64,
    /// When it happened.
    pub time: OffsetDateTime,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was new; what it calls for is stored.
    Applied,
    /// It had come before; nothing was written.
    Duplicate,
    /// Events before it are missing; nothing was written.
    Hole {
        /// The version of the last event of its aggregate that has come; 0 for none.
        last: i64,
    },
    /// An earlier event of its aggregate is parked; nothing was written.
    Parked,
}

/// What became of the wish to send a notification again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resent {
    /// It is due; as it stands now.
    Yes(Box<Notification>),
    /// It is being sent at this moment.
    BeingSent,
    /// There is no such notification.
    Missing,
}

/// Which notifications are listed. What is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Where they stand.
    pub state: Option<State>,
    /// The name of the resource that they are about.
    pub about: Option<String>,
    /// Whom they go to.
    pub recipient: Option<UserName>,
}

/// A store has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or refuses.
    #[error("the store of notifications is unavailable: {0}")]
    Unavailable(String),
    /// Others were in the way at each of several tries; nothing was written.
    #[error("others were in the way in the store of notifications at each of several tries: {0}")]
    Conflict(String),
    /// It was lost while it committed: what was written may stand.
    #[error("the store of notifications was lost in the middle of a write: {0}")]
    OutcomeUnknown(String),
    /// What it holds can't be understood.
    #[error("the store of notifications holds something unreadable: {0}")]
    Damaged(String),
    /// The page's cursor is not one that the store gave.
    #[error("the cursor of the page is unknown")]
    UnknownCursor,
}

/// Keeps notifications, and which events have made theirs. Several instances of the service may work on one store: what time
/// it is, the store says.
#[async_trait]
pub trait NotificationStore: Send + Sync + 'static {
    /// Notes an event and does what it calls for, in one transaction. There is at most one notification per (event,
    /// template, recipient) (I14), and none for an event that is not fresh. All notifications of a recipient go when that
    /// account is erased.
    ///
    /// # Errors
    /// When the store fails.
    async fn record(&self, arrival: Arrival, notice: Notice, freshness: Freshness) -> Result<Recorded, StoreError>;

    /// Begins a try of at most `limit` notifications that are due, those first that have been due longest, and returns them;
    /// what they tell is known. For `lease` nobody else tries them; after it they are due again. No recipient ever has two
    /// notifications under way.
    ///
    /// What this release can't read waits for one that can.
    ///
    /// # Errors
    /// When the store fails.
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Notification>, StoreError>;

    /// Gives a try that is under way its notification for `lease` from now. Whether it is: a try whose lease was over may have
    /// lost it to another.
    ///
    /// # Errors
    /// When the store fails.
    async fn renew(&self, id: Uuid, attempt: u32, lease: Duration) -> Result<bool, StoreError>;

    /// Ends a try. After a failure, all that waits for the same recipient waits at least as long: a recipient in trouble
    /// is put in quarantine. A try that is not under way any more is left alone.
    ///
    /// # Errors
    /// When the store fails.
    async fn settle(&self, id: Uuid, attempt: u32, outcome: Outcome) -> Result<(), StoreError>;

    /// Makes a notification due at once, even one that was sent or given up; it has as much time as a new one.
    ///
    /// # Errors
    /// When the store fails.
    async fn resend(&self, id: Uuid) -> Result<Resent, StoreError>;

    /// Gives up at most `limit` notifications that have waited for longer than `after`, since they were made or since somebody
    /// wanted them sent again, and aren't being sent at this moment ([`GIVEN_UP`]). Returns how many.
    ///
    /// [`GIVEN_UP`]: crate::domain::GIVEN_UP
    ///
    /// # Errors
    /// When the store fails.
    async fn give_up(&self, after: Duration, limit: usize) -> Result<u64, StoreError>;

    /// Deletes at most `limit` notifications that were sent or given up longer ago than `retention`, and at most as many
    /// notes of that age. Returns how many it deleted of the more frequent ones: below `limit`, nothing is left to delete.
    ///
    /// # Errors
    /// When the store fails.
    async fn prune(&self, retention: Duration, limit: usize) -> Result<u64, StoreError>;

    /// A notification by its id.
    ///
    /// # Errors
    /// When the store fails.
    async fn get(&self, id: Uuid) -> Result<Option<Notification>, StoreError>;

    /// Notifications, newest first. One of which not even the columns can be read is left out.
    ///
    /// # Errors
    /// [`StoreError::UnknownCursor`] for a cursor that it didn't give; else when the store fails.
    async fn list(&self, selection: Selection, page: PageRequest) -> Result<Page<Notification>, StoreError>;
}

/// How to reach a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The e-mail address.
    pub email: String,
    /// How the person is addressed.
    pub display_name: String,
}

/// Recipients can't be looked up at this moment; the cause, for the log.
#[derive(Debug, thiserror::Error)]
#[error("recipients can't be looked up: {0}")]
pub struct LookupError(pub String);

/// Knows how people are reached.
#[async_trait]
pub trait Recipients: Send + Sync + 'static {
    /// How to reach a user; `None` for one who doesn't exist, was deleted, or has no address.
    ///
    /// # Errors
    /// When that can't be found out now.
    async fn find(&self, user: &UserName) -> Result<Option<Recipient>, LookupError>;
}

/// A letter that is ready to go.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The notification's id: a letter that comes twice under one id is one letter.
    pub id: Uuid,
    /// Whom it goes to.
    pub to: Recipient,
    /// The subject line.
    pub subject: String,
    /// What it tells.
    pub body: Content,
    /// When it is sent.
    pub date: OffsetDateTime,
}

/// Why a letter was not taken; the cause, for the log: it names no person, no address and no secret.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It may work later.
    #[error("the mail system doesn't take letters: {0}")]
    Unavailable(String),
    /// This letter will never be taken.
    #[error("the mail system refuses the letter: {0}")]
    Refused(String),
}

/// How long a mail system may take for its answer once it has the whole letter. It looks into it and delivers it meanwhile: who
/// gives up sooner sends it again and again. RFC 5321 (4.5.3.2.6) has 10 minutes, of which half is ample for letters of one
/// page.
pub const CONTENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Takes letters.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Takes a letter; when this returns, it won't be lost.
    ///
    /// # Errors
    /// See [`MailError`].
    async fn send(&self, letter: Letter) -> Result<(), MailError>;

    /// Removes the letter with this id, where it keeps letters itself. Most mail systems keep none.
    ///
    /// # Errors
    /// When it can't be removed.
    async fn discard(&self, id: Uuid) -> Result<(), MailError> {
        let _ = id;
        Ok(())
    }

    /// Removes some of the letters that it keeps itself from before `older_than`, and returns how many. One call looks at
    /// a bounded number of letters, and the next one goes on where it ended. Most mail systems keep none.
    ///
    /// # Errors
    /// When what is kept can't be read or removed.
    async fn prune(&self, older_than: OffsetDateTime) -> Result<u64, MailError> {
        let _ = older_than;
        Ok(0)
    }
}
