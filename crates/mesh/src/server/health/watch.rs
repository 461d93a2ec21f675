//! The gRPC service: `grpc.health.v1.Health`.

use std::sync::Arc;

use futures_util::future::select_all;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::Health;
use super::heart::Heartbeat;
use super::state::State;
use crate::errors::port::SERVICE_UNKNOWN;
use crate::server::Domain;

/// How many bytes a request may have: it is the name of a service.
pub(in crate::server) const REQUEST: usize = 4096;

/// Answers `Check` and `Watch` from a [`Health`], or from those of several servers in one process: a name that several know is
/// SERVING when it is that with all of them.
///
/// `Watch` keeps nothing but the last state that it sent: a client that reads slowly gets the newest state next, and misses
/// those between.
#[derive(Clone, Debug)]
pub struct HealthService {
    healths: Arc<[Health]>,
    domain: Domain,
}

impl Health {
    /// The gRPC service that answers health checks, for the server's routes. The server begins to serve with it.
    ///
    /// ```
    /// # let health = meshwork::server::health::Health::new();
    /// let routes = tonic::service::Routes::new(health.service());
    /// ```
    pub fn service(&self) -> health_server::HealthServer<HealthService> {
        self.service_of(Domain::default())
    }

    /// As [`Health::service`]; errors carry `domain`.
    pub fn service_of(&self, domain: Domain) -> health_server::HealthServer<HealthService> {
        self.open();
        HealthService::new([self.clone()], domain).into_server()
    }
}

impl HealthService {
    fn new(healths: impl IntoIterator<Item = Health>, domain: Domain) -> Self {
        Self { healths: healths.into_iter().collect(), domain }
    }

    /// With the bound of a request's size.
    pub(in crate::server) fn into_server(self) -> health_server::HealthServer<Self> {
        health_server::HealthServer::new(self).max_decoding_message_size(REQUEST)
    }

    fn beat(&self) {
        self.healths.iter().for_each(Health::beat);
    }
}

impl From<Health> for HealthService {
    /// The service as it is, without [`Health::open`]; errors carry the domain `meshwork`.
    fn from(health: Health) -> Self {
        Self::new([health], Domain::default())
    }
}

impl FromIterator<Health> for HealthService {
    /// The service of several servers, without [`Health::open`]; errors carry the domain `meshwork`.
    fn from_iter<I: IntoIterator<Item = Health>>(healths: I) -> Self {
        Self::new(healths, Domain::default())
    }
}

/// What those who know a name say of it together; `None` when nobody knows it.
fn together<S: PartialEq>(serving: &S, mut states: impl Iterator<Item = S>) -> Option<S> {
    let first = states.next()?;
    Some(states.fold(first, |worst, state| if worst == *serving { state } else { worst }))
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.beat();
        let name = &request.get_ref().service;
        let states = self.healths.iter().filter_map(|health| health.status(name));
        let Some(status) = together(&tonic_health::ServingStatus::Serving, states) else {
            let message = "this server has no service of that name; the empty name asks for the server as a whole";
            return Err(SERVICE_UNKNOWN.status(self.domain, message, &[]));
        };
        Ok(Response::new(answer(status.into())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.beat();
        let of = self.healths.iter().map(|health| (health.0.state.subscribe(), Arc::clone(&health.0.heart)));
        let watcher = Watcher { name: request.into_inner().service, of: of.collect(), sent: None };
        let answers = stream::unfold(watcher, |mut watcher| async move {
            let status = watcher.next().await?;
            Some((Ok(answer(status)), watcher))
        });
        Ok(Response::new(answers.boxed()))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// A client that watches a name.
struct Watcher {
    name: String,
    /// The states of each server, and its heart.
    of: Vec<(watch::Receiver<State>, Arc<Heartbeat>)>,
    sent: Option<ServingStatus>,
}

impl Watcher {
    /// The next state that differs from the last one sent; `None` when a server's registry is gone.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let name = self.name.as_str();
            let known = self.of.iter_mut().filter_map(|(states, heart)| {
                let state = states.borrow_and_update();
                state.status(name, heart.beats())
            });
            let status = together(&tonic_health::ServingStatus::Serving, known);
            let status = status.map_or(ServingStatus::ServiceUnknown, ServingStatus::from);
            if self.sent != Some(status) {
                self.sent = Some(status);
                return self.sent;
            }
            if self.of.is_empty() {
                // Nobody will ever know the name.
                return None;
            }
            let changes = self.of.iter_mut().map(|(states, _)| Box::pin(states.changed()));
            select_all(changes).await.0.ok()?;
        }
    }
}
