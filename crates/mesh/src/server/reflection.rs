//! Server reflection, in both versions: several tools know only one of them.

use tonic_reflection::server::{Builder, Error};

use super::router::Router;

/// What every server has beside its own services.
const OWN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Adds the reflection services, which show the services `shown` of the encoded descriptor `sets`.
pub(super) fn add<'n>(
    router: &mut Router,
    sets: &[Vec<u8>],
    shown: impl Iterator<Item = &'n str>,
) -> Result<(), Error> {
    let builder = || {
        let own = Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            // A port names what it serves, not every service of the descriptors.
            .include_reflection_service(false);
        sets.iter().fold(own, |builder, set| builder.register_encoded_file_descriptor_set(set))
    };
    let (mut v1, mut v1alpha) = (builder(), builder());
    for name in OWN.into_iter().chain(shown) {
        v1 = v1.with_service_name(name);
        v1alpha = v1alpha.with_service_name(name);
    }
    router.add(v1.build_v1()?);
    router.add(v1alpha.build_v1alpha()?);
    Ok(())
}
