//! What the use cases need of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::{InvalidRoutes, Method, OfferedMethod, RouteSettings, RouteTable, UpstreamName};

/// Encoded `FileDescriptorProto`s.
pub type Descriptors = Arc<[Bytes]>;

/// What the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Where it stands, for who has to correct it; empty: nowhere.
    pub origin: String,
    /// The routes and upstreams.
    pub settings: RouteSettings,
    /// The contracts of the upstreams that have a file.
    pub descriptors: BTreeMap<UpstreamName, Descriptors>,
}

/// Where the routes of the configuration come from.
#[async_trait]
pub trait RouteSource: Send + Sync {
    /// What the configuration says, if that is another than last time; at first it always is.
    async fn changed(&self) -> Option<Result<Configured, InvalidRoutes>>;
}

/// What descriptors say of upstreams.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// The services of each upstream, with their methods.
    pub services: BTreeMap<UpstreamName, BTreeMap<String, Vec<OfferedMethod>>>,
    /// The services of each upstream that are in a file of a name which one of the gateway's has, each with that name: the
    /// gateway's holds, and they aren't known.
    pub hidden: BTreeMap<UpstreamName, BTreeMap<String, String>>,
    /// The files in them that the gateway wasn't built with.
    pub files: Descriptors,
}

/// The contracts that an upstream has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedContracts {
    /// Who.
    pub upstream: UpstreamName,
    /// Where it was asked.
    pub target: String,
    /// The files of its services, and those that they import.
    pub descriptors: Descriptors,
}

/// The contracts of the services behind the gateway.
pub trait Contracts: Send + Sync {
    /// All methods of the shop's services, but those that only services may call.
    fn methods(&self) -> Vec<Method>;

    /// The names of services that nobody else may have.
    fn reserved(&self) -> BTreeSet<String>;

    /// What the descriptors of upstreams say, beside the shop's own.
    ///
    /// # Errors
    /// When they can't be read, or don't fit together.
    fn read(&self, descriptors: &BTreeMap<UpstreamName, Descriptors>) -> Result<Described, InvalidRoutes>;
}

/// All that calls go by.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The routes.
    pub table: Arc<RouteTable>,
    /// The settings that they come from.
    pub settings: Arc<RouteSettings>,
    /// The contracts of upstreams that the gateway wasn't built with.
    pub files: Descriptors,
}

/// What passes calls on.
#[async_trait]
pub trait Forwarding: Send + Sync {
    /// Has the calls that begin from now on go by `routing`.
    ///
    /// # Errors
    /// When that can't be; calls go as before then.
    async fn apply(&self, routing: Routing) -> Result<(), InvalidRoutes>;
}
