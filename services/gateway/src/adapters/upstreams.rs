//! The channels to the upstreams, and what follows each of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use meshwork::Channel;
use meshwork::server::proxy;
use meshwork_chassis::{ClientConfig, ServeError};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::health::HealthMirror;
use super::reflection::{self, Questions};
use crate::config::Upstreams;
use crate::domain::{InvalidRoutes, RouteSettings, Upstream, UpstreamName};
use crate::ports::LearnedContracts;

/// How many upstreams may have told of their contracts before somebody looks at it.
const WAITING: usize = 8;

/// The channels to all upstreams. Each is followed for its health, and some for their contracts, until [`stop`](Self::stop).
pub struct UpstreamChannels {
    client: ClientConfig,
    mirror: Arc<HealthMirror>,
    learned: mpsc::Sender<LearnedContracts>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Those of the shop, which stay.
    shop: HashMap<UpstreamName, Channel>,
    /// Those of the configuration.
    added: Mutex<HashMap<UpstreamName, Added>>,
}

/// An upstream of the configuration. Dropped, it is followed no more.
struct Added {
    target: String,
    checks_health: bool,
    channel: Channel,
    _stop: DropGuard,
    asked: Option<Asked>,
}

/// An upstream that is asked for its contracts.
struct Asked {
    services: BTreeSet<String>,
    _stop: DropGuard,
}

/// Channels that are not used yet.
pub(super) struct Prepared(HashMap<UpstreamName, PreparedUpstream>);

struct PreparedUpstream {
    target: String,
    checks_health: bool,
    channel: Channel,
    /// What it is asked for, if it is.
    services: Option<BTreeSet<String>>,
}

impl Added {
    /// Whether it is the same, and stays.
    fn is(&self, target: &str, checks_health: bool) -> bool {
        self.target == target && self.checks_health == checks_health
    }
}

impl UpstreamChannels {
    /// The channels to the shop's services, which `mirror` is told the health of. What upstreams tell of their contracts comes
    /// by the receiver.
    ///
    /// # Errors
    /// When a target is none.
    pub fn new(
        client: ClientConfig,
        upstreams: &Upstreams,
        mirror: Arc<HealthMirror>,
    ) -> Result<(Self, mpsc::Receiver<LearnedContracts>), ServeError> {
        let target = |upstream| match upstream {
            Upstream::Users => ("gateway.upstreams.users", &upstreams.users),
            Upstream::Products => ("gateway.upstreams.products", &upstreams.products),
            Upstream::Orders => ("gateway.upstreams.orders", &upstreams.orders),
            Upstream::Notifications => ("gateway.upstreams.notifications", &upstreams.notifications),
        };
        let channel = |upstream| {
            let (key, target) = target(upstream);
            Ok((UpstreamName::from(upstream), client.channel(key, target)?))
        };
        let shop = Upstream::ALL.into_iter().map(channel).collect::<Result<HashMap<_, _>, ServeError>>()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (upstream, channel) in &shop {
            tasks.spawn(Arc::clone(&mirror).follow(upstream.clone(), channel.clone(), stop.clone()));
        }
        let (learned, receiver) = mpsc::channel(WAITING);
        Ok((Self { client, mirror, learned, stop, tasks, shop, added: Mutex::default() }, receiver))
    }

    /// Channels for `settings`: those that there are, where targets and checks are the same, and new ones.
    ///
    /// # Errors
    /// When a target is none.
    pub(super) fn prepare(&self, settings: &RouteSettings) -> Result<Prepared, InvalidRoutes> {
        let added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = settings.upstreams.iter().map(|(name, upstream)| {
            let (target, checks_health) = (upstream.target.clone(), upstream.checks_health);
            let is_same = |there: &&Added| there.is(&target, checks_health);
            let channel = match added.get(name).filter(is_same) {
                Some(there) => there.channel.clone(),
                None => {
                    let key = format!("upstreams.{name}.target");
                    let client = ClientConfig { skips_health: !checks_health, ..self.client.clone() };
                    let channel = client.channel(&key, &target);
                    channel
                        .map_err(|error| InvalidRoutes::new(key, format!("can't be used: {error}; {}", error.hint)))?
                }
            };
            let named = || upstream.named_services().into_iter().map(str::to_owned).collect();
            let services = upstream.learns().then(named);
            Ok::<_, InvalidRoutes>((name.clone(), PreparedUpstream { target, checks_health, channel, services }))
        });
        Ok(Prepared(prepared.collect::<Result<_, _>>()?))
    }

    /// The shop's upstreams and those of `prepared`, as the proxy takes them.
    pub(super) fn of_proxy(&self, prepared: &Prepared) -> HashMap<UpstreamName, proxy::Upstream> {
        let added = prepared.0.iter().map(|(name, upstream)| (name, &upstream.channel));
        let all = self.shop.iter().chain(added);
        all.map(|(name, channel)| (name.clone(), proxy::Upstream::new(name.shared(), channel.clone()))).collect()
    }

    /// Follows those of `prepared`, and no others of the configuration any more.
    pub(super) fn follow(&self, prepared: Prepared) {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *added);
        for (name, new) in prepared.0 {
            let services = new.services.clone();
            let mut upstream = match before.remove(&name) {
                Some(there) if there.is(&new.target, new.checks_health) => there,
                other => {
                    // What was at another target is stopped before.
                    drop(other);
                    self.mirror.leave(&name);
                    self.add(&name, new)
                }
            };
            if upstream.asked.as_ref().map(|asked| &asked.services) != services.as_ref() {
                upstream.asked = services.map(|services| self.ask(&name, &upstream, services));
            }
            added.insert(name, upstream);
        }
        for (name, gone) in before {
            drop(gone);
            self.mirror.leave(&name);
        }
    }

    fn add(&self, name: &UpstreamName, new: PreparedUpstream) -> Added {
        let PreparedUpstream { target, checks_health, channel, .. } = new;
        if !checks_health {
            tracing::info!(
                upstream = %name,
                "the upstream isn't asked for its health: it counts as healthy while it is connected, unless the routes say health = true"
            );
        }
        let stop = self.stop.child_token();
        self.tasks.spawn(Arc::clone(&self.mirror).follow(name.clone(), channel.clone(), stop.clone()));
        Added { target, checks_health, channel, _stop: stop.drop_guard(), asked: None }
    }

    fn ask(&self, name: &UpstreamName, upstream: &Added, services: BTreeSet<String>) -> Asked {
        let stop = self.stop.child_token();
        let questions =
            Questions { upstream: name.clone(), target: upstream.target.clone(), services: services.clone() };
        let (channel, learned) = (upstream.channel.clone(), self.learned.clone());
        self.tasks.spawn(reflection::follow(questions, channel, learned, stop.clone()));
        Asked { services, _stop: stop.drop_guard() }
    }

    /// Follows nobody any more; all that it started has ended when it returns.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
