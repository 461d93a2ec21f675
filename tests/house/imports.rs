//! Reads which paths a source file uses: imports, paths in code, in attributes and in the arguments of macros.
//!
//! Code that exists in tests only is passed over.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItem, Item, ItemMod, Meta, TraitItem, UseTree, Visibility};

/// A path that a file uses, resolved as far as its text allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The line, from 1.
    pub line: usize,
    /// Where the path leads.
    pub target: Target,
    /// The import through which the path goes, when its first name was imported.
    pub via: Option<Target>,
    /// Whether it is an import that others may use too: `pub use`, `pub(crate) use`, …
    pub is_reexport: bool,
}

/// Where a path leads. A `*` at the end stands for all names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into this crate, from its root.
    Own(Vec<String>),
    /// Into another crate, whose name comes first.
    Extern(Vec<String>),
}

impl Target {
    /// The path as one would write it.
    pub fn shown(&self) -> String {
        match self {
            Self::Own(path) => std::iter::once("crate").chain(path.iter().map(String::as_str)).collect::<Vec<_>>(),
            Self::Extern(path) => path.iter().map(String::as_str).collect(),
        }
        .join("::")
    }

    /// The names of the path, without `crate`.
    pub fn path(&self) -> &[String] {
        match self {
            Self::Own(path) | Self::Extern(path) => path,
        }
    }

    fn then(&self, rest: &[String]) -> Self {
        match self {
            Self::Own(path) => Self::Own([path, rest].concat()),
            Self::Extern(path) => Self::Extern([path, rest].concat()),
        }
    }
}

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Source {
    /// The paths that it uses, in order of lines.
    pub imports: Vec<Import>,
    /// What its imports call things.
    pub aliases: BTreeMap<String, Target>,
    /// The names of what stands in it, but for modules in files of their own.
    pub defined: BTreeSet<String>,
    /// The modules in files of their own that exist in tests only.
    pub test_modules: Vec<Vec<String>>,
}

/// Reads the file of `module`, the path of a module from the root of its crate, in which other crates are known as
/// `externs`.
///
/// # Errors
/// When the text isn't Rust.
pub fn read(text: &str, module: &[String], externs: &BTreeSet<String>) -> syn::Result<Source> {
    let file = syn::parse_file(text)?;
    let mut reader =
        Reader { module: module.to_vec(), externs, is_reexport: false, uses: Vec::new(), source: Source::default() };
    reader.visit_file(&file);
    let Reader { uses, mut source, .. } = reader;
    source.defined = file.items.iter().filter_map(name).map(ToString::to_string).collect();
    for Used { line, target, names, is_reexport } in uses {
        // A name that was imported anywhere in the file leads where the import leads.
        let via = names.as_ref().and_then(|names| source.aliases.get(&names[0]));
        let import = match (via, names.as_ref()) {
            (Some(via), Some(names)) => {
                Import { line, target: via.then(&names[1..]), via: Some(via.clone()), is_reexport }
            }
            _ => Import { line, target, via: None, is_reexport },
        };
        source.imports.push(import);
    }
    source.imports.sort_by_key(|import| import.line);
    source.imports.dedup();
    Ok(source)
}

/// The module that a file holds, from its path below `src`: `domain/order.rs` and `domain/order/mod.rs` hold
/// `domain::order`.
pub fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// A path as found.
struct Used {
    line: usize,
    /// Where it leads if its first name isn't imported.
    target: Target,
    /// Its names, when the first may be an imported one.
    names: Option<Vec<String>>,
    is_reexport: bool,
}

struct Reader<'a> {
    module: Vec<String>,
    externs: &'a BTreeSet<String>,
    /// Whether the import that is being read may be used by others.
    is_reexport: bool,
    uses: Vec<Used>,
    source: Source,
}

impl Reader<'_> {
    /// Where a path leads, seen from the module that is being read.
    fn resolve(&self, is_absolute: bool, names: &[String]) -> Target {
        let first = names[0].as_str();
        if is_absolute || ["std", "core", "alloc"].contains(&first) || self.externs.contains(first) {
            return Target::Extern(names.to_vec());
        }
        if first == "crate" {
            return Target::Own(names[1..].to_vec());
        }
        let mut module = self.module.clone();
        let mut rest = names;
        while let Some(("self" | "super", after)) = rest.split_first().map(|(name, after)| (name.as_str(), after)) {
            if rest[0] == "super" {
                module.pop();
            }
            rest = after;
        }
        module.extend_from_slice(rest);
        Target::Own(module)
    }

    /// Notes a path in code. A lone name is a local or an imported thing, and the import was noted.
    fn note(&mut self, is_absolute: bool, names: Vec<String>, line: usize) {
        if names.len() < 2 || names[0] == "Self" {
            return;
        }
        let target = self.resolve(is_absolute, &names);
        let may_be_imported = !is_absolute && !["crate", "self", "super"].contains(&names[0].as_str());
        self.uses.push(Used { line, target, names: may_be_imported.then_some(names), is_reexport: false });
    }

    /// Notes what an import names.
    fn import(&mut self, is_absolute: bool, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        let (names, ident, alias) = match tree {
            UseTree::Path(path) => return self.import(is_absolute, &with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|item| self.import(is_absolute, before, item));
            }
            UseTree::Glob(glob) => {
                let names = with("*".to_owned());
                let line = glob.star_token.spans[0].start().line;
                let target = self.resolve(is_absolute, &names);
                return self.uses.push(Used { line, target, names: None, is_reexport: self.is_reexport });
            }
            UseTree::Name(name) => (with(name.ident.to_string()), &name.ident, None),
            UseTree::Rename(rename) => (with(rename.ident.to_string()), &rename.ident, Some(rename.rename.to_string())),
        };
        // `use a::{self}` imports `a`.
        let names = if names.len() > 1 && ident == "self" { before.to_vec() } else { names };
        let target = self.resolve(is_absolute, &names);
        let alias = alias.unwrap_or_else(|| names[names.len() - 1].clone());
        self.source.aliases.insert(alias, target.clone());
        let line = ident.span().start().line;
        self.uses.push(Used { line, target, names: None, is_reexport: self.is_reexport });
    }

    /// Notes the paths among the arguments of a macro or of an attribute.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_colons = |at: usize| {
            let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
            is_colon(at) && is_colon(at + 1)
        };
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.scan(group.stream());
                    at += 1;
                }
                TokenTree::Ident(first) => {
                    let is_absolute = at >= 2 && is_colons(at - 2) && !(at >= 3 && ends_path(&tokens[at - 3]));
                    let line = first.span().start().line;
                    let mut names = vec![first.to_string()];
                    at += 1;
                    while is_colons(at)
                        && let Some(TokenTree::Ident(name)) = tokens.get(at + 2)
                    {
                        names.push(name.to_string());
                        at += 3;
                    }
                    self.note(is_absolute, names, line);
                }
                _ => at += 1,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
            self.source.test_modules.push([self.module.as_slice(), &[ident.to_string()]].concat());
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_test_only(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !matches!(item, TraitItem::Fn(function) if is_test_only(&function.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.is_reexport = !matches!(item.vis, Visibility::Inherited);
        self.import(item.leading_colon.is_some(), &[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.ident.to_string();
        let alias = item.rename.as_ref().map_or_else(|| name.clone(), |(_, alias)| alias.to_string());
        let target = Target::Extern(vec![name]);
        self.source.aliases.insert(alias, target.clone());
        let line = item.ident.span().start().line;
        self.uses.push(Used { line, target, names: None, is_reexport: false });
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.note(path.leading_colon.is_some(), names, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }
}

/// Whether a path goes on when `::` follows: `<T>::name`, `$crate::name`, `Vec::<T>::new`.
fn ends_path(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(_) | TokenTree::Group(_))
        || matches!(token, TokenTree::Punct(mark) if mark.as_char() == '>')
}

/// What an item is called, unless it is a module in a file of its own or exists in tests only.
fn name(item: &Item) -> Option<&Ident> {
    if is_test_only(attributes(item)) {
        return None;
    }
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Mod(item) => item.content.as_ref().map(|_| &item.ident),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether the attributes say that their item exists in tests only: `#[test]`, `#[tokio::test]`, `#[cfg(test)]`,
/// `#[cfg(all(test, …))]`.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        meta => meta.path().segments.last().is_some_and(|name| name.ident == "test"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of `domain::order` uses, each as `line path`.
    fn found(text: &str) -> Vec<String> {
        let externs = ["tonic", "time", "sqlx"].map(str::to_owned).into();
        let module = ["domain".to_owned(), "order".to_owned()];
        let source = read(text, &module, &externs).unwrap();
        source.imports.iter().map(|import| format!("{} {}", import.line, import.target.shown())).collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        assert_eq!(
            found("use tonic::{Status, transport::{self, Channel as C}};\nuse sqlx;\nuse time::*;"),
            ["1 tonic::Status", "1 tonic::transport", "1 tonic::transport::Channel", "2 sqlx", "3 time::*"]
        );
    }

    #[test]
    fn relative_imports_lead_from_the_module() {
        assert_eq!(
            found("use super::money::Money;\nuse super::super::app;\nuse self::state::State;\nuse state::Other;"),
            [
                "1 crate::domain::money::Money",
                "2 crate::app",
                "3 crate::domain::order::state::State",
                "4 crate::domain::order::state::Other"
            ]
        );
        assert_eq!(found("mod inner { use super::super::super::adapters; }"), ["1 crate::adapters"]);
    }

    #[test]
    fn paths_are_found_wherever_code_is() {
        assert_eq!(found("fn f(x: tonic::Status) {}"), ["1 tonic::Status"]);
        assert_eq!(found("fn f() { let x = Vec::<crate::app::X>::new(); }")[1], "1 crate::app::X");
        assert_eq!(found("impl crate::ports::Clock for X {}"), ["1 crate::ports::Clock"]);
        assert_eq!(found("#[derive(sqlx::FromRow)]\nstruct X;"), ["1 sqlx::FromRow"]);
        assert_eq!(found("fn f() {\n  g!(\n    a.b, [::tonic::Code::Ok]);\n}"), ["3 tonic::Code::Ok"]);
        assert_eq!(found("fn f() { sqlx::query!(\"SELECT 1\"); }"), ["1 sqlx::query"]);
        assert_eq!(found("fn f() { use crate::adapters::grpc; }"), ["1 crate::adapters::grpc"]);
        assert_eq!(found("extern crate sqlx as store;\nfn f() { store::query(); }"), ["1 sqlx", "2 sqlx::query"]);
    }

    #[test]
    fn names_that_were_imported_lead_where_the_import_leads() {
        let text = "fn f() { S::now(); }\nuse std::time::SystemTime as S;";
        assert_eq!(found(text), ["1 std::time::SystemTime::now", "2 std::time::SystemTime"]);
    }

    #[test]
    fn locals_and_fields_are_no_paths() {
        assert!(found("fn f(time: u8) { g!(time.max(1), x.time, x::<u8>()); time.min(2); Self::g(); }").is_empty());
    }

    #[test]
    fn code_of_tests_is_passed_over() {
        assert!(found("#[cfg(test)]\nmod tests { use tonic::Status; }").is_empty());
        assert!(found("#[cfg(all(test, unix))]\nuse tonic::Status;").is_empty());
        assert!(found("#[tokio::test]\nasync fn f() { tonic::x(); }").is_empty());
        assert!(found("struct X;\nimpl X { #[cfg(test)] fn f() { tonic::x(); } }").is_empty());
        assert_eq!(found("#[cfg(not(test))]\nuse tonic::Status;").len(), 1);
        assert_eq!(found("#[cfg(any(test, unix))]\nuse tonic::Status;").len(), 1);
    }

    #[test]
    fn modules_of_tests_in_files_of_their_own_are_named() {
        let source = read("#[cfg(test)]\nmod tests;\nmod state;", &["domain".to_owned()], &BTreeSet::new()).unwrap();
        assert_eq!(source.test_modules, [["domain", "tests"]]);
    }

    #[test]
    fn what_stands_in_a_file_is_known_by_name() {
        let text =
            "struct A;\nfn b() {}\nmod c {}\nmod d;\nuse x::E;\nimpl A {}\n#[cfg(test)]\nstruct F;\nconst G: u8 = 1;";
        let source = read(text, &[], &BTreeSet::new()).unwrap();
        assert_eq!(source.defined.into_iter().collect::<Vec<_>>(), ["A", "G", "b", "c"]);
    }

    #[test]
    fn imports_that_others_may_use_are_marked() {
        let text = "pub use x::A;\nuse x::B;\npub(super) use x::{C, d::*};\nfn f() { x::E; }";
        let source = read(text, &[], &BTreeSet::new()).unwrap();
        let marked = source.imports.iter().filter(|import| import.is_reexport).map(|import| import.target.shown());
        assert_eq!(marked.collect::<Vec<_>>(), ["crate::x::A", "crate::x::C", "crate::x::d::*"]);
    }

    #[test]
    fn files_hold_modules() {
        assert_eq!(module_of("domain/order.rs"), ["domain", "order"]);
        assert_eq!(module_of("domain/order/mod.rs"), ["domain", "order"]);
        assert_eq!(module_of("ports.rs"), ["ports"]);
        assert!(module_of("lib.rs").is_empty());
    }
}
