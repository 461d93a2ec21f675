//! An account: what can be asked of it, what happens to it, and how its events are kept.

use bytes::Bytes;
use meshwork_eventstore::{Aggregate, EncodeEvent, Event, EventType, NewEvent, Recorded, SnapshotState, new_event};
use prost::Message;

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In cents.
    pub balance: i64,
}

/// What can be asked of an account; amounts in cents.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin it.
    Open,
    /// Put money in.
    Deposit(i64),
    /// Take money out.
    Withdraw(i64),
}

/// Why an account refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is open already, or not yet.
    WrongState,
    /// There isn't as much in it.
    Short,
}

/// What happens to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was opened.
    Opened,
    /// The balance has changed by so many cents.
    Moved(i64),
}

/// The first release counted whole euros.
#[derive(Clone, PartialEq, Message)]
struct MovedV1 {
    #[prost(int64, tag = "1")]
    euros: i64,
}

/// The second counts cents.
#[derive(Clone, PartialEq, Message)]
struct MovedV2 {
    #[prost(int64, tag = "2")]
    cents: i64,
}

/// What older releases have stored is brought to the newest schema when it is read; the stored bytes stay.
fn euros_to_cents(data: &[u8]) -> Result<Bytes, String> {
    let MovedV1 { euros } = MovedV1::decode(data).map_err(|error| error.to_string())?;
    let cents = euros.checked_mul(100).ok_or("more euros than can be counted in cents")?;
    Ok(MovedV2 { cents }.encode_to_vec().into())
}

impl Event for Happened {
    const TYPES: &'static [EventType] =
        &[EventType::new("account_opened"), EventType::with_upcasters("balance_moved", &[euros_to_cents])];

    fn decode(event_type: &str, data: &[u8]) -> Result<Self, String> {
        match event_type {
            "account_opened" => Ok(Happened::Opened),
            "balance_moved" => {
                let moved = MovedV2::decode(data).map_err(|error| format!("{event_type}: {error}"))?;
                Ok(Happened::Moved(moved.cents))
            }
            other => Err(format!("{other} doesn't happen to accounts")),
        }
    }
}

impl EncodeEvent for Happened {
    fn event_type(&self) -> &'static str {
        match self {
            Happened::Opened => "account_opened",
            Happened::Moved(_) => "balance_moved",
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Happened::Opened => Bytes::new(),
            Happened::Moved(cents) => MovedV2 { cents: *cents }.encode_to_vec().into(),
        }
    }
}

impl Aggregate for Account {
    type Event = Happened;
    type Command = Command;
    type Error = Refusal;

    fn decide(state: Option<&Self>, command: &Command) -> Result<Vec<Happened>, Refusal> {
        match (state, command) {
            (None, Command::Open) => Ok(vec![Happened::Opened]),
            (Some(_), Command::Deposit(cents)) => Ok(vec![Happened::Moved(*cents)]),
            (Some(account), Command::Withdraw(cents)) if account.balance >= *cents => Ok(vec![Happened::Moved(-cents)]),
            (Some(_), Command::Withdraw(_)) => Err(Refusal::Short),
            (Some(_), Command::Open) | (None, _) => Err(Refusal::WrongState),
        }
    }

    fn evolve(state: Option<Self>, _: &str, event: &Recorded<Happened>) -> Option<Self> {
        match &event.event {
            Happened::Opened => Some(Account::default()),
            Happened::Moved(cents) => state.map(|account| Account { balance: account.balance + cents }),
        }
    }

    fn encode_event(_: &Self, event: &Recorded<Happened>) -> NewEvent {
        new_event(&event.event)
    }
}

impl SnapshotState for Account {
    const SCHEMA: &'static str = "account/1";

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.balance.to_be_bytes().to_vec())
    }

    fn decode(data: &[u8]) -> Option<Self> {
        Some(Account { balance: i64::from_be_bytes(data.try_into().ok()?) })
    }
}
