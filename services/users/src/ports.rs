//! What the use cases need of the world.

mod foreign;

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::Page;
use meshwork_api::{SessionName, UserName};
pub use meshwork_chassis::Clock;
use meshwork_chassis::config::{Credentials, Secret};
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::foreign::{ForeignIdentity, ForeignTokenError, ForeignTokens};
use crate::domain::{
    Changed, Email, FirstAccount, PasswordHash, Repeat, Role, Session, TokenDigest, TokenSalt, User, UserError,
};

/// A store has not done what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached at this moment. Nothing was changed; another try may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was asked for is kept elsewhere by now, or is being moved there. Nothing was changed; another try may succeed.
    #[error("what was asked for is being moved: {0}")]
    Misplaced(String),
    /// Others were in the way at each of several tries. Nothing was changed; another try may succeed.
    #[error("others were in the way at each of several tries: {0}")]
    Conflict(String),
    /// The store broke off while it kept the change, which may have been kept. Another try is safe where it is known as
    /// the same, by its request id or its version.
    #[error("whether the change was kept is unknown: {0}")]
    OutcomeUnknown(String),
    /// The store holds something that can't be, or can't carry out what it must. Another try fails as well.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// The store holds something that can't be.
    pub fn damaged(what: impl Display) -> Self {
        StoreError::Damaged(what.to_string())
    }

    /// Whether it is certain that nothing was changed, nor will be by what has failed.
    pub fn is_without_effect(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Misplaced(_) | StoreError::Conflict(_))
    }
}

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

/// A session to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// When it is opened.
    pub create_time: OffsetDateTime,
    /// Whose it is.
    pub user: UserName,
    /// The hash that the password was held against.
    pub verified: PasswordHash,
    /// Its first refresh token.
    pub token: NewToken,
}

/// A refresh token to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What is kept of it.
    pub digest: TokenDigest,
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
    /// How the token before it may give it again; `None` where that can't, and where there is none before it.
    pub repeat: Option<Repeat>,
}

/// A session that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSession {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: User,
}

/// A refresh token that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// Whose it says it is, which nothing but the digest proves. `None` for those of earlier releases, which don't say.
    pub user: Option<UserName>,
    /// What would be kept of it.
    pub digest: TokenDigest,
}

/// The token that has followed upon one that came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// What is kept of it.
    pub digest: TokenDigest,
    /// The salt by which it follows.
    pub salt: TokenSalt,
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
}

/// What came of a refresh token that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is used up, and the next one is good.
    Renewed(ActiveSession),
    /// It was used up a moment ago, by this one that follows from it by a salt, is unused, and is good still: nothing was
    /// changed, and what would have come next was not stored.
    Repeated(ActiveSession, Successor),
    /// It is not known, or its session has ended.
    Unknown,
    /// It has expired.
    Expired,
    /// It came before, and its session was ended because of that. The session was this account's.
    Reused(User),
}

/// The sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session if the account lives and still has the password that was verified, in one transaction. So no
    /// session outlives a change of the password that came between the two.
    ///
    /// Returns whether it was opened.
    ///
    /// # Errors
    /// When the store fails.
    async fn open(&self, session: NewSession) -> Result<bool, StoreError>;

    /// Uses a token up and puts the next in its place, in one transaction. Of racing calls with one token, the first is
    /// answered with [`Renewal::Renewed`]; the others with [`Renewal::Repeated`], if the first one's next token may be
    /// given again and is unused, else the second ends the session.
    ///
    /// # Errors
    /// When the store fails.
    async fn renew(
        &self,
        presented: PresentedToken,
        next: NewToken,
        now: OffsetDateTime,
    ) -> Result<Renewal, StoreError>;

    /// Ends the session of a token, a used one too. An unknown token changes nothing.
    ///
    /// # Errors
    /// When the store fails.
    async fn end(&self, presented: PresentedToken) -> Result<(), StoreError>;

    /// Up to `size` sessions of an account that have not expired at `now`, in the order of their ids, from behind the id
    /// `after` on.
    ///
    /// # Errors
    /// When the store fails.
    async fn list_sessions(
        &self,
        user: &UserName,
        size: usize,
        after: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Page<Session>, StoreError>;

    /// Ends a session by its name. One that isn't there, or is another account's, changes nothing.
    ///
    /// # Errors
    /// When the store fails.
    async fn revoke_session(&self, name: &SessionName) -> Result<(), StoreError>;

    /// Drops up to `limit` sessions and up to `limit` tokens that had expired at `now`, and as much of what else has had its
    /// time. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails, if only a part of it; the others are seen to all the same.
    async fn prune(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError>;
}

/// Whom a password waits with for its turn to be hashed: lanes come round one after the other, so that a crowd in one holds up
/// nobody in another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The services' own accounts, which have a place of their own.
    Service,
    /// Who calls from this address, as [`Origin`] has it.
    Address(Arc<str>),
}

/// Where a call comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that its caller counts for: of IPv6 the /64, all of which one caller commands.
    pub address: Arc<str>,
    /// Whether it comes from within the back end, not from a caller of the gateway: a service's own call.
    pub is_internal: bool,
}

impl Origin {
    /// The lane of its address.
    pub fn lane(&self) -> Lane {
        Lane::Address(self.address.clone())
    }

    /// The lane of a sign-in to an account of this role. An account of a service whose name somebody calls out at the gateway
    /// gets nobody into the services' lane.
    pub fn lane_of(&self, role: Option<Role>) -> Lane {
        if self.is_internal && role == Some(Role::Service) { Lane::Service } else { self.lane() }
    }
}

/// Too many attempts were made; nothing was done for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; the next is admitted in {} ms", .retry_after.as_millis())]
pub struct TooManyAttempts {
    /// When the next is admitted.
    pub retry_after: Duration,
}

/// How often somebody may try to sign in and to sign up. It is the same for e-mail addresses that have an account and those
/// that have none.
#[async_trait]
pub trait AttemptLimits: Send + Sync + 'static {
    /// Counts an attempt to sign in, by a caller at an address.
    ///
    /// # Errors
    /// When there were too many by that address, or too many wrong passwords for the account.
    async fn sign_in(&self, email: &Email, address: &str) -> Result<(), TooManyAttempts>;

    /// Takes back that an attempt which was counted has been a guess: the password was right, or was not looked at.
    async fn no_guess(&self, email: &Email, address: &str);

    /// Counts an attempt to take an e-mail address, which tells whether it is taken.
    ///
    /// # Errors
    /// When there were too many by that address.
    async fn sign_up(&self, address: &str) -> Result<(), TooManyAttempts>;
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many others are being hashed.
    #[error("too many passwords are being hashed at this moment")]
    Busy,
    /// The hash function has failed.
    #[error("a password can't be hashed: {0}")]
    Failed(String),
}

/// Hashes passwords, slowly on purpose and few at a time, the lanes in turn.
#[async_trait]
pub trait PasswordHasher: Send + Sync + 'static {
    /// The hash of a password, with a new salt.
    ///
    /// # Errors
    /// When too many others are being hashed, or the hash function fails.
    async fn hash(&self, password: &Secret, lane: &Lane) -> Result<PasswordHash, HashError>;

    /// Whether the password is the one of the hash. Without a hash the answer is no, after the same time: how long an
    /// answer takes doesn't tell whether there is an account.
    ///
    /// # Errors
    /// As [`PasswordHasher::hash`].
    async fn verify(&self, password: &Secret, hash: Option<&PasswordHash>, lane: &Lane) -> Result<bool, HashError>;
}

/// The public half of a signing key (Ed25519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id, as in the header of its tokens: the thumbprint of RFC 7638.
    pub kid: String,
    /// The key, in base64url without padding.
    pub x: String,
}

/// A token can't be signed.
#[derive(Debug, thiserror::Error)]
#[error("a token can't be signed: {0}")]
pub struct SignError(pub String);

/// What an access token was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis<'a> {
    /// The session with this id.
    Session(&'a str),
    /// Another issuer's token.
    Foreign,
}

/// Signs access tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A token that says, until `expires`, that its bearer is this account, and what it was given for.
    ///
    /// # Errors
    /// When it can't be signed.
    fn issue(
        &self,
        user: &UserName,
        role: Role,
        basis: Basis<'_>,
        issued: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Secret, SignError>;

    /// The keys that verify tokens, the one in use first.
    fn keys(&self) -> Vec<PublicKey>;
}

/// The credentials of an account can't be read or written. The sentence names the place and holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(pub String);

/// Keyed hashes of addresses, by which those of erased accounts stay taken. They are the same for ever, under the same keys.
pub trait AddressHasher: Send + Sync + 'static {
    /// The hash of an address's key, under the key that new hashes are made with.
    fn digest(&self, key: &str) -> [u8; 32];

    /// The hashes of an address's key under all keys that are still there.
    fn digests(&self, key: &str) -> Vec<[u8; 32]>;
}

/// Where the credentials of first accounts are filed for those who will use them.
#[async_trait]
pub trait CredentialsFile: Send + Sync + 'static {
    /// The credentials of an account. Those that are filed already are returned; else new ones, with a password that
    /// nobody can guess, are on the disk when this returns.
    ///
    /// # Errors
    /// When they can't be read or written.
    async fn obtain(&self, account: &FirstAccount) -> Result<Credentials, CredentialsError>;
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
