//! The client's wing: from a call to a stream on a connection.
//!
//! `channel` is what users hold. A call goes from it to the endpoints, to a subchannel of one of them, to its connection.

mod backoff;
pub mod balance;
mod call;
pub mod channel;
pub mod connect;
pub mod credentials;
pub mod endpoint;
mod endpoints;
mod outlier;
pub mod resolve;
pub mod retry;
mod subchannel;
pub mod trace;
