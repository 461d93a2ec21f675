//! Tokens for a client's calls: fetched when they are needed, sent with each call, replaced before their end.
//!
//! A [`TokenSource`] fetches a token: it signs in somewhere, reads a file, or asks a metadata server. [`Credentials`] fetch
//! one for all their channels; [`Credentials::channel`] puts the token of the moment into each call's `authorization`.
//!
//! ```
//! use std::time::Duration;
//! use meshwork::Channel;
//! use meshwork::credentials::{Credentials, Token, TokenSource};
//!
//! struct File;
//!
//! #[async_trait::async_trait]
//! impl TokenSource for File {
//!     async fn token(&self) -> Result<Token, String> {
//!         let token = tokio::fs::read_to_string("/var/run/secrets/tokens/mesh").await;
//!         let token = token.map_err(|error| format!("the token can't be read: {error}"))?;
//!         Token::bearer(token.trim(), Duration::from_secs(600)).map_err(|error| error.to_string())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = Credentials::new(File);
//! let channel = credentials.channel(Channel::connect_lazy("dns:///orders:50051")?);
//! // let client = OrdersClient::new(channel);
//! # let _ = channel; Ok(()) }
//! ```
//!
//! | what | default | source |
//! |---|---|---|
//! | a fetch may take | 5 s | ours |
//! | a token is replaced | 60 s before its end, or when three quarters of a shorter life are over | ours |
//! | the outcome of a fetch stands for | 1 s | ours |
//! | a call without a token | UNAVAILABLE | ours |
//!
//! While a token is replaced, calls go on with the old one; if that fails, until its end. A peer that answers
//! UNAUTHENTICATED has the token it was sent forgotten, unless that was fetched within the last second. The call itself is
//! not repeated.

mod fetch;
mod service;
mod source;

pub use self::fetch::{Credentials, CredentialsBuilder};
pub use self::service::WithToken;
pub use self::source::{Token, TokenSource};
