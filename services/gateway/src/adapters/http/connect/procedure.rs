//! The method that a path of Connect names.

use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use super::codec::Codec;

/// A method, and how it is called.
#[derive(Clone, Debug)]
pub(super) struct Procedure {
    /// `/package.Service/Method`.
    pub path: String,
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
    /// Whether one side streams.
    pub streams: bool,
    /// Whether it changes nothing, so that it may be asked by GET.
    pub is_read: bool,
}

impl Procedure {
    /// The method of `pool` at `path`.
    pub(super) fn find(pool: &DescriptorPool, path: &str) -> Option<Self> {
        let (service, name) = parts(path)?;
        let method = pool.get_service_by_name(service)?.methods().find(|method| method.name() == name)?;
        Some(Self {
            path: path.to_owned(),
            input: method.input(),
            output: method.output(),
            streams: method.is_client_streaming() || method.is_server_streaming(),
            is_read: is_read(&method),
        })
    }

    /// The codec of a request of this media type; `None` for one that the method isn't called with.
    pub(super) fn codec(&self, media_type: &str) -> Option<Codec> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        [Codec::Proto, Codec::Json].into_iter().find(|codec| self.media_type(*codec).eq_ignore_ascii_case(essence))
    }

    /// The media type of its messages.
    pub(super) const fn media_type(&self, codec: Codec) -> &'static str {
        if self.streams { codec.stream_type() } else { codec.unary_type() }
    }

    /// The methods of HTTP that it is asked by.
    pub(super) const fn allowed(&self) -> &'static str {
        if self.is_read && !self.streams { "GET, POST" } else { "POST" }
    }
}

/// Whether a path has the form of a method's: `/package.Service/Method`.
pub(super) fn is_procedure(path: &str) -> bool {
    parts(path).is_some_and(|(service, _)| service.contains('.'))
}

fn parts(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

fn is_read(method: &MethodDescriptor) -> bool {
    let options = method.method_descriptor_proto().options.as_ref();
    options.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
}

#[cfg(test)]
mod tests {
    use meshwork_api::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn a_method_is_found_by_its_path_with_how_it_is_called() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let find = |path: &str| Procedure::find(&pool, path);
        let get = find("/meshwork.orders.v1.OrderService/GetOrder").unwrap();
        assert_eq!((get.streams, get.is_read, get.allowed()), (false, true, "GET, POST"));
        assert_eq!(get.input.full_name(), "meshwork.orders.v1.GetOrderRequest");
        assert_eq!(get.codec("application/json; charset=utf-8"), Some(Codec::Json));
        assert_eq!(get.codec("application/connect+json"), None);
        let create = find("/meshwork.orders.v1.OrderService/CreateOrder").unwrap();
        assert_eq!((create.is_read, create.allowed()), (false, "POST"));
        let watch = find("/meshwork.orders.v1.OrderService/WatchOrder").unwrap();
        assert_eq!((watch.streams, watch.allowed()), (true, "POST"));
        assert_eq!(watch.codec("application/connect+proto"), Some(Codec::Proto));
        assert_eq!(watch.codec("application/proto"), None);
        for path in [
            "/meshwork.orders.v1.OrderService/getOrder",
            "/meshwork.orders.v1.OrderService/GetOrder/",
            "/meshwork.orders.v1.OrderService",
            "meshwork.orders.v1.OrderService/GetOrder",
            "/no.Service/GetOrder",
            "//",
            "/",
            "",
        ] {
            assert!(find(path).is_none(), "{path}");
        }
        assert!(is_procedure("/no.Service/GetOrder") && !is_procedure("/v1/orders"));
    }
}
