//! Query parameters as the JSON of the fields that they name.

use meshwork_aip::echo;
use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Map, Value};

use super::fault::Fault;
use super::field::{by_path, is_input_only, leaf};
use super::percent::{Mode, decode};

/// The most parameters of a request.
const MAX_PARAMETERS: usize = 256;
/// The longest query, in bytes.
const MAX_BYTES: usize = 16 << 10;
/// What is told as the place of a fault of the query as a whole.
const QUERY: &str = "query";

/// The parameters of a query (`application/x-www-form-urlencoded`), in their order.
///
/// # Errors
/// When it is too long, has too many of them, or one isn't encoded as such.
pub(super) fn parameters(query: &str) -> Result<Vec<(String, String)>, Fault> {
    if query.len() > MAX_BYTES {
        return Err(Fault::new(QUERY, format_args!("must have at most {MAX_BYTES} bytes")));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(MAX_PARAMETERS + 1);
    let parameters = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = || Fault::new(echo(name), "must be percent-encoded UTF-8");
        Ok((decode(name, Mode::Query).ok_or_else(wrong)?, decode(value, Mode::Query).ok_or_else(wrong)?))
    });
    let parameters: Vec<_> = parameters.collect::<Result<_, Fault>>()?;
    if parameters.len() > MAX_PARAMETERS {
        return Err(Fault::new(QUERY, format_args!("must have at most {MAX_PARAMETERS} parameters")));
    }
    Ok(parameters)
}

/// The JSON of a message of which parameters name fields, `a.b=`; a list has one for each element. `is_bound` tells
/// what the path or the body says already.
///
/// # Errors
/// When there is no such field, it can't be a parameter, or it is there twice.
pub(super) fn tree(
    message: &MessageDescriptor,
    parameters: Vec<(String, String)>,
    is_bound: impl Fn(&[FieldDescriptor]) -> bool,
) -> Result<Value, Fault> {
    let mut tree = Map::new();
    for (name, text) in parameters {
        let unknown = || Fault::new(echo(&name), "is no parameter of this method");
        let fields = by_path(message, &name).filter(|fields| !is_bound(fields)).ok_or_else(unknown)?;
        let (field, parents) = fields.split_last().ok_or_else(unknown)?;
        if fields.iter().any(is_input_only) {
            return Err(Fault::new(echo(&name), "is no parameter: its value belongs into a body"));
        }
        let value = leaf(field, text, &name)?;
        let mut place = &mut tree;
        for parent in parents {
            let next = place.entry(parent.json_name()).or_insert_with(|| Value::Object(Map::new()));
            // A parent can't be a parameter itself, unless it is written as a text.
            place = next.as_object_mut().ok_or_else(unknown)?;
        }
        let entry = place.entry(field.json_name());
        if field.is_list() {
            let list = entry.or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut().ok_or_else(unknown)?.push(value);
        } else if let serde_json::map::Entry::Vacant(entry) = entry {
            entry.insert(value);
        } else {
            return Err(Fault::new(echo(&name), "is there more than once"));
        }
    }
    Ok(Value::Object(tree))
}

#[cfg(test)]
mod tests {
    use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, GetOrderRequest};
    use meshwork_api::meshwork::products::v1::{BatchGetProductsRequest, UpdateProductRequest};
    use meshwork_api::meshwork::users::v1::UpdateUserRequest;
    use proptest::prelude::*;

    use super::super::message;
    use super::super::testing::descriptor;
    use super::*;

    fn request<T: prost::Message + Default>(name: &str, query: &str) -> Result<T, Fault> {
        let message = descriptor(name);
        let tree = tree(&message, parameters(query)?, |fields| fields.first().unwrap().name() == "name")?;
        Ok(message::read(&message, &tree, "")?.transcode_to().unwrap())
    }

    const CREATE_ORDER: &str = "meshwork.orders.v1.CreateOrderRequest";
    const GET_ORDER: &str = "meshwork.orders.v1.GetOrderRequest";

    #[test]
    fn parameters_name_fields_of_any_depth_in_either_spelling() {
        let query = "order.customer=users%2Fanna&orderId=a+b&expected_total.units=25&order.state=2&&order.etag";
        let request: CreateOrderRequest = request(CREATE_ORDER, query).unwrap();
        let order = request.order.unwrap();
        assert_eq!((order.customer.as_str(), order.state, request.order_id.as_str()), ("users/anna", 2, "a b"));
        assert_eq!(request.expected_total.unwrap().units, 25);
    }

    #[test]
    fn lists_times_masks_and_enums_are_parameters() {
        let batch = "meshwork.products.v1.BatchGetProductsRequest";
        let names = request::<BatchGetProductsRequest>(batch, "names=products/a&names=products/b").unwrap().names;
        assert_eq!(names, ["products/a", "products/b"]);
        let time = request::<GetOrderRequest>(GET_ORDER, "readTime=2026-01-31T12:00:00Z&version=7").unwrap();
        assert_eq!((time.read_time.unwrap().seconds, time.version), (1_769_860_800, 7));
        let update = "meshwork.products.v1.UpdateProductRequest";
        let mask = request::<UpdateProductRequest>(update, "updateMask=display_name,price").unwrap().update_mask;
        assert_eq!(mask.unwrap().paths, ["display_name", "price"]);
        let named = request::<CreateOrderRequest>(CREATE_ORDER, "order.state=STATE_SHIPPED").unwrap();
        assert_eq!(named.order.unwrap().state, 4);
    }

    #[test]
    fn faults_name_the_parameter() {
        for (query, field, description) in [
            ("nam=a", "nam", "is no parameter of this method"),
            ("name=orders/a", "name", "is no parameter of this method"),
            ("version.x=1", "version.x", "is no parameter of this method"),
            ("version=1&version=2", "version", "is there more than once"),
            ("version=x", "version", "must be a number of the type int64"),
            ("version=%zz", "version", "must be percent-encoded UTF-8"),
            ("readTime.seconds=1", "readTime.seconds", "is no parameter of this method"),
        ] {
            let fault = request::<GetOrderRequest>(GET_ORDER, query).unwrap_err();
            assert_eq!(fault, Fault::new(field, description), "{query}");
        }
        let message = request::<CreateOrderRequest>(CREATE_ORDER, "order=x").unwrap_err();
        assert_eq!(message.description, "is a message: its fields are parameters, and not itself");
        let inside = request::<CreateOrderRequest>(CREATE_ORDER, "order.lines.quantity=1").unwrap_err();
        assert_eq!(inside.description, "is no parameter of this method");
    }

    #[test]
    fn passwords_are_no_parameters() {
        let update = "meshwork.users.v1.UpdateUserRequest";
        for query in ["currentPassword=secret", "user.password=secret"] {
            let fault = request::<UpdateUserRequest>(update, query).unwrap_err();
            assert_eq!(fault.description, "is no parameter: its value belongs into a body", "{query}");
        }
    }

    #[test]
    fn number_and_length_are_bounded() {
        assert!(parameters(&"a=b&".repeat(MAX_PARAMETERS)).is_ok());
        assert_eq!(parameters(&"a=b&".repeat(MAX_PARAMETERS + 1)).unwrap_err().field, QUERY);
        assert_eq!(parameters(&"a".repeat(MAX_BYTES + 1)).unwrap_err().field, QUERY);
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(
            query in any::<String>(),
            like in "((order|version|name|state|total)(\\.|=|&|%2E|\\+){1,2}){0,6}",
        ) {
            for query in [query, like] {
                request::<CreateOrderRequest>(CREATE_ORDER, &query).ok();
            }
        }
    }
}
