//! The gateway: one address for all services.
//!
//! ```text
//! call ─▶ limit refusals by address ─▶ identity and access ─▶ limit by account or address ─▶ route ─▶ upstream
//! ```
//!
//! Calls are passed on by the name of their method, without being decoded: messages, metadata, trailers and deadlines
//! arrive as they were sent. Tokens are verified here, so that refused calls cost the services nothing, and again by
//! the service, which trusts no gateway. API keys and tokens of other issuers are exchanged at the users service for tokens of ours,
//! which go on in their place. A service that several upstreams have is answered by the one that the metadata
//! `meshwork-service` names; what only services may call is not offered. With each call goes the address of its caller, in
//! `meshwork-client-address`; all accounts at one address have a limit together. Health mirrors that of the services; reflection
//! shows them all.
//!
//! Where calls go can be said by a file of routes, which may change while the gateway runs: by weight, by headers, with copies for
//! others, and to services that the gateway wasn't built with.
//!
//! What comes by gRPC-Web, Connect or HTTP/JSON becomes such a call at the port itself, and goes the same way.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | which method goes where: matching and choosing, as plain functions |
//! | [`app`] | a file per use case: routes are loaded, an upstream has told its contracts |
//! | [`ports`] | where routes come from, what contracts say, what passes calls on |
//! | [`adapters`] | the file of routes, descriptors and reflection, the mesh's proxy, what isn't gRPC, exchanges of credentials, the access log, the errors, the mirror of health |

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
mod serve;

pub use config::{AccessLogConfig, Config, HttpConfig, Plan, RateLimit, RouteLimit, Upstreams};
pub use serve::serve;
