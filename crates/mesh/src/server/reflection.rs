//! Server reflection, in both versions: several tools know only one of them.

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Request;
use tonic::body::Body;
use tonic_reflection::server::{Builder, Error};

use super::router::{Answer, Handler, Router};

const V1: &str = "grpc.reflection.v1.ServerReflection";
const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// What every server has beside its own services.
const OWN: [&str; 3] = ["grpc.health.v1.Health", V1, V1_ALPHA];

/// The contracts of these.
pub(super) const OWN_SETS: [&[u8]; 3] = [
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// Adds the reflection services, which show the services `shown` of the encoded descriptor `sets`. Of `added`, another such set,
/// they show what these don't have: its files have other names, and a symbol that is in both is that of `sets`.
pub(super) fn add<'n>(
    router: &mut Router,
    sets: &[Vec<u8>],
    added: Option<&[u8]>,
    shown: impl Iterator<Item = &'n str>,
) -> Result<(), Error> {
    let builder = || {
        // The first file of a name counts, and the last symbol.
        let sets = added.into_iter().chain(OWN_SETS).chain(sets.iter().map(Vec::as_slice));
        // A port names what it serves, not every service of the descriptors.
        sets.fold(Builder::configure().include_reflection_service(false), |builder, set| {
            builder.register_encoded_file_descriptor_set(set)
        })
    };
    let (mut v1, mut v1alpha) = (builder(), builder());
    let mut names = HashSet::new();
    for name in OWN.into_iter().chain(shown).filter(|name| names.insert(*name)) {
        v1 = v1.with_service_name(name);
        v1alpha = v1alpha.with_service_name(name);
    }
    router.add(v1.build_v1()?);
    router.add(v1alpha.build_v1alpha()?);
    Ok(())
}

/// Adds the reflection services of the moment, which others may take the place of while the server runs.
pub(super) fn add_current(router: &mut Router, current: &Arc<ArcSwap<Router>>) {
    for name in [V1, V1_ALPHA] {
        router.add_route(name, Arc::new(CurrentReflection(Arc::clone(current))));
    }
}

/// Leads a call to the reflection services of the moment. A stream that is open goes on with those that it began with.
struct CurrentReflection(Arc<ArcSwap<Router>>);

impl Handler for CurrentReflection {
    fn call(&self, request: Request<Body>) -> Answer {
        let route = self.0.load().route(request.uri().path());
        match route {
            Some(route) => route.call(request),
            None => Box::pin(ready(Ok(Router::unknown(request.uri().path()).into_http()))),
        }
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}
