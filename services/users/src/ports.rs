//! What the use cases need of the world.

mod attempts;
mod credentials;
mod error;
mod foreign;
mod keys;
mod sessions;
mod tokens;
mod users;

pub use meshwork_chassis::Clock;

pub use self::attempts::{AttemptLimits, HashError, Lane, Origin, PasswordHasher, TooManyAttempts};
pub use self::credentials::{AddressHasher, CredentialsError, CredentialsFile};
pub use self::error::StoreError;
pub use self::foreign::{ForeignIdentity, ForeignTokenError, ForeignTokens};
pub use self::keys::{ApiKeyStore, KeyCreation, NewApiKey, PresentedKey};
pub use self::sessions::{ActiveSession, NewSession, NewToken, PresentedToken, Renewal, SessionStore, Successor};
pub use self::tokens::{Basis, PublicKey, SignError, TokenIssuer};
pub use self::users::{
    Account, ChangeError, Creation, Decide, KeyRenewal, UserCursor, UserFilter, UserPage, UserStore, random_name,
};
