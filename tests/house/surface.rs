//! What the crates show to their users: a listing beside each `Cargo.toml`, one line for each public item, which changes
//! only when somebody means it.
//!
//! It is read from the sources, through `pub mod` and `pub use` from `lib.rs` on. An item that has several public paths is
//! listed by the shortest, and by the others as `pub use`. What needs a feature carries its name: `[jwt]`.

mod lines;
mod macros;
mod tokens;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{GenericParam, Type};

use self::lines::Line;
use self::tree::{Crate, Found, Implementation, Marks, Target, UsePath};
use crate::graph::Package;

/// The crates whose surface is listed.
const LISTED: &[&str] = &["crates/mesh"];
/// Where a crate has its listing.
const FILE: &str = "public-api.txt";
/// Says that listings are to be written, in place of being compared.
const UPDATE: &str = "MESHWORK_UPDATE";

/// The listings that aren't what their crates show; with `MESHWORK_UPDATE=1` they are written.
///
/// # Errors
/// When a crate isn't there, or can't be read.
pub fn violations(root: &Path, packages: &[Package]) -> Result<Vec<String>, String> {
    let is_update = std::env::var_os(UPDATE).is_some_and(|value| value == "1");
    let mut found = Vec::new();
    for folder in LISTED {
        let package = packages.iter().find(|package| package.folder == *folder);
        let package = package.ok_or_else(|| format!("{folder} is not in the workspace"))?;
        let src = root.join(folder).join("src");
        let files = |file: &str| fs::read_to_string(src.join(file)).ok();
        let tree = Crate::load(&package.externs, &files).map_err(|error| format!("{folder}/src/{error}"))?;
        let given = listing(&package.name.replace('-', "_"), &tree).map_err(|error| format!("{folder}: {error}"))?;
        let file = root.join(folder).join(FILE);
        if is_update {
            fs::write(&file, given).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        } else if let Some(difference) = difference(&fs::read_to_string(&file).unwrap_or_default(), &given) {
            found.push(format!(
                "{folder}/{FILE}: isn't what the crate shows; if that is meant, renew it with \
                 `{UPDATE}=1 cargo test -p meshwork-api --test house` and read what has changed\n{difference}"
            ));
        }
    }
    Ok(found)
}

/// The lines that only one of two listings has; nothing when they are the same.
fn difference(there: &str, given: &str) -> Option<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (old, new) = (lines(there), lines(given));
    let gone = there.lines().filter(|line| !new.contains(*line)).map(|line| format!("  - {line}"));
    let come = given.lines().filter(|line| !old.contains(*line)).map(|line| format!("  + {line}"));
    let differing: Vec<_> = gone.chain(come).collect();
    if differing.is_empty() {
        return (there != given).then(|| "  its lines have another order".to_owned());
    }
    Some(differing.join("\n"))
}

/// The public items of a crate, one a line, in order.
///
/// # Errors
/// When an export can't be followed.
fn listing(name: &str, tree: &Crate) -> Result<String, String> {
    let mut surface = Surface { tree, places: BTreeMap::new(), lines: BTreeSet::new(), lost: BTreeSet::new() };
    surface.walk(0, &[name.to_owned()], &Marks::new(), &mut Vec::new());
    surface.items();
    for implementation in tree.implementations() {
        surface.implementation(implementation);
    }
    if !surface.lost.is_empty() {
        let lost: Vec<_> = surface.lost.into_iter().collect();
        return Err(format!("it is not understood what these names stand for: {}", lost.join(", ")));
    }
    Ok(surface.lines.iter().map(|line| format!("{}\n", line.text())).collect())
}

struct Surface<'a> {
    tree: &'a Crate,
    /// The public paths of each item, by length.
    places: BTreeMap<usize, BTreeMap<(usize, Vec<String>), Marks>>,
    lines: BTreeSet<Line>,
    lost: BTreeSet<String>,
}

impl Surface<'_> {
    /// Goes over what the module of `path` exports; `trail` holds the modules on the way to it.
    fn walk(&mut self, module: usize, path: &[String], marks: &Marks, trail: &mut Vec<usize>) {
        if trail.contains(&module) {
            return;
        }
        trail.push(module);
        let exports = self.tree.exports(module);
        self.lost.extend(exports.lost.iter().map(|name| format!("{}::{name}", path.join("::"))));
        for of in exports.externs {
            let shown = format!("pub use {}::* = {}::*", path.join("::"), of.join("::"));
            self.lines.insert(Line::item(path, &shown, marks));
        }
        for (name, found) in exports.names {
            let path = [path, &[name]].concat();
            for Found { target, marks: own } in found {
                let marks = marks | &own;
                match target {
                    Target::Item(item) => {
                        let places = self.places.entry(item).or_default();
                        places.entry((path.len(), path.clone())).or_insert(marks);
                    }
                    Target::Module(inner) => {
                        self.lines.insert(Line::item(&path, &format!("pub mod {}", path.join("::")), &marks));
                        self.walk(inner, &path, &marks, trail);
                    }
                    Target::Extern(of) => {
                        let shown = format!("pub use {} = {}", path.join("::"), of.join("::"));
                        self.lines.insert(Line::item(&path, &shown, &marks));
                    }
                }
            }
        }
        trail.pop();
    }

    /// The path by which an item is listed, if it is public.
    fn place(&self, item: usize) -> Option<(&[String], &Marks)> {
        let ((_, path), marks) = self.places.get(&item)?.first_key_value()?;
        Some((path.as_slice(), marks))
    }

    fn items(&mut self) {
        let mut lines = Vec::new();
        for (item, places) in &self.places {
            let Some((path, marks)) = self.place(*item) else { continue };
            lines.extend(lines::of_item(self.tree.item(*item), path, marks));
            for ((_, other), marks) in places.iter().skip(1) {
                let shown = format!("pub use {} = {}", other.join("::"), path.join("::"));
                lines.push(Line::item(other, &shown, marks));
            }
        }
        self.lines.extend(lines);
    }

    fn implementation(&mut self, implementation: &Implementation) {
        let Implementation { item, module, marks } = implementation;
        let is_parameter = |name: &str| {
            let mut params = item.generics.params.iter();
            params.any(|param| matches!(param, GenericParam::Type(param) if param.ident == name))
        };
        let of_path = |path: &syn::Path| {
            let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if names.first().is_some_and(|name| is_parameter(name)) {
                return None;
            }
            let path = UsePath { is_absolute: path.leading_colon.is_some(), names };
            self.tree.resolve(*module, &path).into_iter().find_map(|found| match found.target {
                Target::Item(item) => Some(item),
                _ => None,
            })
        };
        let own = match &*item.self_ty {
            Type::Path(path) if path.qself.is_none() => of_path(&path.path),
            _ => None,
        };
        let lines = match &item.trait_ {
            None => {
                let Some((path, of_item)) = own.and_then(|own| self.place(own)) else { return };
                lines::of_inherent(item, path, &(marks | of_item))
            }
            Some((_, path, _)) => {
                // A word of `pin_project!`, and no trait.
                if path.segments.last().is_some_and(|name| name.ident == "PinnedDrop") {
                    return;
                }
                let of_trait = of_path(path);
                if [own, of_trait].into_iter().flatten().any(|item| self.place(item).is_none()) {
                    return;
                }
                // What is implemented for a type of others is listed at the trait, or at the first type of ours in it.
                let mut named = Paths::default();
                named.visit_path(path);
                named.visit_type(&item.self_ty);
                let about = own.or(of_trait).or_else(|| named.0.iter().find_map(&of_path));
                let Some((about, of_item)) = about.and_then(|about| self.place(about)) else { return };
                let shown = own.map(|_| about.join("::"));
                lines::of_trait_impl(item, shown.as_deref(), about, &(marks | of_item))
            }
        };
        self.lines.extend(lines);
    }
}

/// The paths in a part of the code.
#[derive(Default)]
struct Paths(Vec<syn::Path>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.clone());
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The listing of a planted crate, by the texts of its files.
    fn listed(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let text = |wanted: &str| files.iter().find(|(file, _)| *file == wanted).map(|(_, text)| (*text).to_owned());
        let tree = Crate::load(&["bytes".to_owned()].into(), &text)?;
        Ok(listing("planted", &tree)?.lines().map(str::to_owned).collect())
    }

    #[test]
    fn exports_are_followed_out_of_private_modules() {
        let root = "mod inner;
            pub mod outer;
            pub use inner::{Shown, deep::{self, Renamed as Other}};
            pub use inner::all::*;
            use inner::Hidden;
            pub use bytes::Bytes;";
        let inner = "pub struct Shown;
            pub struct Hidden;
            pub mod deep { pub struct Renamed(u8); }
            pub mod all { pub const LIMIT: usize = 1; const PRIVATE: u8 = 0; pub(crate) fn f() {} }";
        let outer = "pub use crate::inner::Shown;
            pub fn free<T: Into<u8>>(mut value: T, (a, b): (u8, u8)) -> u8
            where
                T: Clone,
            {
            }";
        let found = listed(&[("lib.rs", root), ("inner.rs", inner), ("outer/mod.rs", outer)]).unwrap();
        assert_eq!(
            found,
            [
                "pub use planted::Bytes = bytes::Bytes",
                "pub const planted::LIMIT: usize",
                "pub struct planted::Other",
                "pub struct planted::Shown;",
                "pub mod planted::deep",
                "pub use planted::deep::Renamed = planted::Other",
                "pub mod planted::outer",
                "pub use planted::outer::Shown = planted::Shown",
                "pub fn planted::outer::free<T: Into<u8>>(value: T, _: (u8, u8)) -> u8 where T: Clone",
            ]
        );
    }

    #[test]
    fn what_a_type_has_and_implements_is_listed() {
        let root = "use std::fmt;
            #[derive(Debug, Clone)]
            #[non_exhaustive]
            pub enum Kind { Unit, Of(#[from] Box<str>), Both { code: u8 } }
            pub trait Pick: Send {
                const N: usize;
                type Out: Clone;
                fn pick(&self, of: &[u8]) -> Self::Out;
                fn name(&self) -> &str { \"\" }
            }
            pub struct Held<T> { inner: T, pub open: bool }
            impl<T: Clone> Held<T> {
                pub const MOST: u8 = 1;
                pub async fn new(mut self, x: T) -> Self { self }
                fn private(&self) {}
                #[cfg(test)]
                pub fn of_tests(&self) {}
            }
            impl<T> fmt::Display for Held<T> where T: fmt::Display {}
            impl<T> Iterator for Held<T> { type Item = T; }
            impl Pick for Box<dyn Pick> {}
            impl From<Kind> for String {}
            trait Private {}
            impl Private for Kind {}
            struct Secret;
            impl Clone for Secret {}
            #[cfg(test)]
            pub struct OfTests;";
        assert_eq!(
            listed(&[("lib.rs", root)]).unwrap(),
            [
                "pub struct planted::Held<T>",
                "impl<T> Display for planted::Held<T> where T: fmt::Display",
                "impl<T> Iterator for planted::Held<T>",
                "type <planted::Held<T> as Iterator>::Item = T",
                "pub const planted::Held::MOST: u8 (impl<T: Clone> planted::Held<T>)",
                "pub async fn planted::Held::new(self, x: T) -> Self (impl<T: Clone> planted::Held<T>)",
                "pub planted::Held::open: bool",
                "#[derive(Clone, Debug)] #[non_exhaustive] pub enum planted::Kind",
                "impl From<Kind> for String",
                "pub planted::Kind::Both { code: u8 }",
                "pub planted::Kind::Of(Box<str>)",
                "pub planted::Kind::Unit",
                "pub trait planted::Pick: Send",
                "impl Pick for Box<dyn Pick>",
                "pub const planted::Pick::N: usize",
                "pub type planted::Pick::Out: Clone",
                "pub fn planted::Pick::name(&self) -> &str (provided)",
                "pub fn planted::Pick::pick(&self, of: &[u8]) -> Self::Out",
            ]
        );
    }

    #[test]
    fn what_needs_a_feature_carries_its_name() {
        let root = "#[cfg(feature = \"jwt\")]
            pub mod jwt {
                pub struct Token { pub value: String, secret: u8 }
                #[cfg(unix)]
                impl Token { pub fn text(&self) -> &str { \"\" } }
            }
            #[doc(hidden)]
            #[macro_export]
            macro_rules! made { () => {}; }";
        assert_eq!(
            listed(&[("lib.rs", root)]).unwrap(),
            [
                "pub mod planted::jwt [jwt]",
                "pub struct planted::jwt::Token [jwt]",
                "pub fn planted::jwt::Token::text(&self) -> &str [jwt] [unix]",
                "pub planted::jwt::Token::value: String [jwt]",
                "pub macro planted::made! [hidden]",
            ]
        );
    }

    #[test]
    fn items_that_macros_make_are_listed() {
        let root = "pin_project! {
                #[project = Projected]
                pub struct Body<B> { #[pin] inner: B, pub size: usize }
                impl<B> PinnedDrop for Body<B> { fn drop(this: Pin<&mut Self>) {} }
            }
            macro_rules! layer {
                ($name:ident, $what:literal) => {
                    #[doc = $what]
                    pub struct $name;
                    impl $name { pub fn new() -> Self { Self } }
                };
            }
            layer!(Retry, \"Retries\");";
        assert_eq!(
            listed(&[("lib.rs", root)]).unwrap(),
            [
                "pub struct planted::Body<B>",
                "pub planted::Body::size: usize",
                "pub struct planted::Retry;",
                "pub fn planted::Retry::new() -> Self",
            ]
        );
    }

    #[test]
    fn globs_may_lead_in_circles_and_names_repeat_their_modules() {
        let root = "pub mod a { pub use super::b::*; pub struct A; }
            pub mod b { pub use super::a::*; pub struct B; }
            pub mod c { mod bounded { pub fn bounded() {} } pub use bounded::bounded; }";
        assert_eq!(
            listed(&[("lib.rs", root)]).unwrap(),
            [
                "pub mod planted::a",
                "pub struct planted::a::A;",
                "pub struct planted::a::B;",
                "pub mod planted::b",
                "pub use planted::b::A = planted::a::A",
                "pub use planted::b::B = planted::a::B",
                "pub mod planted::c",
                "pub fn planted::c::bounded()",
            ]
        );
    }

    #[test]
    fn nothing_is_passed_over_in_silence() {
        for (root, told) in [
            ("other! { x }", "lib.rs: the items of `other!` can't be listed"),
            ("pub mod gone;", "lib.rs: `mod gone` has no file"),
            ("pub use nowhere::X;", "it is not understood what these names stand for: planted::X"),
            ("fn {", "lib.rs: isn't Rust"),
        ] {
            let error = listed(&[("lib.rs", root)]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_difference_is_told_by_line() {
        assert_eq!(difference("a\nb\n", "a\nc\n").as_deref(), Some("  - b\n  + c"));
        assert_eq!(difference("a\nb\n", "b\na\n").as_deref(), Some("  its lines have another order"));
        assert_eq!(difference("a\n", "a\n"), None);
    }
}
