//! What the option `google.api.http` says of each method.

use http::Method;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use super::field::{by_path, is_well_known, singular};
use super::template::Template;

/// The option.
const OPTION: &str = "google.api.http";
/// The names of its fields that are methods of HTTP.
const VERBS: [(&str, Method); 5] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("patch", Method::PATCH),
];

/// A path and method of HTTP by which a method of gRPC is called.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// `/package.Service/Method`.
    pub(super) grpc_path: String,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    pub(super) is_client_streaming: bool,
    pub(super) is_server_streaming: bool,
    pub(super) verb: Method,
    pub(super) template: Template,
    /// The template as the option has it.
    pub(super) pattern: String,
    /// The fields of the template's variables, each by its path.
    pub(super) variables: Vec<Vec<FieldDescriptor>>,
    pub(super) body: Content,
    /// The field of the answer that is its body; the whole when there is none.
    pub(super) response_body: Option<FieldDescriptor>,
}

/// What the body of a request is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// There is none.
    None,
    /// Every field that isn't in the path.
    All,
    /// This field, a message.
    Field(FieldDescriptor),
}

/// The bindings of all methods whose path `has` admits. What an option says that can't be is left out, and logged.
pub(super) fn bindings(pool: &DescriptorPool, has: impl Fn(&str) -> bool) -> Vec<Binding> {
    let Some(option) = pool.get_extension_by_name(OPTION) else { return Vec::new() };
    let mut bindings = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        if !has(&path) {
            continue;
        }
        let options = method.options();
        let Some(value) = options.has_extension(&option).then(|| options.get_extension(&option)) else { continue };
        let Some(rule) = value.as_message() else { continue };
        let additional = rule.get_field_by_name("additional_bindings");
        let additional = additional.as_deref().and_then(Value::as_list).unwrap_or_default();
        for rule in std::iter::once(rule).chain(additional.iter().filter_map(Value::as_message)) {
            match binding(&method, &path, rule) {
                Ok(binding) => bindings.push(binding),
                Err(problem) => tracing::warn!(path, problem, "an HTTP binding is left out"),
            }
        }
    }
    bindings
}

fn binding(method: &MethodDescriptor, path: &str, rule: &DynamicMessage) -> Result<Binding, &'static str> {
    let (verb, pattern) = pattern(rule).ok_or("names no method of HTTP")?;
    let template: Template = pattern.parse()?;
    let (input, output) = (method.input(), method.output());
    let variables = template.variables.iter().map(|variable| {
        let fields = by_path(&input, &variable.field)?;
        fields.last().is_some_and(is_scalar).then_some(fields)
    });
    let variables = variables.collect::<Option<_>>().ok_or("has a variable that is no scalar field")?;
    let body = match text(rule, "body").as_str() {
        "" => Content::None,
        "*" => Content::All,
        name => {
            let field = input.get_field_by_name(name).filter(|field| {
                // What has no fields has no JSON that a PATCH could change in part.
                singular(field).is_some_and(|message| !is_well_known(&message))
            });
            Content::Field(field.ok_or("has a body that is no field with a message")?)
        }
    };
    let response_body = match text(rule, "response_body").as_str() {
        "" => None,
        name => Some(output.get_field_by_name(name).ok_or("has an answer that is no field")?),
    };
    Ok(Binding {
        grpc_path: path.to_owned(),
        is_client_streaming: method.is_client_streaming(),
        is_server_streaming: method.is_server_streaming(),
        input,
        output,
        verb,
        template,
        pattern,
        variables,
        body,
        response_body,
    })
}

/// The method of HTTP and the template of its paths.
fn pattern(rule: &DynamicMessage) -> Option<(Method, String)> {
    for (name, verb) in VERBS {
        if rule.has_field_by_name(name) {
            return Some((verb, text(rule, name)));
        }
    }
    let custom = rule.get_field_by_name("custom").filter(|_| rule.has_field_by_name("custom"))?;
    let custom = custom.as_message()?;
    Some((Method::from_bytes(text(custom, "kind").as_bytes()).ok()?, text(custom, "path")))
}

fn text(message: &DynamicMessage, name: &str) -> String {
    let value = message.get_field_by_name(name);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_scalar(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_))
}

#[cfg(test)]
mod tests {
    use super::super::testing::pool;
    use super::*;

    #[test]
    fn every_method_of_the_contracts_with_the_option_is_bound() {
        let pool = pool();
        let option = pool.get_extension_by_name(OPTION).unwrap();
        let mut bound: Vec<_> = bindings(&pool, |_| true).into_iter().map(|binding| binding.grpc_path).collect();
        bound.dedup();
        let mut expected = Vec::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            if method.options().has_extension(&option) {
                expected.push(format!("/{}/{}", method.parent_service().full_name(), method.name()));
            }
        }
        assert_eq!(bound, expected);
        assert!(bound.len() > 30, "{bound:?}");
    }

    #[test]
    fn a_binding_is_what_its_option_says() {
        let of = |path: &str| bindings(&pool(), |other| other == path).pop().unwrap();
        let update = of("/meshwork.products.v1.ProductService/UpdateProduct");
        assert_eq!(
            (&update.verb, update.template.to_string().as_str()),
            (&Method::PATCH, "/v1/{product.name=products/*}")
        );
        assert!(matches!(&update.body, Content::Field(field) if field.name() == "product"));
        assert_eq!(update.variables.first().unwrap().len(), 2);
        let watch = of("/meshwork.orders.v1.OrderService/WatchOrder");
        assert!(watch.is_server_streaming && !watch.is_client_streaming && matches!(watch.body, Content::None));
        assert_eq!(watch.template.to_string(), "/v1/{name=orders/*}:watch");
        let cancel = of("/meshwork.orders.v1.OrderService/CancelOrder");
        assert!(cancel.verb == Method::POST && matches!(cancel.body, Content::All));
    }
}
