//! What comes to a server's port and is no gRPC: HTTP/1.1, and other requests of HTTP/2, for a service of the user's.
//!
//! A request goes to the [`HttpService`] before anything is decided of it, and no limit by rate holds for it: it is as
//! cheap as its service makes it. What bounds it is its connection, which has one request at a time over HTTP/1.1 and
//! so many streams over HTTP/2, the time and the bytes of its body, and the bytes of its answer that wait. The calls
//! that the service makes for it by [`Calls`] are calls as all others, with their limits, identity and access.

mod answer;
mod arriving;
mod builder;
mod calls;
mod connection;
mod head;
mod leftover;
mod service;
mod wire;

pub(in crate::server) use self::arriving::{ArrivingBody, BodyBounds};
pub use self::calls::Calls;
pub(in crate::server) use self::calls::PeerCalls;
pub(in crate::server) use self::connection::HttpConnection;
pub(in crate::server) use self::head::head_fault;
pub use self::service::HttpService;
