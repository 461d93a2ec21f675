//! What passes calls on: the proxy, the port's access and reflection, what isn't gRPC, and the mirror of health.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{ContractSet, Contracts};
use meshwork_chassis::Role;
use prost::Message as _;
use tonic::Status;

use super::access::AccessLog;
use super::contracts::{BuiltIn, EncodedFiles, shown};
use super::health::HealthMirror;
use super::http::{Front, FrontParts, MethodNote, Methods};
use super::routes::{ServiceRoutes, Snapshot, refusal};
use super::upstreams::UpstreamChannels;
use crate::config::HttpConfig;
use crate::domain::{Admits, CallerKind, InvalidRoutes, RouteSettings, RouteTable};
use crate::ports::{Forwarding, Routing};

/// What the port does by its settings, beside passing on gRPC.
#[derive(Clone)]
pub struct Edge {
    /// What answers what is no gRPC; `None`: nothing does.
    pub http: Option<HttpConfig>,
    /// Whether API keys are taken in place of tokens.
    pub takes_keys: bool,
    /// Logs requests; `None`: nobody does.
    pub log: Option<AccessLog>,
}

/// All that goes by the routes.
pub struct Gate {
    built_in: BuiltIn,
    upstreams: UpstreamChannels,
    mirror: Arc<HealthMirror>,
    edge: Edge,
    front: OnceLock<Front>,
    routes: ServiceRoutes,
    contracts: Contracts,
}

impl Gate {
    /// Gives `routes` what they are to be.
    pub fn new(
        built_in: BuiltIn,
        upstreams: UpstreamChannels,
        mirror: Arc<HealthMirror>,
        routes: ServiceRoutes,
        edge: Edge,
    ) -> Self {
        Self { built_in, upstreams, mirror, edge, front: OnceLock::new(), routes, contracts: Contracts::new() }
    }

    /// The routes of the proxy.
    pub fn routes(&self) -> ServiceRoutes {
        self.routes.clone()
    }

    /// What the port offers beyond what it was built with.
    pub fn contracts(&self) -> Contracts {
        self.contracts.clone()
    }

    /// What answers besides gRPC; `None` when nothing is to, and before there are routes.
    pub fn front(&self) -> Option<Front> {
        self.front.get().cloned()
    }

    /// Follows no upstream any more.
    pub async fn stop(&self) {
        self.upstreams.stop().await;
    }
}

#[async_trait]
impl Forwarding for Gate {
    async fn apply(&self, Routing { table, settings, files }: Routing) -> Result<(), InvalidRoutes> {
        let prepared = self.upstreams.prepare(&settings)?;
        let set = ContractSet {
            descriptors: Vec::from([EncodedFiles { file: files.to_vec() }.encode_to_vec()]),
            access: access(&table),
            shown: table.added_services().to_vec(),
        };
        let front = match self.edge.http.clone() {
            None => None,
            Some(config) => {
                let (built_in, methods) =
                    (self.built_in.clone(), Arc::new(RoutedMethods(Arc::clone(&table), Arc::clone(&settings))));
                let Edge { takes_keys, log, .. } = self.edge.clone();
                // Contracts may be large, and what is made of them takes its time.
                let made = tokio::task::spawn_blocking(move || {
                    let pool = built_in.pool_with(&files)?;
                    Ok::<_, InvalidRoutes>(Front::new(FrontParts { pool, methods, config, takes_keys, log }))
                });
                let made = made.await;
                Some(made.map_err(|error| InvalidRoutes::new("upstreams", format!("can't be read: {error}")))??)
            }
        };
        self.contracts
            .set(set)
            .map_err(|error| InvalidRoutes::new("upstreams", format!("can't be served: {}", shown(error))))?;
        self.routes.replace(Snapshot { upstreams: self.upstreams.of_proxy(&prepared), table: Arc::clone(&table) });
        if let Some(new) = front {
            self.front.get_or_init(|| new.clone()).replace(&new);
        }
        self.upstreams.follow(prepared);
        self.mirror.show(&table);
        Ok(())
    }
}

/// Whom the methods admit that the configuration has added.
fn access(table: &RouteTable) -> AccessTable {
    table.access().fold(AccessTable::new(), |access, (path, admits)| {
        let admits = match admits {
            Admits::Anyone => Access::Public,
            Admits::SignedIn => Access::Authenticated,
            Admits::Kinds(kinds) => Access::roles(kinds.iter().map(|kind| role(*kind).as_str())),
        };
        access.method(path, admits)
    })
}

const fn role(kind: CallerKind) -> Role {
    match kind {
        CallerKind::Customer => Role::Customer,
        CallerKind::Staff => Role::Staff,
        CallerKind::Service => Role::Service,
    }
}

/// The methods of a table, as what isn't gRPC asks for them.
struct RoutedMethods(Arc<RouteTable>, Arc<RouteSettings>);

impl Methods for RoutedMethods {
    fn has(&self, path: &str) -> bool {
        self.0.find(path).is_some()
    }

    fn is_added(&self, path: &str) -> bool {
        self.0.find(path).is_some_and(|method| method.is_added)
    }

    fn has_http_path(&self, path: &str, beginning: &[&str]) -> bool {
        let upstreams = self.0.find(path).into_iter().flat_map(|method| method.route.upstreams.iter());
        let mut settings = upstreams.filter_map(|upstream| self.1.upstreams.get(upstream));
        settings.any(|settings| settings.has_http_path(beginning))
    }

    fn note(&self, path: &str) -> Option<MethodNote> {
        let method = self.0.find(path)?;
        let upstreams = method.route.upstreams.iter().map(ToString::to_string).collect();
        // What nobody may call is no offer.
        let callers = if method.is_added { Some(callers(method.admits.as_ref()?)) } else { None };
        Some(MethodNote { upstreams, callers })
    }

    fn refusal(&self, path: &str) -> Status {
        refusal(&self.0, path)
    }
}

/// Those whom a method admits, in the words of the documentation.
fn callers(admits: &Admits) -> Vec<String> {
    let words: Vec<_> = match admits {
        Admits::Anyone => vec!["ANYONE"],
        Admits::SignedIn => vec!["SIGNED_IN"],
        Admits::Kinds(kinds) => {
            let word = |kind: &CallerKind| match kind {
                CallerKind::Customer => "CUSTOMER",
                CallerKind::Staff => "STAFF",
                CallerKind::Service => "SERVICE",
            };
            kinds.iter().map(word).collect()
        }
    };
    words.into_iter().map(str::to_owned).collect()
}
