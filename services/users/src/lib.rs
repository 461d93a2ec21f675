//! The users service: accounts, sessions, and the keys by which every service knows its callers.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | accounts, addresses, passwords, sessions and API keys with their rules |
//! | [`app`] | the use cases: sign up, change, delete, sign in, refresh, sign out, revoke; make, exchange and revoke keys; read and list |
//! | [`ports`] | what they need: stores, a password hasher, a token issuer, the files of first credentials, a clock |
//! | [`adapters`] | gRPC, other issuers' keys, the stores in SQLite and PostgreSQL, a cache before them, argon2id, Ed25519, files |
//!
//! Accounts lie in a file, or in one or several PostgreSQL databases, between which they can be moved while the service serves
//! ([`shards`]).
//!
//! At its first start it makes the key that signs access tokens, an account that runs the shop and one for each service
//! that calls others; [`Config::credentials`] is where their passwords are.
//!
//! Whoever comes through the gateway may try to sign in and to sign up as often as [`Config::sign_in`] and [`Config::sign_up`]
//! say, by address and, for wrong passwords, by account. A sign-up tells at once that an e-mail address is taken, as its
//! owner needs to know: the limit of sign-ups by address bounds what others can find out by it. Sign-in tells nothing, neither by
//! its answers nor by its time. Passwords are hashed a few at once, the addresses in turn ([`Config::passwords`]).
//!
//! Tokens of other issuers that the settings name ([`Config::issuers`]) are exchanged for ours. Whom an issuer knows by a name has one
//! account by the two, whose id is a hash of both (a UUID of version 8): it has neither an e-mail address nor a password, and its role
//! comes from the settings with each token.
//!
//! A file `signing-key-LABEL.pem` beside the first key takes its place at the next start, if its label comes last; the keys
//! before it are published until the tokens that they have signed are over.
//!
//! Addresses are compared by a key: the part before the `@` in lower case and the normal form C, and the domain by IDNA. At each
//! start accounts that an earlier release has kept by another key get theirs. Of accounts that turn out to have one address, that
//! which has the key already, or else the oldest, is known by all its spellings; the others go on signing in by exactly the spelling
//! that they have, are named in a warning at each start, and get mail at that spelling, until their owners give them another
//! address. None is merged or locked out. While an earlier release runs beside this one, whoever signs in through that may have to
//! spell a domain as its key does.
//!
//! `testing` (a feature) is the suite that every adapter of the stores passes.

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
mod serve;
pub mod shards;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::stores::place;
pub use config::{Config, IssuerAlgorithm, IssuerConfig, IssuerRole, PasswordsConfig, SignInConfig, SignUpConfig};
pub use serve::{migrate, serve};
