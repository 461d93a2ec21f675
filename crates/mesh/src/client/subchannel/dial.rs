//! One try to make a connection.

use std::sync::Arc;

use futures_util::future::{AbortHandle, BoxFuture, FutureExt as _, abortable};
use tokio::time::{Instant, timeout};

use super::Options;
use super::address::ServerAddress;
use super::error::reason;
use crate::transport::{Connection, Driver, Http2Options};

/// What a try came to. `None`: it was given up.
pub(super) type Dialing = BoxFuture<'static, Option<Dialed>>;

pub(super) struct Dialed {
    pub address: ServerAddress,
    /// Whether it was for a connection beside others (gRFC A105).
    pub extra: bool,
    pub result: Result<(Connection, Driver), String>,
}

/// Gives the try up when dropped.
#[derive(Debug)]
pub(super) struct DialGuard {
    handle: AbortHandle,
    pub started: Instant,
}

impl Drop for DialGuard {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Connects and waits for the peer's SETTINGS; the timeout is over all of it.
pub(super) fn dial(
    server: ServerAddress,
    extra: bool,
    options: &Arc<Options>,
    http2: Http2Options,
) -> (DialGuard, Dialing) {
    let options = Arc::clone(options);
    let made = async move {
        let connected = timeout(options.connect_timeout, async {
            let ServerAddress { address, authority } = &server;
            let io = match authority {
                Some(authority) => options.connector.connect_as(address, authority).await,
                None => options.connector.connect(address).await,
            };
            let io = io.map_err(|error| reason(&error))?;
            let queue = Arc::clone(&options.queue);
            Connection::handshake(io, &http2, queue, authority.clone()).await.map_err(|error| error.to_string())
        });
        let result = connected.await.unwrap_or_else(|_| {
            Err(format!(
                "no HTTP/2 connection within {:?}: the server may be frozen or unreachable",
                options.connect_timeout
            ))
        });
        Dialed { address: server, extra, result }
    };
    let (made, handle) = abortable(made);
    (DialGuard { handle, started: Instant::now() }, made.map(Result::ok).boxed())
}
