//! Messages of JSON values. What is unknown is refused, and faults say in which field they are.

use std::fmt::Display;

use meshwork_aip::echo;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::fault::{BODY, Fault};
use super::field::{by_name, expected, is_well_known, singular};

/// Reads a message, which is the field at `path` of the request, or the request itself where that is empty.
///
/// # Errors
/// When the value is none of such a message.
pub(super) fn read(message: &MessageDescriptor, value: &Value, path: &str) -> Result<DynamicMessage, Fault> {
    let read = DynamicMessage::deserialize(message.clone(), value).map_err(|_| {
        // Errors of deserialization don't say where they are.
        let found = in_message(message, value, path);
        found.unwrap_or_else(|| Fault::new(place(path), format_args!("can't be read as {}", message.full_name())))
    })?;
    mistaken(message, value, path).map_or(Ok(read), Err)
}

/// The first field that can be read, and is not what was written: one that is there by both of its names, of which one
/// would be lost, or a whole number that was rounded.
fn mistaken(message: &MessageDescriptor, value: &Value, path: &str) -> Option<Fault> {
    let fields = value.as_object().filter(|_| !is_well_known(message))?;
    fields.iter().find_map(|(name, value)| {
        let field = by_name(message, name)?;
        let path = below(path, field.name());
        if name != field.json_name() && fields.contains_key(field.json_name()) {
            return Some(Fault::new(path, "is there twice, by both of its names"));
        }
        let inner = match field.kind() {
            Kind::Message(inner) => inner,
            kind => return is_rounded(&kind, value).then(|| Fault::new(path, expected(&kind))),
        };
        match value {
            Value::Array(elements) => elements
                .iter()
                .enumerate()
                .find_map(|(index, element)| mistaken(&inner, element, &format!("{path}[{index}]"))),
            Value::Object(entries) if field.is_map() => {
                let kind = inner.map_entry_value_field().kind();
                let inner = kind.as_message()?;
                entries.iter().find_map(|(key, value)| mistaken(inner, value, &format!("{path}[{:?}]", echo(key))))
            }
            value => mistaken(&inner, value, &path),
        }
    })
}

/// Whether a value, or one of a list, is a number of 64 bits that came as a fraction does, and is beyond what such a
/// number holds exactly: `-9223372036854775809` would be taken for its neighbour.
fn is_rounded(kind: &Kind, value: &Value) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_wide = matches!(kind, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64);
    match value {
        Value::Number(number) if is_wide && number.is_f64() => number.as_f64().is_none_or(|value| value.abs() > EXACT),
        Value::Array(elements) => elements.iter().any(|element| is_rounded(kind, element)),
        _ => false,
    }
}

fn place(path: &str) -> &str {
    if path.is_empty() { BODY } else { path }
}

fn below(path: &str, name: impl Display) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// The first fault of a message.
fn in_message(message: &MessageDescriptor, value: &Value, path: &str) -> Option<Fault> {
    if is_well_known(message) {
        let wrong = DynamicMessage::deserialize(message.clone(), value).is_err();
        return wrong.then(|| Fault::new(place(path), expected(&Kind::Message(message.clone()))));
    }
    let Value::Object(fields) = value else { return Some(Fault::new(place(path), "must be an object")) };
    fields.iter().find_map(|(name, value)| match by_name(message, name) {
        None => Some(Fault::new(below(path, echo(name)), format_args!("is no field of {}", message.full_name()))),
        Some(_) if value.is_null() => None,
        Some(field) => in_field(message, &field, value, &below(path, field.name())),
    })
}

fn in_field(message: &MessageDescriptor, field: &FieldDescriptor, value: &Value, path: &str) -> Option<Fault> {
    if let Some(inner) = singular(field) {
        return in_message(&inner, value, path);
    }
    let fault = |path: &str, description: &str| Some(Fault::new(path, description));
    match value {
        Value::Array(elements) if field.is_list() => elements.iter().enumerate().find_map(|(index, element)| {
            let path = format!("{path}[{index}]");
            match field.kind() {
                Kind::Message(inner) => in_message(&inner, element, &path),
                kind => fault(&path, &expected(&kind))
                    .filter(|_| fails(message, field, &Value::Array(vec![element.clone()]))),
            }
        }),
        _ if field.is_list() => fault(path, "must be a list"),
        Value::Object(entries) if field.is_map() => entries.iter().find_map(|(key, value)| {
            let entry = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            let path = format!("{path}[{:?}]", echo(key));
            fault(&path, "is no such key or value").filter(|_| fails(message, field, &entry))
        }),
        _ if field.is_map() => fault(path, "must be an object"),
        _ => fault(path, &expected(&field.kind())).filter(|_| fails(message, field, value)),
    }
}

/// Whether a message with this field alone can't be read.
fn fails(message: &MessageDescriptor, field: &FieldDescriptor, value: &Value) -> bool {
    let alone = Value::Object(Map::from_iter([(field.json_name().to_owned(), value.clone())]));
    DynamicMessage::deserialize(message.clone(), &alone).is_err()
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::orders::v1::CreateOrderRequest;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::descriptor;
    use super::*;

    fn create_order() -> MessageDescriptor {
        descriptor("meshwork.orders.v1.CreateOrderRequest")
    }

    #[test]
    fn names_numbers_and_enums_have_the_spellings_of_json() {
        let value = json!({
            "order": {
                "lines": [{"product": "products/a", "quantity": "2"}, {"product": "products/b", "quantity": 3}],
                "state": "STATE_PENDING", "create_time": "2026-01-31T12:00:00Z", "total": null,
            },
            "orderId": "a",
        });
        let request: CreateOrderRequest = read(&create_order(), &value, "").unwrap().transcode_to().unwrap();
        let order = request.order.unwrap();
        assert_eq!(order.lines.iter().map(|line| line.quantity).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((order.state, order.total, request.order_id.as_str()), (1, None, "a"));
        assert_eq!(order.create_time.unwrap().seconds, 1_769_860_800);
    }

    #[test]
    fn faults_name_the_field() {
        let fault = |value: Value| read(&create_order(), &value, "").unwrap_err();
        for (value, field, description) in [
            (json!({"ordr": {}}), "ordr", "is no field of meshwork.orders.v1.CreateOrderRequest"),
            (
                json!({"order": {"lines": [{}, {"qty": 1}]}}),
                "order.lines[1].qty",
                "is no field of meshwork.orders.v1.Order.Line",
            ),
            (
                json!({"order": {"lines": [{"quantity": "x"}]}}),
                "order.lines[0].quantity",
                "must be a number of the type int64",
            ),
            (json!({"order": {"lines": {}}}), "order.lines", "must be a list"),
            (
                json!({"order": {"state": "PENDING"}}),
                "order.state",
                "must be a value of meshwork.orders.v1.Order.State",
            ),
            (
                json!({"order": {"createTime": 7}}),
                "order.create_time",
                "must be a time such as \"2026-01-31T12:00:00Z\"",
            ),
            (json!({"order": []}), "order", "must be an object"),
            (json!({"orderId": 7}), "order_id", "must be a string"),
            (json!([]), "body", "must be an object"),
            (json!({"orderId": "a", "order_id": "b"}), "order_id", "is there twice, by both of its names"),
            (
                json!({"order": {"createTime": null, "create_time": "2026-01-31T12:00:00Z"}}),
                "order.create_time",
                "is there twice, by both of its names",
            ),
        ] {
            assert_eq!(fault(value), Fault::new(field, description));
        }
        let order = read(&descriptor("meshwork.orders.v1.Order"), &json!({"x": 1}), "order").unwrap_err();
        assert_eq!(order.field, "order.x");
    }

    #[test]
    fn whole_numbers_out_of_range_are_refused() {
        for wrong in
            [json!(9_223_372_036_854_775_808_u64), json!(1.5), json!(1e30), json!("9223372036854775808"), json!(true)]
        {
            let value = json!({"order": {"lines": [{"quantity": wrong}]}});
            assert_eq!(read(&create_order(), &value, "").unwrap_err().field, "order.lines[0].quantity", "{value}");
        }
        // These would be taken for a neighbour.
        for rounded in ["-9223372036854775809", "9223372036854775808.0", "1e17"] {
            let value: Value =
                serde_json::from_str(&format!(r#"{{"order": {{"lines": [{{"quantity": {rounded}}}]}}}}"#)).unwrap();
            let fault = read(&create_order(), &value, "").unwrap_err();
            assert_eq!(fault, Fault::new("order.lines[0].quantity", "must be a number of the type int64"), "{rounded}");
        }
        assert!(read(&create_order(), &json!({"order": {"lines": [{"quantity": 2.0}]}}), "").is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            Just("order".to_owned()),
            Just("lines".to_owned()),
            Just("quantity".to_owned()),
            Just("total".to_owned()),
            Just("state".to_owned()),
            Just("createTime".to_owned()),
            Just("@type".to_owned()),
            Just("details".to_owned()),
            Just("value".to_owned()),
            any::<String>(),
        ]
        .boxed();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            Just(json!("type.googleapis.com/google.protobuf.Duration")),
            Just(json!("2026-01-31T12:00:00Z")),
            "[-0-9.s:TZ]{0,24}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_a_message_or_a_fault(value in any_json()) {
            for name in ["meshwork.orders.v1.CreateOrderRequest", "google.rpc.Status", "google.protobuf.FieldMask"] {
                if let Err(fault) = read(&descriptor(name), &value, "") {
                    prop_assert!(!fault.description.is_empty());
                }
            }
        }
    }
}
