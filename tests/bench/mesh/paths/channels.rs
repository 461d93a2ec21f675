//! Tonic's own channels.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{Path, request};
use crate::message;

impl Path for Channel {
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        message::call(&mut *self, request(deadline)).await.map(drop)
    }
}

/// One server. TCP_NODELAY is tonic's default.
pub fn one(server: SocketAddr) -> Channel {
    endpoint(server).connect_lazy()
}

/// Tonic's balancer.
pub fn balance_list(servers: &[SocketAddr]) -> Channel {
    Channel::balance_list(servers.iter().map(|server| endpoint(*server)))
}

fn endpoint(server: SocketAddr) -> Endpoint {
    Endpoint::try_from(format!("http://{server}")).unwrap()
}

/// A channel to each server, used by turns: what people do about one channel's limit.
#[derive(Clone)]
pub struct ByTurns {
    channels: Arc<[Channel]>,
    turn: Arc<AtomicUsize>,
}

impl ByTurns {
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self { channels: servers.iter().map(|server| one(*server)).collect(), turn: Arc::default() }
    }
}

impl Path for ByTurns {
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        message::call(self.channels[turn].clone(), request(deadline)).await.map(drop)
    }
}
