//! What one database is asked for, and what it answers: the words between the statements and those who put them together.

use meshwork_chassis::request::RequestKey;
use uuid::Uuid;

use crate::domain::{PasswordHash, User, UserError};
use crate::ports::{Account, Creation, UserCursor};

/// For how long a claim may be used after it was made, in microseconds. How it has ended is kept for much longer: so who has slept for
/// days can't use one that was declared void and forgotten.
pub(crate) const CLAIM_LIFE: i64 = 3_600_000_000;

/// A claim on an address: who has it may have an account with that address, and nobody else (SH-).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address's key.
    pub key: String,
    /// The claim's id: each attempt has another one. Empty for what the release before claims has written.
    pub id: String,
    /// When it was made, in microseconds since 1970 by the clock of its database; 0 where that isn't known.
    pub at: i64,
}

impl Claim {
    /// A new claim on an address, which isn't made yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), id: Uuid::new_v4().to_string(), at: 0 }
    }
}

/// A claim that somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldClaim {
    /// The claim.
    pub claim: Claim,
    /// The id of the account that it was made for.
    pub user: String,
    /// Whether it is known that the account came to be.
    pub confirmed: bool,
    /// How old it is in microseconds, by the clock of its database.
    pub age: i64,
}

/// What came of an attempt to claim an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It is claimed, since then.
    Taken(Claim),
    /// There is a claim.
    Held(HeldClaim),
}

/// How a claim has ended, as the database of its account tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimEnd {
    /// The account has its address by it.
    Held,
    /// An account has had its address by it, and has another one now.
    Used,
    /// Nobody may use it any more.
    Void,
    /// It has not ended, or so long ago that it is forgotten.
    Open,
}

/// An account to be.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The account.
    pub account: Account,
    /// The claim by which it has its address.
    pub claim: Claim,
    /// The request that it answers.
    pub request: Option<RequestKey>,
}

/// Where the claim of a new account is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claiming {
    /// In the account's own transaction: one database holds both.
    Here,
    /// Before, in another database.
    Before,
}

/// What came of an attempt to create an account in one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creating {
    /// This is the answer.
    Answer(Creation),
    /// Somebody has claimed the address, and that claim may have to be looked into.
    Held(HeldClaim),
    /// The claim was declared void meanwhile.
    Voided,
}

/// What a change may do about the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rekey {
    /// Its key stays.
    Unchanged,
    /// The new one is claimed, and the old one let go, in the transaction: one database holds everything.
    Here,
    /// It becomes that of this claim, which was made before.
    With(Claim),
    /// It becomes that of this claim, by which the account has its address already: only the account's key was another, as the
    /// release before has written it.
    Own(Claim),
}

/// What came of an attempt to change an account in one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changing {
    /// It was changed, unless nothing was to be changed.
    Done {
        /// The account as it is now.
        user: User,
        /// The claim that it had its address by, if it has another one now.
        before: Option<Claim>,
    },
    /// There is no such account.
    NotFound,
    /// The decision was against it.
    Refused(UserError),
    /// Another account has the address.
    EmailTaken,
    /// The key of the address would become another one, which isn't claimed.
    Rekeyed {
        /// That key.
        key: String,
        /// The claim that the account has its address by, if nothing may be left of that.
        erases: Option<Claim>,
    },
    /// The claim was declared void meanwhile.
    Voided,
    /// Others have changed the account at the same time, each time that this was tried.
    Conflict,
}

/// What an address leads to in the database of its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The account is there too.
    Account(Account),
    /// The account with this id has it, which is in another database.
    Elsewhere(String),
    /// Nobody has the address.
    Nobody,
}

/// A part of a list, from one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The places in the list, each with its account unless that can't be read.
    pub users: Vec<(UserCursor, Option<User>)>,
    /// The mark of the database's shard map while it was read, equal where maps are; `None` when it has changed meanwhile.
    pub mark: Option<i64>,
}

/// What is kept of the answer to a request: the account as it was made, and the hash that tells whether who asks again has its
/// password.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct StoredAnswer {
    pub user: User,
    pub password: PasswordHash,
}

/// Which account a request is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The account's id.
    pub user: String,
    /// The hash of the request without its id.
    pub hash: Vec<u8>,
}

/// The home that a request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The home.
    pub home: Home,
    /// How long ago the request came last that it was given to, in microseconds, by the clock of its database.
    pub age: i64,
    /// Whether that was answered, and has made no account: another may take its place.
    pub is_refused: bool,
}
