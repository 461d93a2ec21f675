//! A notification and its way: PENDING → SENDING → SENT, back to PENDING after a failure that may pass, FAILED after one that
//! won't. A try has its letter for itself until its lease is over; then another may begin.

use std::str::FromStr;

use meshwork_api::{NotificationName, UserName};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::Occasion;

/// The first pause between two tries; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::seconds(1);
/// The longest pause between two tries.
const LAST_PAUSE: Duration = Duration::minutes(5);

/// How long a letter waits that this release can't read, so that one may that can.
pub const UNREADABLE_PAUSE: Duration = LAST_PAUSE;

/// Why a notification failed that nobody would take for so long that it helps nobody any more; shown to the recipient.
pub const GIVEN_UP: &str = "it could not be delivered in time";

/// The namespace of the ids of notifications (RFC 9562, version 5). It never changes: ids depend on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x5a6b_1f0e_93d4_4c2b_8e17_0c9d_2f64_b7a1);

/// Where a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits to be sent, or to be tried again.
    Pending,
    /// Is being handed to the mail system.
    Sending,
    /// The mail system has taken it.
    Sent,
    /// It can never be sent, or couldn't be in time.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [State; 4] = [State::Pending, State::Sending, State::Sent, State::Failed];

    /// The state's word, as filters and stores carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Sending => "SENDING",
            State::Sent => "SENT",
            State::Failed => "FAILED",
        }
    }
}

/// A word is no state of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state must be PENDING, SENDING, SENT or FAILED")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(UnknownState)
    }
}

/// How a try ended. Reasons are shown to the recipient: they hold nothing of our insides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mail system has taken the letter.
    Sent,
    /// It may work later, so that it is tried until it does; the reason why it didn't now.
    Again(&'static str),
    /// It will never work; the reason.
    Never(&'static str),
}

/// The notification has ended, or is not due yet, or a try is under way whose lease is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notification is not due")]
pub struct NotDue;

/// The notification isn't SENDING, or another try is under way by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this try of the notification is not under way")]
pub struct NotSending;

/// The notification is SENDING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notification is being sent")]
pub struct BeingSent;

/// A message to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The id; see [`Notification::id_of`].
    pub id: Uuid,
    /// The event that caused it.
    pub event_id: String,
    /// The user it goes to.
    pub recipient: UserName,
    /// The word of the template.
    pub template: String,
    /// The name of the resource that it is about.
    pub about: String,
    /// What it tells; `None` when this release can't read it, because a newer one has made it.
    pub occasion: Option<Occasion>,
    /// The subject line, as it was when the notification was made.
    pub subject: String,
    /// Where it stands.
    pub state: State,
    /// Why the last try failed; empty when none has.
    pub state_reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, while PENDING.
    pub next_try_time: OffsetDateTime,
    /// Until when the try that is under way has the letter for itself, while SENDING.
    pub lease_until: OffsetDateTime,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// When the mail system took it last.
    pub send_time: Option<OffsetDateTime>,
}

impl Notification {
    /// A notification that is due at once.
    pub fn new(event_id: String, recipient: UserName, occasion: Occasion, now: OffsetDateTime) -> Self {
        Self {
            id: Self::id_of(&event_id, &occasion, &recipient),
            subject: occasion.subject(),
            template: occasion.template().to_string(),
            about: occasion.about(),
            event_id,
            recipient,
            occasion: Some(occasion),
            state: State::Pending,
            state_reason: String::new(),
            attempts: 0,
            next_try_time: now,
            lease_until: OffsetDateTime::UNIX_EPOCH,
            create_time: now,
            send_time: None,
        }
    }

    /// The id of what tells `recipient` of `occasion` because of an event: the same whenever it is asked for.
    pub fn id_of(event_id: &str, occasion: &Occasion, recipient: &UserName) -> Uuid {
        // No part has a line break in it, so that different parts never make the same text.
        Uuid::new_v5(&NAMESPACE, format!("{event_id}\n{}\n{recipient}", occasion.template()).as_bytes())
    }

    /// The id that a name holds; `None` for a name that no notification has.
    pub fn id_in(name: &NotificationName) -> Option<Uuid> {
        Uuid::try_parse(name.id()).ok().filter(|id| id.to_string() == name.id())
    }

    /// The name, `notifications/{notification}`.
    pub fn name(&self) -> String {
        format!("notifications/{}", self.id)
    }

    /// Begins a try that has the letter for itself for `lease`.
    ///
    /// # Errors
    /// When it isn't PENDING and due, nor SENDING with its lease over.
    pub fn claim(&mut self, now: OffsetDateTime, lease: std::time::Duration) -> Result<(), NotDue> {
        let due = match self.state {
            State::Pending => self.next_try_time,
            // Who had begun that try is gone, or stands still.
            State::Sending => self.lease_until,
            State::Sent | State::Failed => return Err(NotDue),
        };
        if due > now {
            return Err(NotDue);
        }
        self.state = State::Sending;
        self.attempts = self.attempts.saturating_add(1);
        self.lease_until = now + lease;
        Ok(())
    }

    /// Ends the try with this number.
    ///
    /// # Errors
    /// When that try is not under way.
    pub fn settle(&mut self, attempt: u32, outcome: &Outcome, now: OffsetDateTime) -> Result<(), NotSending> {
        if self.state != State::Sending || self.attempts != attempt {
            return Err(NotSending);
        }
        let (state, reason) = match outcome {
            Outcome::Sent => (State::Sent, ""),
            // However often: what fails here is somebody else's, and the letter is as good as before.
            Outcome::Again(reason) => (State::Pending, *reason),
            Outcome::Never(reason) => (State::Failed, *reason),
        };
        self.state = state;
        self.lease_until = OffsetDateTime::UNIX_EPOCH;
        self.state_reason = reason.to_owned();
        match state {
            State::Sent => self.send_time = Some(now),
            State::Pending => self.next_try_time = now + pause_after(self.attempts),
            State::Sending | State::Failed => {}
        }
        Ok(())
    }

    /// Makes it due at once, though it was sent or given up. Its id stays, and so does its letter's.
    ///
    /// # Errors
    /// When it is being sent.
    pub fn resend(&mut self, now: OffsetDateTime) -> Result<(), BeingSent> {
        if self.state == State::Sending {
            return Err(BeingSent);
        }
        self.state = State::Pending;
        self.next_try_time = now;
        Ok(())
    }
}

/// How long to wait after so many tries: 1 s after the first, then twice as long each time, 5 minutes at most.
pub fn pause_after(attempts: u32) -> Duration {
    // Beyond 2^16 seconds nothing is below the longest pause.
    let doublings = attempts.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2_i32.pow(doublings)).min(LAST_PAUSE)
}
