//! The methods of the contracts, and what their annotations say of fields.

use std::collections::BTreeMap;

use meshwork_api::meshwork::options::v1::Caller;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, MessageDescriptor,
    MethodDescriptor, Value,
};

/// A method that the gateway passes on.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// Its path, such as `/meshwork.orders.v1.OrderService/GetOrder`.
    pub(crate) path: String,
    pub(crate) input: MessageDescriptor,
    /// Whether somebody who is not of the staff may call it.
    pub(crate) admits_customers: bool,
    /// Whether its answer is a stream.
    pub(crate) streams: bool,
    /// Whether it administers services, so that callers must say which one they mean.
    pub(crate) administers: bool,
}

/// What is known of a field from its annotations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Whether a plausible request sets it: it is required, names the resource itself, or is only ever sent.
    pub(crate) is_given: bool,
    /// Whether its value is a UUID.
    pub(crate) is_uuid: bool,
    /// The type of the resource that it names.
    pub(crate) resource: Option<String>,
}

/// The contracts.
pub(crate) struct Contracts {
    pool: DescriptorPool,
    access: ExtensionDescriptor,
    behavior: ExtensionDescriptor,
    behaviors: EnumDescriptor,
    reference: ExtensionDescriptor,
    resource: ExtensionDescriptor,
    info: ExtensionDescriptor,
    /// What the names of a type of resources look like.
    patterns: BTreeMap<String, String>,
}

impl Contracts {
    /// Reads the descriptors of this build.
    pub(crate) fn read() -> Self {
        let pool = DescriptorPool::decode(meshwork_api::FILE_DESCRIPTOR_SET).unwrap();
        let option = |name: &str| pool.get_extension_by_name(name).unwrap();
        let (access, info) = (option("meshwork.options.v1.access"), option("google.api.field_info"));
        let (behavior, reference) = (option("google.api.field_behavior"), option("google.api.resource_reference"));
        let resource = option("google.api.resource");
        let behaviors = pool.get_enum_by_name("google.api.FieldBehavior").unwrap();
        let mut patterns = BTreeMap::new();
        for message in pool.all_messages() {
            let (kind, pattern) = of_resource(&message, &resource);
            if !kind.is_empty() {
                patterns.insert(kind, pattern);
            }
        }
        Self { pool, access, behavior, behaviors, reference, resource, info, patterns }
    }

    /// The methods of our services that people may call, but for those that take a stream of requests.
    pub(crate) fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        for service in self.pool.services().filter(|service| service.package_name().starts_with("meshwork.")) {
            for method in service.methods() {
                let callers = self.callers(&method);
                if callers == [Caller::Service] || method.is_client_streaming() {
                    continue;
                }
                methods.push(Method {
                    path: format!("/{}/{}", service.full_name(), method.name()),
                    input: method.input(),
                    admits_customers: callers.contains(&Caller::Anyone) || callers.contains(&Caller::Owner),
                    streams: method.is_server_streaming(),
                    administers: service.package_name().starts_with("meshwork.admin."),
                });
            }
        }
        methods
    }

    fn callers(&self, method: &MethodDescriptor) -> Vec<Caller> {
        let options = method.options();
        let access = options.get_extension(&self.access);
        let callers = access.as_message().unwrap().get_field_by_name("callers").unwrap();
        let callers = callers.as_list().unwrap().iter();
        callers.map(|caller| Caller::try_from(caller.as_enum_number().unwrap()).unwrap()).collect()
    }

    /// What the names of a type of resources look like, such as `orders/{order}`.
    pub(crate) fn pattern(&self, resource: &str) -> Option<&str> {
        self.patterns.get(resource).map(String::as_str)
    }

    /// What the annotations say of a field.
    pub(crate) fn facts(&self, field: &FieldDescriptor) -> Facts {
        let options = field.options();
        let behaviors = options.get_extension(&self.behavior);
        let has = |wanted: &str| {
            let wanted = self.behaviors.get_value_by_name(wanted).map(|value| value.number());
            behaviors.as_list().unwrap().iter().any(|value| value.as_enum_number() == wanted)
        };
        let is_name = has("IDENTIFIER");
        let resource = if is_name {
            of_resource(field.parent_message(), &self.resource).0
        } else {
            text_in(&options.get_extension(&self.reference), "type")
        };
        let info = options.get_extension(&self.info);
        let format = info.as_message().unwrap().get_field_by_name("format").unwrap().as_enum_number();
        Facts {
            is_given: (has("REQUIRED") || is_name || has("INPUT_ONLY")) && !has("OUTPUT_ONLY"),
            is_uuid: format == Some(1),
            resource: Some(resource).filter(|resource| !resource.is_empty()),
        }
    }
}

/// The type of the resource that a message is, and what its names look like; both empty when it is none.
fn of_resource(message: &MessageDescriptor, option: &ExtensionDescriptor) -> (String, String) {
    let options = message.options();
    let resource = options.get_extension(option);
    let kind = text_in(&resource, "type");
    let resource: &DynamicMessage = resource.as_message().unwrap();
    let patterns = resource.get_field_by_name("pattern").unwrap();
    let first = patterns.as_list().unwrap().first().and_then(Value::as_str).unwrap_or_default().to_owned();
    (kind, first)
}

/// The text of a field of a message.
fn text_in(message: &Value, field: &str) -> String {
    let message = message.as_message().unwrap();
    message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_what_fields_are() {
        let contracts = Contracts::read();
        assert_eq!(contracts.pattern("products.meshwork.dev/Stock"), Some("products/{product}/stock"));
        let message = contracts.pool.get_message_by_name("meshwork.orders.v1.CancelOrderRequest").unwrap();
        let facts = |name: &str| contracts.facts(&message.get_field_by_name(name).unwrap());
        let name = facts("name");
        assert!(name.is_given && !name.is_uuid);
        assert_eq!(name.resource.as_deref(), Some("orders.meshwork.dev/Order"));
        assert!(facts("request_id").is_uuid && !facts("reason").is_given);
    }
}
