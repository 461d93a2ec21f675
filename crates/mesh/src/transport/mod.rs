//! HTTP/2 connections: the one module that knows `h2`.
//!
//! Its face is narrow, so that another HTTP/2 can take its place: `Connection::handshake` gives a connection that the
//! peer has accepted, `Connection::reserve` a place for a stream, `StreamSlot::send` sends a request, whatever its
//! body is, and gives an `Exchange`, the future of its response. The `Driver` moves the bytes and ends with the reason for
//! the end of the connection. The server's side is as narrow: a `ServerConnection` answers its calls by what is a `Serve`.
//! Public are the options, the errors, and the byte streams that a connector makes.

mod abandonment;
mod body;
mod connection;
mod driver;
mod error;
mod exchange;
mod frames;
mod header_list;
mod inflow;
mod keepalive;
mod options;
mod pump;
mod queue;
mod receive;
mod repair;
mod send;
mod sending;
mod serve;
mod slot;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use body::{FullBody, RequestStream};
pub(crate) use connection::Connection;
pub(crate) use driver::{Closed, Driver};
pub use error::{Fate, TransportError};
pub(crate) use exchange::{Exchange, ExchangeError};
pub(crate) use header_list::header_list_size;
pub use options::Http2Options;
pub(crate) use queue::{WaitQueue, Waiter};
pub(crate) use receive::ReceiveBody;
pub(crate) use serve::{CallGuard, CountUnwritten, LingeringWire, RequestBody, Serve, ServeOptions, ServerConnection};
pub(crate) use slot::StreamSlot;
pub(crate) use status::{code_of_http, status_of_response};

/// A byte stream that HTTP/2 can be spoken over.
pub trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static> Io for T {}
