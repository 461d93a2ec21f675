//! The contracts, as their descriptors tell them.

use meshwork_api::FILE_DESCRIPTOR_SET;
use meshwork_chassis::auth::AccessTable;
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::domain::Method;
use crate::ports::Contracts;

/// The contracts that this program was built with.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn;

impl Contracts for BuiltIn {
    fn methods(&self) -> Vec<Method> {
        // The descriptors were made by our build; a test reads the same bytes. If they can't be read, nothing has a route.
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let Ok(access) = AccessTable::from_contracts().map(AccessTable::without_internal) else { return Vec::new() };
        let mut methods = Vec::new();
        for file in &set.file {
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| Method {
                    package: file.package().to_owned(),
                    service: service.name().to_owned(),
                    name: method.name().to_owned(),
                }));
            }
        }
        methods.retain(|method| access.get(&method.path()).is_some());
        methods
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RouteTable, Upstream};

    #[test]
    fn every_service_that_people_may_call_has_a_route() {
        let routes = RouteTable::new(BuiltIn.methods());
        let routed: Vec<_> = routes.services().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(routed, AccessTable::from_contracts().unwrap().without_internal().services());
        for upstream in Upstream::ALL {
            let goes = routes.services().any(|(_, upstreams)| upstreams.contains(&upstream));
            assert!(goes, "nothing goes to {}", upstream.as_str());
        }
    }
}
