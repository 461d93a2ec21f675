//! What the client says about its connections.

use std::sync::Arc;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::EventInterface as _;
use fred::types::ClusterStateChange;
use fred::types::config::Server;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::failures::Failure;
use super::place::Place;

/// Subscriptions made before the first connection, so that none of it is missed.
pub(super) struct Events {
    errors: Receiver<(Error, Option<Server>)>,
    connections: Receiver<Server>,
    moves: Receiver<Vec<ClusterStateChange>>,
    place: Arc<Place>,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It ended, or could not be made.
    Failed(Failure),
    /// Another one was made: nothing is tracked on it.
    Connected,
    /// Slots of a cluster have another server, which may lack what the last one had.
    Moved,
    /// More happened than was kept.
    Missed,
}

impl Event {
    /// Why the link can't be relied upon.
    pub fn problem(&self) -> &str {
        match self {
            Self::Failed(failure) => &failure.sentence,
            Self::Connected => "the connection to Redis is a new one, on which nothing is tracked yet",
            Self::Moved => "slots of the Redis cluster have moved to another server",
            Self::Missed => "so much happened to the connections to Redis that some of it was missed",
        }
    }
}

impl Events {
    pub fn of(client: &Client, place: Arc<Place>) -> Self {
        let (errors, connections, moves) = (client.error_rx(), client.reconnect_rx(), client.cluster_change_rx());
        Self { errors, connections, moves, place }
    }

    /// The next one. May be cancelled.
    pub async fn next(&mut self) -> Event {
        let failed = |(error, _): (Error, Option<Server>)| Event::Failed(Failure::of(&error, &self.place));
        tokio::select! {
            error = self.errors.recv() => settle(error, failed).await,
            server = self.connections.recv() => settle(server, |_| Event::Connected).await,
            moves = self.moves.recv() => settle(moves, |_| Event::Moved).await,
        }
    }

    /// One that has happened already.
    pub fn take(&mut self) -> Option<Event> {
        let failed = |(error, _): (Error, Option<Server>)| Event::Failed(Failure::of(&error, &self.place));
        taken(self.errors.try_recv(), failed)
            .or_else(|| taken(self.connections.try_recv(), |_| Event::Connected))
            .or_else(|| taken(self.moves.try_recv(), |_| Event::Moved))
    }
}

async fn settle<T>(received: Result<T, RecvError>, event: impl FnOnce(T) -> Event) -> Event {
    match received {
        Ok(what) => event(what),
        Err(RecvError::Lagged(_)) => Event::Missed,
        // The client has ended: there is nothing more to wait for, and the beats tell.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

fn taken<T>(received: Result<T, TryRecvError>, event: impl FnOnce(T) -> Event) -> Option<Event> {
    match received {
        Ok(what) => Some(event(what)),
        Err(TryRecvError::Lagged(_)) => Some(Event::Missed),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}
