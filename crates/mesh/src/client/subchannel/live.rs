//! A connection in use, and what is watched of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::Options;
use super::address::ServerAddress;
use super::health::{Health, watch};
use crate::transport::Connection;

/// What happened to a connection.
pub(super) enum News {
    /// GOAWAY, or the end.
    Going,
    /// Its health changed.
    Health(Health),
}

/// A connection in use, with what is watched of it.
pub(super) struct Live {
    pub connection: Connection,
    pub address: ServerAddress,
    pub since: Instant,
    pub health: Health,
    going: Pin<Box<dyn Future<Output = ()> + Send>>,
    watch: Option<BoxStream<'static, Health>>,
    open: Arc<AtomicBool>,
}

impl Live {
    pub(super) fn new(connection: Connection, address: ServerAddress, options: &Arc<Options>) -> Self {
        let open = Arc::new(AtomicBool::new(false));
        let watching = options
            .health_check
            .clone()
            .map(|check| watch(connection.clone(), check, Arc::clone(options), Arc::clone(&open)));
        let health = if watching.is_some() { Health::Pending } else { Health::Serving };
        let followed = connection.clone();
        let going = Box::pin(async move { followed.going().await });
        Self { connection, address, since: Instant::now(), health, going, watch: watching, open }
    }

    /// Streams of callers.
    pub(super) fn active_streams(&self) -> usize {
        self.connection.active_streams().saturating_sub(usize::from(self.open.load(Ordering::Relaxed)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if self.going.as_mut().poll(cx).is_ready() {
            return Poll::Ready(News::Going);
        }
        if let Some(watch) = &mut self.watch
            && let Poll::Ready(Some(health)) = watch.poll_next_unpin(cx)
        {
            return Poll::Ready(News::Health(health));
        }
        Poll::Pending
    }
}
