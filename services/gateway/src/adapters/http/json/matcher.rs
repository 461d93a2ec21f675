//! Finds the routes of a path: a tree of segments, in which literals come before variables.

use std::collections::HashMap;

use http::Method;

use super::template::{Segment, Template};

/// The longest path that is looked at, in bytes.
const MAX_PATH: usize = 8 << 10;
/// The most segments of a path that is looked at.
const MAX_SEGMENTS: usize = 64;

/// The routes of all templates.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    /// Behind any segment.
    one: Option<Box<Node>>,
    /// Routes that end here.
    ends: Vec<Leaf>,
    /// Routes that take whatever follows.
    rest: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<String>,
    method: Method,
    route: usize,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup<'p> {
    /// The number of the route, and the segments of the path, without its verb.
    Route(usize, Vec<&'p str>),
    /// There are routes, of these methods only.
    OtherMethods(Vec<Method>),
    /// There is none.
    None,
}

impl Matcher {
    /// Adds a route. Of two of the same path and method the first is found.
    pub(super) fn insert(&mut self, method: Method, template: &Template, route: usize) {
        let leaf = Leaf { verb: template.verb.clone(), method, route };
        let mut node = &mut self.root;
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default().as_mut(),
                // The last one.
                Segment::Rest => return node.rest.push(leaf),
            };
        }
        node.ends.push(leaf);
    }

    /// What a path leads to, of which a request has sent `method`. What stands behind the last colon is a verb where
    /// there is one of that name, and belongs to the last segment otherwise.
    pub(super) fn find<'p>(&self, method: &Method, path: &'p str) -> Lookup<'p> {
        let Some(path) = path.strip_prefix('/').filter(|path| path.len() < MAX_PATH) else { return Lookup::None };
        let whole: Vec<_> = path.split('/').take(MAX_SEGMENTS + 1).collect();
        let Some((last, before)) = whole.split_last().filter(|_| whole.len() <= MAX_SEGMENTS) else {
            return Lookup::None;
        };
        if let Some((last, verb)) = last.rsplit_once(':') {
            let segments: Vec<_> = before.iter().copied().chain([last]).collect();
            match self.of(&segments, Some(verb), method) {
                Ok(Some(route)) => return Lookup::Route(route, segments),
                Ok(None) => {}
                Err(others) => return Lookup::OtherMethods(others),
            }
        }
        match self.of(&whole, None, method) {
            Ok(Some(route)) => Lookup::Route(route, whole),
            Ok(None) => Lookup::None,
            Err(others) => Lookup::OtherMethods(others),
        }
    }

    /// The route; an error names the methods that there are instead.
    fn of(&self, segments: &[&str], verb: Option<&str>, method: &Method) -> Result<Option<usize>, Vec<Method>> {
        let mut leaves = Vec::new();
        self.root.collect(segments, verb, &mut leaves);
        if let Some(leaf) = leaves.iter().find(|leaf| leaf.method == *method) {
            return Ok(Some(leaf.route));
        }
        let mut others: Vec<Method> = Vec::new();
        for Leaf { method, .. } in leaves {
            if !others.contains(method) {
                others.push(method.clone());
            }
        }
        if others.is_empty() { Ok(None) } else { Err(others) }
    }
}

impl Node {
    /// Gathers what fits, the most literal first. Each node is visited once at most: it has one place in a path.
    fn collect<'n>(&'n self, segments: &[&str], verb: Option<&str>, leaves: &mut Vec<&'n Leaf>) {
        let fits = |leaf: &&Leaf| leaf.verb.as_deref() == verb;
        match segments.split_first() {
            None => leaves.extend(self.ends.iter().filter(fits)),
            Some((first, rest)) => {
                if let Some(node) = self.literals.get(*first) {
                    node.collect(rest, verb, leaves);
                }
                if let Some(node) = self.one.as_ref().filter(|_| !first.is_empty()) {
                    node.collect(rest, verb, leaves);
                }
            }
        }
        if segments.iter().all(|segment| !segment.is_empty()) {
            leaves.extend(self.rest.iter().filter(fits));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(routes: &[(Method, &str)]) -> Matcher {
        let mut matcher = Matcher::default();
        for (index, (method, template)) in routes.iter().enumerate() {
            matcher.insert(method.clone(), &template.parse().unwrap(), index);
        }
        matcher
    }

    fn orders() -> Matcher {
        matcher(&[
            (Method::GET, "/v1/{name=orders/*}"),
            (Method::GET, "/v1/orders"),
            (Method::POST, "/v1/orders"),
            (Method::POST, "/v1/{name=orders/*}:cancel"),
            (Method::GET, "/v1/orders/newest"),
            (Method::DELETE, "/v1/{name=orders/*}"),
            (Method::GET, "/v2/{name=**}"),
            (Method::GET, "/v2/{name=**}:watch"),
        ])
    }

    #[track_caller]
    fn assert_route(method: Method, path: &str, route: usize) {
        match orders().find(&method, path) {
            Lookup::Route(found, _) => assert_eq!(found, route, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn literals_come_before_variables_and_variables_before_the_rest() {
        assert_route(Method::GET, "/v1/orders/a", 0);
        assert_route(Method::GET, "/v1/orders/newest", 4);
        // The literal has no such method.
        assert_route(Method::DELETE, "/v1/orders/newest", 5);
        assert_route(Method::GET, "/v1/orders", 1);
        assert_route(Method::POST, "/v1/orders", 2);
        assert_route(Method::GET, "/v2/a/b/c", 6);
        assert_route(Method::GET, "/v2", 6);
    }

    #[test]
    fn a_verb_is_one_where_there_is_one_of_its_name() {
        assert_route(Method::POST, "/v1/orders/a:cancel", 3);
        assert_route(Method::GET, "/v1/orders/a:b", 0);
        assert_route(Method::GET, "/v2/a/b:watch", 7);
        let deleted = orders().find(&Method::DELETE, "/v1/orders/a:cancel");
        assert_eq!(deleted, Lookup::OtherMethods(vec![Method::POST]), "the resource of that name is not meant");
    }

    #[test]
    fn other_methods_are_told_and_what_fits_nothing_is_nothing() {
        let other = orders().find(&Method::PATCH, "/v1/orders/newest");
        assert_eq!(other, Lookup::OtherMethods(vec![Method::GET, Method::DELETE]));
        for path in ["", "/", "v1/orders", "/v1", "/v1/orders/", "/v1/orders/a/b", "/v1//orders"] {
            assert_eq!(orders().find(&Method::GET, path), Lookup::None, "{path}");
        }
    }

    #[test]
    fn paths_are_looked_at_within_bounds() {
        let long = format!("/v2/{}", "a".repeat(MAX_PATH));
        assert_eq!(orders().find(&Method::GET, &long), Lookup::None);
        let deep = format!("/v2{}", "/a".repeat(MAX_SEGMENTS));
        assert_eq!(orders().find(&Method::GET, &deep), Lookup::None);
        assert_route(Method::GET, &format!("/v2{}", "/a".repeat(MAX_SEGMENTS - 1)), 6);
    }

    proptest! {
        #[test]
        fn any_path_leads_somewhere_or_nowhere(
            path in any::<String>(),
            like in "(/(v1|v2|orders|a|:|%|\\.\\.)){0,8}(:cancel)?",
        ) {
            for path in [path, like] {
                orders().find(&Method::GET, &path);
            }
        }

        #[test]
        fn what_a_template_is_filled_with_comes_back(id in "[a-z0-9.-]{1,20}") {
            let orders = orders();
            prop_assume!(id != "newest");
            let path = format!("/v1/orders/{id}:cancel");
            let Lookup::Route(3, segments) = orders.find(&Method::POST, &path) else { panic!("{path}") };
            let template: Template = "/v1/{name=orders/*}:cancel".parse().unwrap();
            prop_assert_eq!(template.captures(&segments), Some(vec![format!("orders/{id}")]));
        }
    }
}
