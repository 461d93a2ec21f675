//! Fields by the names that callers use, and values of them that are written as one text.

use meshwork_aip::echo;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Field};
use serde_json::{Map, Value};

use super::fault::Fault;

/// The field of a message by its name in JSON, or in the contract.
pub(super) fn by_name(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

/// The fields on a path such as `order.name`, each a message that the next belongs to. `None` where there is no such
/// field, and where one before the last is a list, a map, or a message whose fields have no names in JSON.
pub(super) fn by_path(message: &MessageDescriptor, path: &str) -> Option<Vec<FieldDescriptor>> {
    let mut message = Some(message.clone());
    let mut fields = Vec::new();
    for name in path.split('.') {
        let field = by_name(&message?, name)?;
        message = singular(&field).filter(|message| !is_well_known(message));
        fields.push(field);
    }
    Some(fields)
}

/// The message that a field is, once.
pub(super) fn singular(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    if field.is_list() || field.is_map() { None } else { field.kind().as_message().cloned() }
}

/// Whether JSON has a spelling of its own for a message, so that its fields have no names there.
pub(super) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}

/// Whether a field is for requests alone (AIP-203), as a password is. Such values don't belong into addresses, which logs and
/// histories keep.
pub(super) fn is_input_only(field: &FieldDescriptor) -> bool {
    let Some(option) = field.parent_pool().get_extension_by_name("google.api.field_behavior") else { return false };
    let Kind::Enum(behavior) = option.kind() else { return false };
    let Some(input_only) = behavior.get_value_by_name("INPUT_ONLY") else { return false };
    let options = field.options();
    let behaviors = options.get_extension(&option);
    let mut numbers = behaviors.as_list().unwrap_or_default().iter().filter_map(Field::as_enum_number);
    numbers.any(|number| number == input_only.number())
}

/// The path of fields as the contract has it.
pub(super) fn shown(fields: &[FieldDescriptor]) -> String {
    fields.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// The JSON of one value of a field that is written as `text` in a path or a query.
///
/// # Errors
/// When such a field can't be written so, or the text is of no such value.
pub(super) fn leaf(field: &FieldDescriptor, text: String, name: &str) -> Result<Value, Fault> {
    let fault = |description| Fault::new(echo(name), description);
    match field.kind() {
        _ if field.is_map() => Err(fault("is a map, which no parameter can be")),
        Kind::Bool => boolean(&text).ok_or_else(|| fault("must be true or false")),
        // Numbers in texts are numbers for all other fields.
        Kind::Enum(_) => Ok(text.parse::<i32>().map_or(Value::String(text), Value::from)),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.BoolValue" => boolean(&text).ok_or_else(|| fault("must be true or false")),
            "google.protobuf.FieldMask" => Ok(Value::String(camel(&text))),
            "google.protobuf.Timestamp"
            | "google.protobuf.Duration"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue"
            | "google.protobuf.Int32Value"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.FloatValue"
            | "google.protobuf.DoubleValue" => Ok(Value::String(text)),
            _ => Err(fault("is a message: its fields are parameters, and not itself")),
        },
        _ => Ok(Value::String(text)),
    }
}

/// The value of the last of `fields`, a path in `message`; `None` where it isn't there, or is the default.
pub(super) fn get(message: &DynamicMessage, fields: &[FieldDescriptor]) -> Option<Field> {
    let (field, rest) = fields.split_first()?;
    let value = message.has_field(field).then(|| message.get_field(field))?;
    if rest.is_empty() { Some(value.into_owned()) } else { get(value.as_message()?, rest) }
}

/// Sets the last of `fields`, a path in `message`, to what `text` says.
///
/// # Errors
/// When the text is of no such value.
pub(super) fn set(message: &mut DynamicMessage, fields: &[FieldDescriptor], text: String) -> Result<(), Fault> {
    let name = shown(fields);
    let wrong = || Fault::new(&name, "can't be read");
    let (field, parents) = fields.split_last().ok_or_else(wrong)?;
    let value = match field.kind() {
        Kind::String if !field.is_list() => Field::String(text),
        kind => {
            let leaf = leaf(field, text, &name)?;
            let parent = field.parent_message().clone();
            let alone = Value::Object(Map::from_iter([(field.json_name().to_owned(), leaf)]));
            let read = DynamicMessage::deserialize(parent, &alone);
            let mut read = read.map_err(|_| Fault::new(&name, expected(&kind)))?;
            read.take_field(field).unwrap_or_else(|| field.default_value())
        }
    };
    let mut place = message;
    for parent in parents {
        place = place.get_field_mut(parent).as_message_mut().ok_or_else(wrong)?;
    }
    place.try_set_field(field, value).map_err(|_| wrong())
}

/// What a value of a kind must be.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "must be true or false".to_owned(),
        Kind::String => "must be a string".to_owned(),
        Kind::Bytes => "must be a string of base64".to_owned(),
        Kind::Enum(of) => format!("must be a value of {}", of.full_name()),
        Kind::Message(message) => match message.name() {
            "Timestamp" => "must be a time such as \"2026-01-31T12:00:00Z\"".to_owned(),
            "Duration" => "must be a duration such as \"1.5s\"".to_owned(),
            "FieldMask" => "must be the paths of fields, joined by commas, such as \"displayName,price\"".to_owned(),
            _ => format!("must be a {}", message.full_name()),
        },
        number => format!("must be a number of the type {number:?}"),
    }
}

fn boolean(text: &str) -> Option<Value> {
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// The paths of a mask as JSON has them, `displayName`; parameters may have them as contracts do too, `display_name`.
fn camel(paths: &str) -> String {
    let mut camel = String::with_capacity(paths.len());
    let mut rest = paths.chars();
    while let Some(next) = rest.next() {
        match next {
            '_' => camel.extend(rest.next().map(|next| next.to_ascii_uppercase())),
            _ => camel.push(next),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_in_parameters_may_have_either_spelling() {
        for mask in ["display_name,price.currency_code", "displayName,price.currencyCode"] {
            assert_eq!(camel(mask), "displayName,price.currencyCode");
        }
        assert_eq!(camel("*"), "*");
        assert_eq!(camel("_"), "");
    }
}
