//! Kubernetes: `k8s:///service.namespace:port`.

mod client;
mod fault;
mod follow;
mod name;
mod slices;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::client::Source;
use self::follow::{Answer, Follower};
pub(super) use self::name::Service;
pub use self::name::ServiceError;
use super::{Resolution, ResolveError, Resolver};

/// The variable that says in which zone this process runs.
const ZONE: &str = "MESHWORK_ZONE";

/// How long the first answer may take. What takes longer than the requests that lead to it says so by itself.
const FIRST: Duration = Duration::from_secs(15);

/// The pods behind a service of Kubernetes, by its EndpointSlices.
///
/// They are listed at the first resolution and watched from then on, until the resolver is dropped. A watch goes on
/// where it ended; it begins anew with a list when the API server no longer knows that place. While the API server is
/// away, the last answer stays. When the runtime of that resolution ends, the watch goes on with the next resolution, on its
/// runtime.
///
/// Endpoints are the pods that are ready; when there are none, those that terminate and still serve. A pod with an IPv4
/// and an IPv6 address is one endpoint. More than 1,000 are not taken: each client takes others then.
///
/// The client needs the verbs `get`, `list` and `watch` for `endpointslices` of the API group `discovery.k8s.io` in the
/// service's namespace.
///
/// ```no_run
/// use meshwork::Channel;
/// use meshwork::resolve::Kubernetes;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = kube::Client::try_default().await?;
/// let resolver = Kubernetes::new(client, "users.shop:grpc")?.zone("eu-1a");
/// let channel = Channel::builder().resolver(resolver).connect("k8s:///users.shop:grpc").await?;
/// # Ok(()) }
/// ```
pub struct Kubernetes {
    name: String,
    /// Until the first resolution, and when the runtime of a resolution has ended until the next one.
    idle: Arc<Mutex<Option<Follower>>>,
    /// From then on.
    task: Mutex<Option<AbortOnDropHandle<()>>>,
    /// The answers of the follower; the one of the last resolution counts as seen.
    answers: Mutex<watch::Receiver<Option<Answer>>>,
}

impl Kubernetes {
    /// With a client of one's own, which works as long as the runtime on which it was made. `service` is
    /// `service.namespace:port`, where the port is a name or a number as the EndpointSlices have it, which is that of the
    /// pods. Without a namespace it is that of the client; without a port it is the only one.
    ///
    /// # Errors
    /// When `service` is no such thing.
    pub fn new(client: kube::Client, service: &str) -> Result<Self, ServiceError> {
        Ok(Self::of(Source::Given(client), Service::parse(service)?))
    }

    /// With the client of the environment, as for a target: by `KUBECONFIG` or `~/.kube/config`, else by the service
    /// account of the pod. The zone is that which `MESHWORK_ZONE` names, if any.
    ///
    /// # Errors
    /// When `service` is not like `service.namespace:port`.
    pub fn from_environment(service: &str) -> Result<Self, ServiceError> {
        Ok(Self::of_target(Service::parse(service)?))
    }

    pub(super) fn of_target(service: Service) -> Self {
        let resolver = Self::of(Source::Environment, service);
        match std::env::var(ZONE) {
            Ok(zone) if !zone.is_empty() => resolver.zone(zone),
            _ => resolver,
        }
    }

    fn of(source: Source, service: Service) -> Self {
        let (sender, answers) = watch::channel(None);
        Self {
            name: service.to_string(),
            idle: Arc::new(Mutex::new(Some(Follower::new(source, service, sender)))),
            task: Mutex::default(),
            answers: Mutex::new(answers),
        }
    }

    /// The zone in which this process runs. Where the EndpointSlices have hints (the service's `trafficDistribution`),
    /// the endpoints that are meant for this zone are the only ones, as long as there are any.
    #[must_use]
    pub fn zone(self, zone: impl Into<Arc<str>>) -> Self {
        if let Some(follower) = lock(&self.idle).as_mut() {
            follower.zone = Some(zone.into());
        }
        self
    }

    fn start(&self) {
        let follower = lock(&self.idle).take();
        if follower.is_some() {
            let running = RunningFollower { follower, idle: Arc::clone(&self.idle) };
            // Only who has taken the follower comes here; the task before has ended.
            *lock(&self.task) = Some(AbortOnDropHandle::new(tokio::spawn(running.run())));
        }
    }

    fn answers(&self) -> watch::Receiver<Option<Answer>> {
        lock(&self.answers).clone()
    }
}

/// The follower while a runtime drives it. When that ends, it is left to the next resolution, which may be on another one.
struct RunningFollower {
    follower: Option<Follower>,
    idle: Arc<Mutex<Option<Follower>>>,
}

impl RunningFollower {
    async fn run(mut self) {
        if let Some(follower) = &mut self.follower {
            follower.run().await;
        }
    }
}

impl Drop for RunningFollower {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.take()
            // It would panic again.
            && !std::thread::panicking()
        {
            lock(&self.idle).insert(follower).interrupted();
        }
    }
}

/// Nothing is left half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Resolver for Kubernetes {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        self.start();
        let mut answers = self.answers();
        let first = async { answers.wait_for(|answer| answer.is_some()).await.map(|answer| answer.clone()) };
        let answer = match timeout(FIRST, first).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let message =
                    format!("the watch of the EndpointSlices of {} has ended; make the channel anew", self.name);
                return Err(ResolveError::new(message));
            }
            Err(_) => None,
        };
        *lock(&self.answers) = answers;
        match answer {
            Some(Ok(endpoints)) => Ok(Resolution::new(endpoints.to_vec())),
            Some(Err(why)) => Err(ResolveError::new(why)),
            None => Err(ResolveError::new(format!(
                "the API server did not tell of {} within {FIRST:?}; check that NetworkPolicies let this process reach it",
                self.name
            ))),
        }
    }

    async fn changed(&self) {
        if self.answers().changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("service", &self.name).finish_non_exhaustive()
    }
}
