//! The accounts.

use std::fmt::Display;
use std::str::FromStr;

use async_trait::async_trait;
use meshwork_aip::page::Page;
use meshwork_api::UserName;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{Changed, Email, PasswordHash, Role, User, UserError};

/// The name of an account-to-be: a random one.
///
/// # Errors
/// When what was drawn is no name, which is a defect.
pub fn random_name() -> Result<UserName, StoreError> {
    UserName::new(Uuid::new_v4().to_string()).map_err(StoreError::damaged)
}

/// An account together with what is kept of its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub user: User,
    /// The hash of its password.
    pub password: PasswordHash,
}

/// What came of an attempt to create an account, or of the lookup of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was created, as this account: by the id that the same request has begun with, when it has come before and was not
    /// carried through.
    Created(User),
    /// The same request created this account before; it is given as it was then, with its password of then.
    Replayed(Account),
    /// The request's id came with another body.
    RequestReused,
    /// An account, perhaps a deleted one, has the address.
    EmailTaken,
    /// An account, perhaps a deleted one, has the id.
    IdTaken,
}

/// Decides about an account inside the transaction that has read it; `None` leaves it as it is. It may be asked more than
/// once, when others have changed the account since it was read.
pub type Decide = Box<dyn Fn(&User) -> Result<Option<Changed>, UserError> + Send + Sync>;

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such account.
    #[error("there is no such account")]
    NotFound,
    /// Another account has the new address.
    #[error("another account has the address")]
    EmailTaken,
    /// The decision was against it.
    #[error(transparent)]
    Refused(#[from] UserError),
    /// Others have changed the account since it was read, each time that this was tried.
    #[error("others have changed the account at the same time")]
    Conflict,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which accounts a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// The account with this address.
    pub email: Option<Email>,
    /// Accounts of this role.
    pub role: Option<Role>,
    /// Deleted accounts too.
    pub show_deleted: bool,
    /// Only accounts that are kept by a key that isn't all ASCII: no other key depends on how texts are normalised. It is passed
    /// over where an address is given.
    pub non_ascii: bool,
}

impl UserFilter {
    /// Whether a list that goes on `after` a place holds an account.
    pub fn holds(&self, user: &User, after: Option<&UserCursor>) -> bool {
        self.email.as_ref().is_none_or(|email| email.key() == user.email.key())
            && self.role.is_none_or(|role| role == user.role)
            && (self.show_deleted || !user.is_deleted())
            && after.is_none_or(|after| UserCursor::of(user) > *after)
    }
}

/// What came of renewing the key of an account's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRenewal {
    /// The account has the key that this release gives its address, or there is no such account.
    Current,
    /// It has it now.
    Renewed,
    /// Another account has that key. This one goes on by its old one.
    Taken,
}

/// A place in a list: after the account with this id among those made at that time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserCursor {
    /// When the account was made, in microseconds since 1970.
    pub micros: i64,
    /// Its id.
    pub id: String,
}

impl UserCursor {
    /// The place of an account.
    pub fn of(user: &User) -> Self {
        let micros = i64::try_from(user.create_time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        Self { micros, id: user.name.id().to_owned() }
    }
}

impl Display for UserCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.micros, self.id)
    }
}

impl FromStr for UserCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // It may be of a row that can't be read. PostgreSQL takes no text with a NUL.
        let parts = text.split_once(' ').filter(|(_, id)| !id.contains('\0'));
        let parts = parts.and_then(|(micros, id)| Some((micros.parse().ok()?, id.to_owned())));
        let (micros, id) = parts.ok_or("must be a next_page_token of this list")?;
        Ok(Self { micros, id })
    }
}

/// A page of accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// The accounts that could be read.
    pub page: Page<User>,
    /// The parts of the store that could not be asked in time, by their names: accounts of theirs are not in the page.
    pub unreachable: Vec<String>,
}

/// The accounts. Each change is stored together with its event. What is read without a [`Freshness`] is what was written last.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// The name of an account-to-be whose id nobody has chosen: a random one, of a part of the store that is in reach if any is.
    ///
    /// # Errors
    /// As [`random_name`].
    fn new_name(&self) -> Result<UserName, StoreError> {
        random_name()
    }

    /// What a request has come to before; `None` when it hasn't come.
    ///
    /// # Errors
    /// When the store fails.
    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError>;

    /// Stores a new account and, when there is a request, that this was its answer. One transaction holds the lookup
    /// of the request, the checks for uniqueness, the account and its event.
    ///
    /// # Errors
    /// When the store fails.
    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError>;

    /// An account, a deleted one too; how fresh it must be is up to the caller (RR-).
    ///
    /// # Errors
    /// When the store fails.
    async fn get(&self, name: &UserName, freshness: Freshness) -> Result<Option<User>, StoreError>;

    /// An account with what is kept of its password, a deleted one too, as it was written last.
    ///
    /// # Errors
    /// When the store fails.
    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError>;

    /// The account with an address, a deleted one too: that which is kept by exactly what was typed, as earlier releases have kept
    /// accounts, before any other ([`Email::lookup_keys`]).
    ///
    /// # Errors
    /// When the store fails.
    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError>;

    /// The account with an address, for who shows its password: as [`find_by_email`](UserStore::find_by_email), but a living account
    /// may also be found while it can't be told who may have the address. That nobody has it is told only when it is known.
    ///
    /// # Errors
    /// When the store fails.
    async fn find_to_sign_in(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.find_by_email(email).await
    }

    /// Up to `size` accounts, the oldest first. What can't be read is left out and logged.
    ///
    /// # Errors
    /// When the store fails: not when only parts of it can't be reached.
    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError>;

    /// Reads an account, lets `decide` decide and stores what it decided, all in one transaction, and only in place of
    /// the version that was read. When the change ends the account's sessions, it ends them in that transaction too, but for
    /// the one that it keeps; when it erases the account, the answers to requests that hold it.
    ///
    /// # Errors
    /// When there is no such account, the decision is an error, another account has the new address, others have changed
    /// the account meanwhile, or the store fails. Nothing is stored then.
    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError>;

    /// Gives the address of an account, a deleted one too, the key that this release compares it by, where an earlier release has
    /// kept it by another: it is claimed for the account, in place of the old one. Who has it already keeps it. Nothing else of the
    /// account changes, and nothing is announced.
    ///
    /// # Errors
    /// When the store fails, or others change the account all the time.
    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError>;

    /// Up to about `limit` accounts that were deleted at `before` or earlier and of which what is personal isn't erased, the
    /// first deleted first.
    ///
    /// # Errors
    /// When the store fails: when only parts of it can't be reached, only if nothing is found in the others.
    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError>;

    /// Which part of the store holds an account, from 0: parts fail and are slow each by itself.
    fn part(&self, name: &UserName) -> usize {
        _ = name;
        0
    }

    /// The place that whoever reads from must have reached to see all that was written of this account before this call (RR-);
    /// `None` where everybody always sees it.
    async fn position(&self, name: &UserName) -> Option<WalPosition>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_being_written_and_read() {
        let cursor = UserCursor { micros: -5, id: "anna".to_owned() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        // Of a row that can't be read.
        let cursor = UserCursor { micros: 5, id: "No id".to_owned() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "1", "x anna", "99999999999999999999 anna", "1 an\0na"] {
            assert!(text.parse::<UserCursor>().is_err(), "{text:?}");
        }
    }
}
