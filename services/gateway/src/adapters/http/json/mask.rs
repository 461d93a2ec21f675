//! The update mask of a PATCH whose caller sent none: the fields that its JSON names.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value as Field};
use serde_json::Value;

use super::field::{by_name, is_well_known, singular};

/// The one field of a request that is a mask.
pub(super) fn field(request: &MessageDescriptor) -> Option<FieldDescriptor> {
    let is_mask = |field: &FieldDescriptor| {
        singular(field).is_some_and(|message| message.full_name() == "google.protobuf.FieldMask")
    };
    let mut masks = request.fields().filter(is_mask);
    masks.next().filter(|_| masks.next().is_none())
}

/// The paths that a resource's JSON names, null values among them, without those of which `is_bound` tells that the
/// path of the request says them. Of messages within it their fields are named, unless they are written, or mean
/// something, as a whole only: amounts of money and times.
pub(super) fn paths(resource: &MessageDescriptor, json: &Value, is_bound: impl Fn(&str) -> bool) -> Vec<String> {
    let mut paths = Vec::new();
    gather(resource, json, "", &mut paths);
    // An etag is what must be, and not what shall be.
    paths.retain(|path| path != "etag" && !is_bound(path));
    paths
}

fn gather(message: &MessageDescriptor, json: &Value, prefix: &str, paths: &mut Vec<String>) {
    for (name, value) in json.as_object().into_iter().flatten() {
        let Some(field) = by_name(message, name) else { continue };
        let path = format!("{prefix}{}", field.name());
        match singular(&field) {
            Some(inner) if !is_whole(&inner) && value.as_object().is_some_and(|fields| !fields.is_empty()) => {
                gather(&inner, value, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}

fn is_whole(message: &MessageDescriptor) -> bool {
    is_well_known(message) || message.package_name() == "google.type"
}

/// Sets the mask of a request.
pub(super) fn set(request: &mut DynamicMessage, field: &FieldDescriptor, paths: Vec<String>) {
    if let Some(mask) = request.get_field_mut(field).as_message_mut() {
        let paths = paths.into_iter().map(Field::String).collect();
        // A FieldMask has this field.
        mask.try_set_field_by_name("paths", Field::List(paths)).ok();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::descriptor;
    use super::*;

    fn named(message: &str, json: &Value) -> Vec<String> {
        paths(&descriptor(message), json, |path| path == "name")
    }

    #[test]
    fn the_fields_that_are_there_are_named_but_for_name_and_etag() {
        let product = json!({
            "name": "products/a", "etag": "\"v1\"", "displayName": "A", "description": null,
            "price": {"currencyCode": "EUR", "units": 1},
        });
        let mut paths = named("meshwork.products.v1.Product", &product);
        paths.sort();
        assert_eq!(paths, ["description", "display_name", "price"]);
    }

    #[test]
    fn fields_within_messages_are_named_by_their_paths() {
        let event = json!({"orderCreated": {"orderLines": [], "unknown": 1, "customer": "users/a"}, "createTime": "x"});
        let paths = named("meshwork.orders.v1.OrderEvent", &event);
        assert!(paths.contains(&"order_created.customer".to_owned()), "{paths:?}");
        assert!(paths.contains(&"create_time".to_owned()), "{paths:?}");
        assert_eq!(named("meshwork.orders.v1.OrderEvent", &json!({"orderCreated": {}})), ["order_created"]);
    }

    #[test]
    fn a_request_with_one_mask_has_it() {
        let of = |name: &str| field(&descriptor(name)).map(|field| field.name().to_owned());
        assert_eq!(of("meshwork.products.v1.UpdateProductRequest").as_deref(), Some("update_mask"));
        assert_eq!(of("meshwork.orders.v1.CreateOrderRequest"), None);
    }
}
