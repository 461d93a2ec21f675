//! What descriptors say about methods and fields beside their types: comments and options.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ReflectMessage, Value,
};

/// The comments and options of a pool. Those that it has no definition of are as if they were never given.
pub(super) struct Notes {
    /// By the file's name and the path in it, as the descriptors have them.
    comments: HashMap<(String, Vec<i32>), String>,
    /// The patterns of names by the type of the resource.
    patterns: HashMap<String, Vec<String>>,
    http: Option<ExtensionDescriptor>,
    access: Option<ExtensionDescriptor>,
    behavior: Option<ExtensionDescriptor>,
    info: Option<ExtensionDescriptor>,
    reference: Option<ExtensionDescriptor>,
    resource: Option<ExtensionDescriptor>,
}

impl Notes {
    /// Those of `pool`.
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
            for location in &info.location {
                let comment = paragraphs(location.leading_comments());
                if !comment.is_empty() {
                    comments.insert((file.name().to_owned(), location.path.clone()), comment);
                }
            }
        }
        let extension = |name| pool.get_extension_by_name(name);
        let mut notes = Self {
            comments,
            patterns: HashMap::new(),
            http: extension("google.api.http"),
            access: extension("meshwork.options.v1.access"),
            behavior: extension("google.api.field_behavior"),
            info: extension("google.api.field_info"),
            reference: extension("google.api.resource_reference"),
            resource: extension("google.api.resource"),
        };
        for message in pool.all_messages() {
            if let Some(resource) = notes.resource_of(&message) {
                notes.patterns.insert(text(&resource, "type"), texts(&resource, "pattern"));
            }
        }
        notes
    }

    /// The comment at a place of a file, in paragraphs with an empty line between them; empty when there is none.
    pub(super) fn comment(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.comments.get(&(file.name().to_owned(), path.to_vec())).map_or("", String::as_str)
    }

    /// The comment of a field.
    pub(super) fn of_field(&self, field: &FieldDescriptor) -> &str {
        self.comment(&field.parent_message().parent_file(), field.path())
    }

    /// The `google.api.HttpRule` of a method.
    pub(super) fn rule(&self, method: &MethodDescriptor) -> Option<DynamicMessage> {
        message_option(&method.options(), self.http.as_ref())
    }

    /// The kinds of callers that a method admits, such as `STAFF`.
    pub(super) fn callers(&self, method: &MethodDescriptor) -> Vec<String> {
        let Some(access) = message_option(&method.options(), self.access.as_ref()) else { return Vec::new() };
        let Some(field) = access.descriptor().get_field_by_name("callers") else { return Vec::new() };
        let names = enum_names(&field.kind(), &access.get_field(&field));
        names.into_iter().map(|name| name.strip_prefix("CALLER_").unwrap_or(&name).to_owned()).collect()
    }

    /// What callers and servers do with a field (AIP-203), such as `REQUIRED`.
    pub(super) fn behaviors(&self, field: &FieldDescriptor) -> Vec<String> {
        let (options, Some(extension)) = (field.options(), self.behavior.as_ref()) else { return Vec::new() };
        enum_names(&extension.kind(), &options.get_extension(extension))
    }

    /// Whether a field has a behaviour.
    pub(super) fn is(&self, field: &FieldDescriptor, behavior: &str) -> bool {
        self.behaviors(field).iter().any(|has| has == behavior)
    }

    /// The format of a field's text (AIP-202) in the words of JSON Schema.
    pub(super) fn format(&self, field: &FieldDescriptor) -> Option<&'static str> {
        let info = message_option(&field.options(), self.info.as_ref())?;
        let format = info.descriptor().get_field_by_name("format")?;
        match enum_names(&format.kind(), &info.get_field(&format)).first()?.as_str() {
            "UUID4" => Some("uuid"),
            "IPV4" => Some("ipv4"),
            "IPV6" => Some("ipv6"),
            _ => None,
        }
    }

    /// The patterns that the names in a field may have: of the resource that it refers to, of the parents of the resource
    /// whose parent it is, and of the resource that it names itself.
    pub(super) fn patterns(&self, field: &FieldDescriptor) -> Vec<String> {
        let of = |kind: &str| self.patterns.get(kind).cloned().unwrap_or_default();
        let mut patterns = Vec::new();
        if let Some(reference) = message_option(&field.options(), self.reference.as_ref()) {
            patterns.extend(of(&text(&reference, "type")));
            // The parent's name is the child's without its collection and its id.
            let parent = |pattern: String| {
                let (rest, _id) = pattern.rsplit_once('/')?;
                Some(rest.rsplit_once('/')?.0.to_owned())
            };
            patterns.extend(of(&text(&reference, "child_type")).into_iter().filter_map(parent));
        }
        if let Some(resource) = self.resource_of(field.parent_message()) {
            patterns.extend(texts(&resource, "pattern"));
        }
        patterns
    }

    fn resource_of(&self, message: &MessageDescriptor) -> Option<DynamicMessage> {
        message_option(&message.options(), self.resource.as_ref())
    }
}

/// The text field `name` of a message; empty when there is none.
pub(super) fn text(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn texts(message: &DynamicMessage, name: &str) -> Vec<String> {
    let Some(value) = message.get_field_by_name(name) else { return Vec::new() };
    value.as_list().unwrap_or_default().iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn message_option(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> Option<DynamicMessage> {
    let extension = extension.filter(|extension| options.has_extension(extension))?;
    options.get_extension(extension).as_message().cloned()
}

/// The names of a value of an enum, or of a list of them.
fn enum_names(kind: &Kind, value: &Value) -> Vec<String> {
    let Kind::Enum(descriptor) = kind else { return Vec::new() };
    let values = value.as_list().unwrap_or(std::slice::from_ref(value)).iter();
    let name = |value: &Value| Some(descriptor.get_value(value.as_enum_number()?)?.name().to_owned());
    values.filter_map(name).collect()
}

/// A comment without the breaks of its lines, which are those of the source.
fn paragraphs(comment: &str) -> String {
    let mut text = String::new();
    let mut is_new = false;
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            is_new = !text.is_empty();
            continue;
        }
        if is_new || (!text.is_empty() && line.starts_with("- ")) {
            text.push_str(if is_new { "\n\n" } else { "\n" });
        } else if !text.is_empty() {
            text.push(' ');
        }
        is_new = false;
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lose_the_breaks_of_the_source_and_keep_their_paragraphs() {
        let comment = " Opens a session\n for an address.\n\n Errors: none.\n";
        assert_eq!(paragraphs(comment), "Opens a session for an address.\n\nErrors: none.");
        assert_eq!(paragraphs(" One of\n - this\n - that\n"), "One of\n- this\n- that");
        assert_eq!(paragraphs("\n \n"), "");
    }
}
