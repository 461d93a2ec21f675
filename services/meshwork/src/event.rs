//! What is in an event, by the contracts that this program was built with.

use std::sync::LazyLock;

use meshwork_api::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

/// The package of the events.
const PACKAGE: &str = "meshwork.events.v1";

/// The contracts; `None` if they can't be read, which the test below rules out.
static CONTRACTS: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());

/// The fields of an event in protobuf's JSON; `None` when the contracts have no such event, or `data` is none.
pub fn decoded(event_type: &str, data: &[u8]) -> Option<Value> {
    let message = CONTRACTS.as_ref()?.get_message_by_name(&format!("{PACKAGE}.{}", message_of(event_type)))?;
    serde_json::to_value(DynamicMessage::decode(message, data).ok()?).ok()
}

/// The message of a type of events: `OrderCreated` for `order_created`.
fn message_of(event_type: &str) -> String {
    let words = event_type.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::events::v1::{OrderCreated, OrderLine};
    use prost::Message;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_the_contracts_is_shown_by_its_fields() {
        let lines = vec![OrderLine { product: "products/mug".to_owned(), quantity: 2, ..OrderLine::default() }];
        let event = OrderCreated { order: "orders/42".to_owned(), lines, ..OrderCreated::default() };
        let fields = decoded("order_created", &event.encode_to_vec()).unwrap();
        // As protobuf has it, numbers of 64 bits are texts.
        let line = json!({ "product": "products/mug", "quantity": "2" });
        assert_eq!(fields, json!({ "order": "orders/42", "lines": [line] }));
        assert_eq!(decoded("order_allocated", &[]).unwrap(), json!({}));
    }

    #[test]
    fn what_is_none_is_not_guessed() {
        for (event_type, data) in
            [("order_created", &[0xff, 0xff][..]), ("order_eaten", &[]), ("", &[]), ("_", &[]), ("..", &[])]
        {
            assert_eq!(decoded(event_type, data), None, "{event_type}");
        }
    }
}
