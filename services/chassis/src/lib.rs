//! The chassis: what every service of the back end needs to be a service.
//!
//! | module | what it is for |
//! |---|---|
//! | [`server`] | a gRPC port with health, reflection, authorisation and a bounded stop |
//! | [`background`] | tasks beside the port, whose end is the service's end |
//! | [`auth`] | who calls: verified tokens in, tokens of the service role out |
//! | [`client`] | channels to other services, and the policy of calls between services |
//! | [`errors`] | statuses with their standard details, from one table per service |
//! | [`validate`], [`page`], [`filter`], [`mask`], [`etag`], [`request`] | the parts of requests that the AIPs define |
//! | [`config`], [`clock`] | settings and time |

pub mod auth;
pub mod background;
pub mod client;
pub mod clock;
pub mod config;
mod drain;
pub mod errors;
pub mod etag;
pub mod filter;
pub mod mask;
mod opening;
pub mod page;
pub mod request;
pub mod server;
pub mod validate;

pub use auth::{Principal, Role};
pub use client::ClientConfig;
pub use clock::{Clock, SystemClock};
pub use server::ServeError;
pub use tokio_util::sync::CancellationToken;
