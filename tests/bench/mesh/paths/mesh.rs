//! Our channel, with the policy file and without.

use std::net::SocketAddr;
use std::time::Duration;

use meshwork::policy::Policy;
use meshwork::{CallTrace, Channel};
use tonic::Status;

use super::{PATIENT, Path, request};
use crate::message;

/// Our channel.
#[derive(Clone)]
pub struct Mesh(Channel);

impl Mesh {
    /// With deadline, attempt timeout, retries, circuit breaker and outlier detection.
    pub fn with_policy(servers: &[SocketAddr]) -> Self {
        let mut policy = include_str!("../policy.json").to_owned();
        if std::env::var_os(PATIENT).is_some() {
            // The same work, but no limit that strikes.
            policy = policy.replace("\"1s\"", "\"60s\"").replace("\"0.25s\"", "\"60s\"");
        }
        Self::new(servers, Policy::parse(&policy).unwrap())
    }

    /// As it is by default.
    pub fn bare(servers: &[SocketAddr]) -> Self {
        Self::new(servers, Policy::default())
    }

    pub fn into_channel(self) -> Channel {
        self.0
    }

    fn new(servers: &[SocketAddr], policy: Policy) -> Self {
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        let target = format!("static:///{}", servers.join(","));
        Self(Channel::builder().policy(policy).connect_lazy(&target).unwrap())
    }
}

impl Path for Mesh {
    async fn call(&mut self, deadline: Option<Duration>) -> Result<(), Status> {
        message::call(&mut self.0, request(deadline)).await.map(drop)
    }

    async fn traced(&mut self) -> (Result<(), Status>, Option<Duration>) {
        let (trace, mut request) = (CallTrace::new(), request(None));
        request.extensions_mut().insert(trace.clone());
        let result = message::call(&mut self.0, request).await.map(drop);
        (result, Some(trace.report().attempts.iter().map(|attempt| attempt.queued).sum()))
    }
}
