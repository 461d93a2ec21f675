//! The gRPC service: `grpc.health.v1.Health`.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::Health;
use super::heart::Heart;
use super::state::State;
use crate::server::Domain;

/// How many bytes a request may have: it is the name of a service.
pub(super) const REQUEST: usize = 4096;

/// Answers `Check` and `Watch` from a [`Health`].
///
/// `Watch` keeps nothing but the last state that it sent: a client that reads slowly gets the newest state next, and misses
/// those between.
#[derive(Clone, Debug)]
pub struct HealthService {
    health: Health,
    domain: Domain,
}

impl HealthService {
    pub(super) fn new(health: Health, domain: Domain) -> Self {
        Self { health, domain }
    }
}

impl From<Health> for HealthService {
    /// The service as it is, without [`Health::open`]; errors carry the domain `meshwork`.
    fn from(health: Health) -> Self {
        Self::new(health, Domain::default())
    }
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.health.beat();
        let Some(status) = self.health.status(&request.get_ref().service) else {
            let message = "this server has no service of that name; the empty name asks for the server as a whole";
            return Err(self.domain.refuse(Code::NotFound, "SERVICE_UNKNOWN", message, &[]));
        };
        Ok(Response::new(answer(status.into())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.health.beat();
        let watcher = Watcher {
            name: request.into_inner().service,
            states: self.health.0.state.subscribe(),
            heart: Arc::clone(&self.health.0.heart),
            told: None,
        };
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
    states: watch::Receiver<State>,
    heart: Arc<Heart>,
    told: Option<ServingStatus>,
}

impl Watcher {
    /// The next state that differs from the last one told; `None` when there is no registry any more.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let status = self.states.borrow_and_update().status(&self.name, self.heart.beats());
            let status = status.map_or(ServingStatus::ServiceUnknown, ServingStatus::from);
            if self.told != Some(status) {
                self.told = Some(status);
                return self.told;
            }
            self.states.changed().await.ok()?;
        }
    }
}
