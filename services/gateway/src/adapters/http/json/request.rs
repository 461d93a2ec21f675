//! The message of a request, of its path, query, body and headers.

use http::{HeaderMap, Method};
use prost_reflect::{DynamicMessage, FieldDescriptor, Value as Field};

use super::binding::{Binding, Content};
use super::fault::Fault;
use super::{conditions, field, mask, message, query, value};

/// What a request is made of, beside its method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The values of the path's variables.
    pub(super) captures: &'a [String],
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Makes the message.
///
/// # Errors
/// When a part can't be read, or names what the method doesn't have, or the body says of a field something else than the
/// path.
pub(super) fn message(binding: &Binding, source: Source<'_>) -> Result<DynamicMessage, Fault> {
    let is_bound = |fields: &[FieldDescriptor]| is_bound(binding, fields);
    let parameters = query::tree(&binding.input, query::parameters(source.query)?, is_bound)?;
    let mut request = match &binding.body {
        Content::All => message::read(&binding.input, &value::parse(source.body)?, "")?,
        Content::Field(_) | Content::None => message::read(&binding.input, &parameters, "")?,
    };
    if let Content::Field(resource) = &binding.body
        && let Some(kind) = field::singular(resource)
    {
        let json = value::parse(source.body)?;
        let body = message::read(&kind, &json, resource.name())?;
        request.try_set_field(resource, Field::Message(body)).ok();
        if binding.verb == Method::PATCH
            && let Some(mask) = mask::field(&binding.input).filter(|mask| !request.has_field(mask))
        {
            let prefix = resource.name();
            let is_bound = |path: &str| {
                binding.template.variables.iter().any(|variable| {
                    let rest = variable.field.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
                    rest == Some(path)
                })
            };
            let paths = mask::paths(&kind, &json, is_bound);
            if !paths.is_empty() {
                mask::set(&mut request, &mask, paths);
            }
        }
    }
    for (fields, text) in binding.variables.iter().zip(source.captures) {
        let in_body = field::get(&request, fields);
        field::set(&mut request, fields, text.clone())?;
        if in_body.is_some() && in_body != field::get(&request, fields) {
            return Err(Fault::new(field::shown(fields), "must be absent, or what the path says"));
        }
    }
    conditions::apply(&mut request, binding, source.headers)?;
    Ok(request)
}

/// Whether the path or the body says a field, so that it is no parameter.
fn is_bound(binding: &Binding, fields: &[FieldDescriptor]) -> bool {
    let in_body = match &binding.body {
        Content::All => true,
        Content::Field(body) => fields.first() == Some(body),
        Content::None => false,
    };
    in_body || binding.variables.iter().any(|variable| variable == fields)
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::orders::v1::{
        CancelOrderRequest, CreateOrderRequest, GetOrderRequest, WatchOrderRequest,
    };
    use meshwork_api::meshwork::products::v1::UpdateProductRequest;
    use meshwork_api::meshwork::users::v1::UpdateUserRequest;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::binding::bindings;
    use super::super::testing::pool;
    use super::*;

    /// A request of a method, by its path, its query, its headers and its body.
    fn request<T: Message + Default>(
        method: &str,
        (capture, query): (&str, &str),
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<T, Fault> {
        let binding = bindings(&pool(), |path| path.ends_with(&format!("/{method}"))).pop().unwrap();
        let captures = [capture.to_owned()];
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let headers: HeaderMap = headers.collect();
        let source = Source { captures: &captures, query, headers: &headers, body: body.as_bytes() };
        Ok(message(&binding, source)?.transcode_to().unwrap())
    }

    const KEY: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    #[test]
    fn path_query_and_body_make_one_message() {
        let get: GetOrderRequest = request("GetOrder", ("orders/a", "version=2"), &[], "").unwrap();
        assert_eq!((get.name.as_str(), get.version), ("orders/a", 2));
        let body = r#"{"lines": [{"product": "products/a", "quantity": 1}]}"#;
        let create: CreateOrderRequest =
            request("CreateOrder", ("", "order_id=a&expectedTotal.units=5"), &[], body).unwrap();
        assert_eq!((create.order.unwrap().lines.len(), create.order_id.as_str()), (1, "a"));
        assert_eq!(create.expected_total.unwrap().units, 5);
        let body = r#"{"name": "orders/a", "reason": "late"}"#;
        let cancel: CancelOrderRequest = request("CancelOrder", ("orders/a", ""), &[], body).unwrap();
        assert_eq!((cancel.name.as_str(), cancel.reason.as_str()), ("orders/a", "late"));
    }

    #[test]
    fn what_the_body_or_the_path_says_is_no_parameter() {
        for (method, query, field) in [
            ("CancelOrder", "reason=late", "reason"),
            ("CreateOrder", "order.customer=users/a", "order.customer"),
            ("GetOrder", "name=orders/b", "name"),
        ] {
            let fault = request::<GetOrderRequest>(method, ("orders/a", query), &[], "").unwrap_err();
            assert_eq!(fault, Fault::new(field, "is no parameter of this method"));
        }
    }

    #[test]
    fn a_patch_without_a_mask_changes_what_its_json_names() {
        let body = r#"{"displayName": "A", "description": null, "price": {"currencyCode": "EUR", "units": 1}}"#;
        let patch = |query: &str| {
            let request: UpdateProductRequest = request("UpdateProduct", ("products/a", query), &[], body).unwrap();
            assert_eq!(request.product.unwrap().name, "products/a");
            let mut paths = request.update_mask.unwrap().paths;
            paths.sort();
            paths
        };
        assert_eq!(patch(""), ["description", "display_name", "price"]);
        assert_eq!(patch("updateMask=price"), ["price"]);
    }

    #[test]
    fn an_account_is_changed_by_a_post_with_the_password_in_its_body() {
        let body = r#"{"user": {"name": "users/anna", "password": "new horse"}, "currentPassword": "correct horse"}"#;
        // The binding that is given last.
        let etag: &[_] = &[("if-match", "\"v3\"")];
        let update: UpdateUserRequest = request("UpdateUser", ("users/anna", ""), etag, body).unwrap();
        let user = update.user.unwrap();
        let told = (user.name.as_str(), user.password.as_str(), user.etag.as_str());
        assert_eq!(told, ("users/anna", "new horse", "\"v3\""));
        assert_eq!((update.current_password.as_str(), update.update_mask), ("correct horse", None));
    }

    #[test]
    fn a_body_that_names_another_resource_than_the_path_is_refused() {
        let body = |name: &str| format!(r#"{{"name": "{name}", "displayName": "A"}}"#);
        let patch = |name: &str| {
            request::<UpdateProductRequest>("UpdateProduct", ("products/b", ""), &[], &body(name))
                .map(|request| request.product.unwrap().name)
        };
        for same in ["", "products/b"] {
            assert_eq!(patch(same).unwrap(), "products/b");
        }
        assert_eq!(patch("products/a").unwrap_err().field, "product.name");
        let update = format!(r#"{{"user": {}}}"#, body("users/alice"));
        let update = request::<UpdateUserRequest>("UpdateUser", ("users/bobb", ""), &[], &update);
        assert_eq!(update.unwrap_err().field, "user.name");
        let cancel = request::<CancelOrderRequest>("CancelOrder", ("orders/a", ""), &[], r#"{"name": "orders/b"}"#);
        assert_eq!(cancel.unwrap_err(), Fault::new("name", "must be absent, or what the path says"));
    }

    #[test]
    fn a_key_that_no_field_takes_is_refused_where_something_is_changed() {
        let key: &[_] = &[("idempotency-key", KEY)];
        let update = request::<UpdateProductRequest>("UpdateProduct", ("products/a", ""), key, "{}");
        assert_eq!(update.unwrap_err(), Fault::new("idempotency-key", "is not supported by this method"));
        assert!(request::<GetOrderRequest>("GetOrder", ("orders/a", ""), key, "").is_ok());
    }

    #[test]
    fn a_key_becomes_the_request_id() {
        let create = |key: &'static str, query: &str| {
            request::<CreateOrderRequest>("CreateOrder", ("", query), &[("idempotency-key", key)], "{}")
        };
        let id = |key| create(key, "").unwrap().request_id;
        assert_eq!(id(KEY), KEY);
        assert_eq!(id("7C9E6679-7425-40DE-944B-E07FC1F90AE7"), KEY);
        assert_eq!(id("order 17"), id("\"order 17\""));
        assert_ne!(id("order 17"), id("order 18"));
        assert_eq!(uuid::Uuid::parse_str(&id("order 17")).unwrap().get_version_num(), 5);
        let cancel: CancelOrderRequest =
            request("CancelOrder", ("orders/a", ""), &[("idempotency-key", "order 17")], "").unwrap();
        assert_ne!(cancel.request_id, id("order 17"), "a key is one of its method");
        assert_eq!(create(KEY, &format!("request_id={KEY}")).unwrap().request_id, KEY);
        assert_eq!(create("other", &format!("request_id={KEY}")).unwrap_err().field, "request_id");
        assert_eq!(create("", "").unwrap_err().field, "idempotency-key");
    }

    #[test]
    fn an_etag_becomes_that_of_the_request_or_of_its_resource() {
        let etag: &[_] = &[("if-match", "\"v3\"")];
        let cancel: CancelOrderRequest = request("CancelOrder", ("orders/a", ""), etag, "").unwrap();
        assert_eq!(cancel.etag, "\"v3\"");
        let patch: UpdateProductRequest = request("UpdateProduct", ("products/a", ""), etag, "{}").unwrap();
        assert_eq!((patch.product.unwrap().etag.as_str(), patch.update_mask), ("\"v3\"", None));
        let any: CancelOrderRequest = request("CancelOrder", ("orders/a", ""), &[("if-match", "*")], "").unwrap();
        assert_eq!(any.etag, "");
        let two = request::<CancelOrderRequest>("CancelOrder", ("orders/a", ""), &[("if-match", "\"v1\", \"v2\"")], "");
        assert_eq!(two.unwrap_err().field, "if-match");
        let empty = request::<CancelOrderRequest>("CancelOrder", ("orders/a", ""), &[("if-match", "")], "");
        assert_eq!(empty.unwrap_err().field, "if-match", "it is not to be taken for no condition");
        let other = request::<CancelOrderRequest>("CancelOrder", ("orders/a", ""), etag, r#"{"etag": "\"v4\""}"#);
        assert_eq!(other.unwrap_err().field, "etag");
        assert_eq!(request::<CreateOrderRequest>("CreateOrder", ("", ""), etag, "").unwrap_err().field, "if-match");
        assert!(request::<GetOrderRequest>("GetOrder", ("orders/a", ""), etag, "").is_ok());
    }

    #[test]
    fn the_event_that_was_seen_last_is_where_a_stream_goes_on() {
        let last: &[_] = &[("last-event-id", "7")];
        let watch: WatchOrderRequest = request("WatchOrder", ("orders/a", "resumeToken=3"), last, "").unwrap();
        assert_eq!((watch.name.as_str(), watch.resume_token.as_str()), ("orders/a", "7"));
    }

    proptest! {
        #[test]
        fn any_request_is_read_or_refused(
            query in "[a-zA-Z_.=&%+0-9]{0,32}",
            key in "[ -~]{0,32}",
            body in any::<String>(),
        ) {
            let captures = [key.clone()];
            for method in ["CreateOrder", "CancelOrder", "GetOrder", "UpdateProduct", "WatchOrder"] {
                let binding = bindings(&pool(), |path| path.ends_with(&format!("/{method}"))).pop().unwrap();
                let mut headers = HeaderMap::new();
                for name in ["idempotency-key", "if-match", "last-event-id"] {
                    headers.insert(name, key.parse().unwrap());
                }
                let body = body.as_bytes();
                let source = Source { captures: &captures, query: &query, headers: &headers, body };
                message(&binding, source).ok();
            }
        }
    }
}
