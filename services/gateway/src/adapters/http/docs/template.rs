//! Path templates of `google.api.http` as paths of OpenAPI.

/// A path template in the words of OpenAPI: each wildcard is a parameter of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The path, such as `/v1/users/{user}/sessions/{session}:revoke`.
    pub path: String,
    /// The parameters in their order.
    pub parameters: Vec<PathParameter>,
    /// The fields that the path binds, as in the template: `name`, `user.name`.
    pub fields: Vec<String>,
}

/// A parameter of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathParameter {
    /// Its name in the path.
    pub name: String,
    /// The field whose value it is, or is a part of.
    pub field: String,
    /// Whether it may hold slashes, as the end of a path that `**` matches.
    pub is_rest: bool,
}

impl Template {
    /// Reads a template of `google/api/http.proto`. `patterns` knows the patterns of names that a field may have, such as
    /// `users/{user}`: from those the parameters have their names, else from the collection before them.
    ///
    /// `None` for what is no template.
    pub(super) fn parse(template: &str, patterns: impl Fn(&str) -> Vec<String>) -> Option<Self> {
        let mut read = Self { path: String::new(), parameters: Vec::new(), fields: Vec::new() };
        let mut rest = template.strip_prefix('/').map(|_| template)?;
        while let Some((literal, variable)) = rest.split_once('{') {
            read.path.push_str(literal);
            let (variable, after) = variable.split_once('}')?;
            let (field, segments) = variable.split_once('=').unwrap_or((variable, "*"));
            let patterns = patterns(field);
            let pattern = patterns.iter().find_map(|pattern| names(pattern, segments));
            read.variable(field, segments, pattern.unwrap_or_default());
            read.fields.push(field.to_owned());
            rest = after;
        }
        read.path.push_str(rest);
        // A wildcard outside of a variable binds no field: nobody could say what it is for.
        (!rest.contains('}') && !read.path.contains('*')).then_some(read)
    }

    /// Adds the segments of a variable, whose wildcards have `names` as far as those go.
    fn variable(&mut self, field: &str, segments: &str, names: Vec<String>) {
        let mut names = names.into_iter();
        let mut before = None;
        for (at, segment) in segments.split('/').enumerate() {
            if at > 0 {
                self.path.push('/');
            }
            if segment != "*" && segment != "**" {
                self.path.push_str(segment);
                before = Some(segment);
                continue;
            }
            let own = || field.rsplit('.').next().unwrap_or(field).to_owned();
            let name = names.next().unwrap_or_else(|| before.map_or_else(own, singular));
            let name = self.free(name);
            self.path.push_str(&format!("{{{name}}}"));
            self.parameters.push(PathParameter { name, field: field.to_owned(), is_rest: segment == "**" });
        }
    }

    /// `name`, or with a number where the path has a parameter of that name.
    fn free(&self, name: String) -> String {
        let (mut free, mut number) = (name.clone(), 1);
        while self.parameters.iter().any(|parameter| parameter.name == free) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }
}

/// The names that a resource's `pattern` gives the wildcards of `segments`; `None` where it is another's.
fn names(pattern: &str, segments: &str) -> Option<Vec<String>> {
    if pattern.split('/').count() != segments.split('/').count() {
        return None;
    }
    let mut names = Vec::new();
    for (part, segment) in pattern.split('/').zip(segments.split('/')) {
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if segment == "*" || segment == "**" => names.push(name.to_owned()),
            None if part == segment => {}
            _ => return None,
        }
    }
    Some(names)
}

/// One of a collection, such as `deadLetter` of `deadLetters`.
fn singular(collection: &str) -> String {
    match collection.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => collection.strip_suffix('s').unwrap_or(collection).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(template: &str, patterns: &[&str]) -> Option<Template> {
        Template::parse(template, |_| patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    #[test]
    fn wildcards_become_parameters_with_the_names_of_the_resource() {
        let template = parse("/v1/{name=users/*/sessions/*}:revoke", &["users/{user}/sessions/{own_session}"]).unwrap();
        assert_eq!(template.path, "/v1/users/{user}/sessions/{own_session}:revoke");
        assert_eq!(template.fields, ["name"]);
        let parameter = |name: &str| PathParameter { name: name.to_owned(), field: "name".to_owned(), is_rest: false };
        assert_eq!(template.parameters, [parameter("user"), parameter("own_session")]);
    }

    #[test]
    fn without_a_pattern_the_collection_gives_the_name() {
        let path = |template| parse(template, &["orders/{order}", "users/{user}/x"]).unwrap().path;
        assert_eq!(path("/v1/{name=deadLetters/*}"), "/v1/deadLetters/{deadLetter}");
        assert_eq!(path("/v1/{name=categories/*}:merge"), "/v1/categories/{category}:merge");
        assert_eq!(path("/v1/users/{user_id}"), "/v1/users/{user_id}");
        assert_eq!(path("/v1/{a=users/*}/{b=users/*}"), "/v1/users/{user}/users/{user_2}");
        assert_eq!(path("/v1/{name=jsonWebKeySet}"), "/v1/jsonWebKeySet");
        assert_eq!(path("/v1/orders:search"), "/v1/orders:search");
        assert!(parse("/v1/{name=files/**}", &[]).unwrap().parameters[0].is_rest);
    }

    #[test]
    fn what_is_no_template_is_none() {
        for template in ["", "v1/orders", "/v1/{name", "/v1/name}", "/v1/*/orders"] {
            assert_eq!(parse(template, &[]), None, "{template}");
        }
    }
}
