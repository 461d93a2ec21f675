//! Which paths methods may have that the configuration has added.

use std::collections::BTreeSet;

use super::binding::Binding;
use super::template::{Segment, Template};

/// The documents, which stand beside the methods.
const DOCUMENTS: [&str; 2] = ["docs", "openapi.json"];
/// How many segments make what the shop keeps for itself: the version and the collection, as in `/v1/orders`.
const DEPTH: usize = 2;

/// The beginnings of paths that nobody else has.
#[derive(Debug)]
pub(super) struct OwnPaths<'b>(BTreeSet<Vec<&'b str>>);

impl<'b> OwnPaths<'b> {
    /// Those of the shop's `bindings`, and of the documents.
    pub(super) fn new(bindings: impl IntoIterator<Item = &'b Binding>) -> Self {
        let own = bindings.into_iter().map(|binding| binding.template.beginning().take(DEPTH).collect::<Vec<_>>());
        Self(own.chain(DOCUMENTS.map(|name| vec![name])).collect())
    }

    /// Whether a path that fits `template` may lie there.
    pub(super) fn has(&self, template: &Template) -> bool {
        self.0.iter().any(|own| may_begin(&template.segments, own))
    }
}

/// Whether a path that fits `segments` may begin with these texts.
fn may_begin(segments: &[Segment], texts: &[&str]) -> bool {
    let mut segments = segments.iter();
    for text in texts {
        match segments.next() {
            Some(Segment::Rest) => return true,
            Some(Segment::One) => {}
            Some(Segment::Literal(literal)) if literal == text => {}
            Some(Segment::Literal(_)) | None => return false,
        }
    }
    true
}

/// Those of `bindings` that `permits` admits by the method's path and the texts that its template begins with, and that don't lie
/// where `own` does. How many are left out is logged, with the first of them.
pub(super) fn permitted(
    bindings: Vec<Binding>,
    own: &OwnPaths<'_>,
    permits: impl Fn(&str, &[&str]) -> bool,
) -> Vec<Binding> {
    let is_permitted = |binding: &Binding| {
        let beginning: Vec<_> = binding.template.beginning().collect();
        permits(&binding.grpc_path, &beginning) && !own.has(&binding.template)
    };
    let (permitted, left_out): (Vec<_>, Vec<_>) = bindings.into_iter().partition(is_permitted);
    if let Some(Binding { grpc_path, pattern, .. }) = left_out.first() {
        tracing::warn!(
            path = grpc_path,
            pattern,
            number = left_out.len(),
            "HTTP bindings of added upstreams are left out: they are the shop's paths, or not below the upstream's `http_paths`"
        );
    }
    permitted
}

#[cfg(test)]
mod tests {
    use super::super::binding::bindings;
    use super::super::testing::pool;
    use super::*;

    #[test]
    fn nobody_has_a_path_that_may_be_the_shops() {
        let bindings = bindings(&pool(), |_| true);
        let own = OwnPaths::new(&bindings);
        for (template, is_own) in [
            ("/{a=**}", true),
            // It may be the documents.
            ("/{a}", true),
            ("/{a}/{b}", true),
            ("/*/orders/weather", true),
            ("/v1/{city}", true),
            ("/v1/**", true),
            ("/v1/users/{a}/secret", true),
            ("/v1/orders", true),
            ("/v1/sessions:signOut", true),
            ("/docs", true),
            ("/docs/{page}", true),
            ("/openapi.json", true),
            ("/v1", false),
            ("/v1/weather/{city}", false),
            ("/weather/v1/{city=**}", false),
            ("/v2/orders/{order}", false),
        ] {
            assert_eq!(own.has(&template.parse().unwrap()), is_own, "{template}");
        }
        assert!(bindings.iter().all(|binding| own.has(&binding.template)));
    }

    #[test]
    fn bindings_are_those_that_are_permitted_and_the_shops_are_not() {
        let all = bindings(&pool(), |_| true);
        let none = OwnPaths::new([]);
        let kept = permitted(all.clone(), &none, |_, beginning| beginning.starts_with(&["v1", "orders"]));
        assert!(!kept.is_empty() && kept.iter().all(|binding| binding.grpc_path.contains("rder")), "{kept:?}");
        assert!(permitted(all.clone(), &none, |_, _| false).is_empty());
        assert!(permitted(all.clone(), &OwnPaths::new(&all), |_, _| true).is_empty());
    }
}
