//! The modules of a crate: what each declares and imports, and where names lead.
//!
//! Code that exists in tests only is passed over.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, Expr, ExprLit, Ident, Item, ItemImpl, ItemMacro, ItemMod, Lit, Meta, MetaNameValue, UseTree, Visibility,
};

use super::macros::Macros;
use super::tokens::text;
use crate::imports::{attributes, is_test_only};

/// On what an item depends: features by name, other conditions as they are written, and `hidden` for what no
/// documentation shows.
pub type Marks = BTreeSet<String>;

/// The bindings whose meaning is being looked for: module, name, and which one of that name.
type Trail = Vec<(usize, String, usize)>;

/// Gives the text of a file below the crate's `src`, if there is one.
pub type Files<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A crate.
pub struct Crate {
    /// The root is the first.
    modules: Vec<Module>,
    items: Vec<Item>,
    implementations: Vec<Implementation>,
    externs: BTreeSet<String>,
    macros: Macros,
}

#[derive(Default)]
struct Module {
    parent: Option<usize>,
    bindings: BTreeMap<String, Vec<Binding>>,
    globs: Vec<Binding>,
}

/// What a module calls something, or all names of a path.
struct Binding {
    is_public: bool,
    marks: Marks,
    bound: Bound,
}

enum Bound {
    Target(Target),
    Path(UsePath),
}

/// An `impl` block.
pub struct Implementation {
    /// Its code.
    pub item: ItemImpl,
    /// The module that it stands in.
    pub module: usize,
    /// On what it depends.
    pub marks: Marks,
}

/// A path as it is written.
#[derive(Clone, Debug)]
pub struct UsePath {
    /// Whether it begins with `::`.
    pub is_absolute: bool,
    /// Its names.
    pub names: Vec<String>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To an item of the crate, by its index.
    Item(usize),
    /// To a module of the crate, by its index.
    Module(usize),
    /// Out of the crate.
    Extern(Vec<String>),
}

/// A target, and on what the way to it depends.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where the path leads.
    pub target: Target,
    /// On what it depends.
    pub marks: Marks,
}

/// What a module exports.
#[derive(Debug, Default)]
pub struct Exports {
    /// By name.
    pub names: BTreeMap<String, Vec<Found>>,
    /// Crates and modules of theirs, all of whose names it exports.
    pub externs: BTreeSet<Vec<String>>,
    /// Exports that lead nowhere that is understood.
    pub lost: Vec<String>,
}

impl Crate {
    /// Reads a crate from its `lib.rs` on; other crates are known in it as `externs`.
    ///
    /// # Errors
    /// When a file is missing, isn't Rust or has a macro that isn't understood.
    pub fn load(externs: &BTreeSet<String>, files: Files<'_>) -> Result<Self, String> {
        let mut externs = externs.clone();
        externs.extend(["std", "core", "alloc"].map(str::to_owned));
        let mut tree = Self {
            modules: vec![Module::default()],
            items: Vec::new(),
            implementations: Vec::new(),
            externs,
            macros: Macros::default(),
        };
        tree.add_file(0, "", "lib.rs", &Marks::new(), files)?;
        Ok(tree)
    }

    /// An item of it.
    pub fn item(&self, index: usize) -> &Item {
        &self.items[index]
    }

    /// Its `impl` blocks.
    pub fn implementations(&self) -> &[Implementation] {
        &self.implementations
    }

    /// Where a path leads that stands in `module`; nowhere when it names a generic parameter, a variant or a built-in.
    pub fn resolve(&self, module: usize, path: &UsePath) -> Vec<Found> {
        self.follow(module, path, &mut Trail::new())
    }

    /// What `module` exports.
    pub fn exports(&self, module: usize) -> Exports {
        self.collect(module, &mut Vec::new())
    }

    fn add_file(
        &mut self,
        module: usize,
        folder: &str,
        file: &str,
        marks: &Marks,
        files: Files<'_>,
    ) -> Result<(), String> {
        let text = files(file).ok_or_else(|| format!("cannot read {file}"))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{file}: isn't Rust: {error}"))?;
        self.add_items(module, folder, parsed.items, marks, files).map_err(|error| format!("{file}: {error}"))
    }

    /// Adds what a module declares; `folder` is where the files of its children are, and `marks` are those of the module.
    fn add_items(
        &mut self,
        module: usize,
        folder: &str,
        items: Vec<Item>,
        marks: &Marks,
        files: Files<'_>,
    ) -> Result<(), String> {
        for item in items {
            if is_test_only(attributes(&item)) {
                continue;
            }
            let own = marks_of(attributes(&item));
            let all = marks | &own;
            match item {
                Item::Mod(item) => self.add_module(module, folder, item, own, &all, files)?,
                Item::Use(item) => {
                    let start = UsePath { is_absolute: item.leading_colon.is_some(), names: Vec::new() };
                    self.add_use(module, is_public(&item.vis), &own, &start, &item.tree);
                }
                Item::ExternCrate(item) => {
                    let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
                    let path = UsePath { is_absolute: true, names: vec![item.ident.to_string()] };
                    self.bind(module, name, is_public(&item.vis), own, Bound::Path(path));
                }
                Item::Impl(item) => self.implementations.push(Implementation { item, module, marks: all }),
                Item::Macro(item) if item.mac.path.is_ident("macro_rules") => self.add_rules(item, own),
                Item::Macro(item) => {
                    let parsed: syn::File = syn::parse2(self.macros.expand(&item.mac)?)
                        .map_err(|error| format!("what a macro stands for isn't Rust: {error}"))?;
                    self.add_items(module, folder, parsed.items, &all, files)?;
                }
                item => {
                    if let Some((name, visibility)) = declared(&item) {
                        let (name, is_public) = (name.clone(), is_public(visibility));
                        self.items.push(item);
                        let target = Target::Item(self.items.len() - 1);
                        self.bind(module, &name, is_public, own, Bound::Target(target));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_module(
        &mut self,
        parent: usize,
        folder: &str,
        item: ItemMod,
        own: Marks,
        marks: &Marks,
        files: Files<'_>,
    ) -> Result<(), String> {
        let name = item.ident.to_string();
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            return Err(format!("`mod {name}` has its file by an attribute, and that isn't understood"));
        }
        let module = self.modules.len();
        self.modules.push(Module { parent: Some(parent), ..Module::default() });
        self.bind(parent, &item.ident, is_public(&item.vis), own, Bound::Target(Target::Module(module)));
        let below = format!("{folder}{name}/");
        match item.content {
            Some((_, items)) => self.add_items(module, &below, items, marks, files),
            None => {
                let places = [format!("{folder}{name}.rs"), format!("{below}mod.rs")];
                let file = places.into_iter().find(|place| files(place).is_some());
                let file = file.ok_or_else(|| format!("`mod {name}` has no file"))?;
                self.add_file(module, &below, &file, marks, files)
            }
        }
    }

    /// A macro of the crate; one that others may use stands in the root.
    fn add_rules(&mut self, item: ItemMacro, own: Marks) {
        self.macros.declare(&item);
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
            && let Some(name) = item.ident.clone()
        {
            self.items.push(Item::Macro(item));
            let target = Target::Item(self.items.len() - 1);
            self.bind(0, &name, true, own, Bound::Target(target));
        }
    }

    fn add_use(&mut self, module: usize, is_public: bool, marks: &Marks, before: &UsePath, tree: &UseTree) {
        let then = |name: &Ident| {
            let names = [before.names.as_slice(), &[name.to_string()]].concat();
            UsePath { is_absolute: before.is_absolute, names }
        };
        let (ident, alias) = match tree {
            UseTree::Path(path) => return self.add_use(module, is_public, marks, &then(&path.ident), &path.tree),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_use(module, is_public, marks, before, tree));
            }
            UseTree::Glob(_) => {
                let bound = Bound::Path(before.clone());
                return self.modules[module].globs.push(Binding { is_public, marks: marks.clone(), bound });
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        // `use a::{self}` imports `a`.
        let path = if ident == "self" && !before.names.is_empty() { before.clone() } else { then(ident) };
        let name = if alias == "self" { path.names[path.names.len() - 1].clone() } else { alias.to_string() };
        let binding = Binding { is_public, marks: marks.clone(), bound: Bound::Path(path) };
        self.modules[module].bindings.entry(name).or_default().push(binding);
    }

    fn bind(&mut self, module: usize, name: &Ident, is_public: bool, marks: Marks, bound: Bound) {
        let binding = Binding { is_public, marks, bound };
        self.modules[module].bindings.entry(name.to_string()).or_default().push(binding);
    }

    /// Follows a path that stands in `module`.
    fn follow(&self, module: usize, path: &UsePath, trail: &mut Trail) -> Vec<Found> {
        let outside = || vec![Found { target: Target::Extern(path.names.clone()), marks: Marks::new() }];
        let Some((first, rest)) = path.names.split_first() else { return Vec::new() };
        if path.is_absolute {
            return outside();
        }
        let at = |module| vec![Found { target: Target::Module(module), marks: Marks::new() }];
        let start = match first.as_str() {
            "crate" => at(0),
            "self" => at(module),
            "super" => self.modules[module].parent.map_or_else(Vec::new, at),
            _ => {
                let found = self.lookup(module, first, trail);
                if found.is_empty() && self.externs.contains(first) {
                    return outside();
                }
                found
            }
        };
        let mut found = start;
        for name in rest {
            let mut next = Vec::new();
            for from in found {
                next.extend(self.step(from, name, trail));
            }
            found = next;
        }
        found
    }

    fn step(&self, from: Found, name: &str, trail: &mut Trail) -> Vec<Found> {
        match from.target {
            Target::Module(module) if name == "super" => {
                let parent = self.modules[module].parent;
                parent.map(|parent| Found { target: Target::Module(parent), marks: from.marks }).into_iter().collect()
            }
            Target::Module(module) => marked(self.lookup(module, name, trail), &from.marks),
            Target::Extern(mut path) => {
                path.push(name.to_owned());
                vec![Found { target: Target::Extern(path), marks: from.marks }]
            }
            Target::Item(_) => Vec::new(),
        }
    }

    fn lookup(&self, module: usize, name: &str, trail: &mut Trail) -> Vec<Found> {
        let Module { bindings, globs, .. } = &self.modules[module];
        let named = bindings.get(name);
        let mut found = Vec::new();
        for (at, binding) in named.unwrap_or(globs).iter().enumerate() {
            let here = (module, name.to_owned(), at);
            if trail.contains(&here) {
                continue;
            }
            trail.push(here);
            let targets = self.bound(module, binding, trail);
            if named.is_some() {
                found.extend(targets);
            } else {
                for Found { target, marks } in targets {
                    if let Target::Module(of_glob) = target {
                        found.extend(marked(self.lookup(of_glob, name, trail), &marks));
                    }
                }
            }
            trail.pop();
        }
        found
    }

    fn bound(&self, module: usize, binding: &Binding, trail: &mut Trail) -> Vec<Found> {
        let found = match &binding.bound {
            Bound::Target(target) => vec![Found { target: target.clone(), marks: Marks::new() }],
            Bound::Path(path) => self.follow(module, path, trail),
        };
        marked(found, &binding.marks)
    }

    /// Collects the exports of a module; `trail` holds the modules whose exports are being collected.
    fn collect(&self, module: usize, trail: &mut Vec<usize>) -> Exports {
        let mut exports = Exports::default();
        if trail.contains(&module) {
            return exports;
        }
        trail.push(module);
        let Module { bindings, globs, .. } = &self.modules[module];
        for (name, bindings) in bindings {
            for binding in bindings.iter().filter(|binding| binding.is_public) {
                let found = self.bound(module, binding, &mut Trail::new());
                if found.is_empty() {
                    exports.lost.push(name.clone());
                } else {
                    exports.names.entry(name.clone()).or_default().extend(found);
                }
            }
        }
        for glob in globs.iter().filter(|glob| glob.is_public) {
            for found in self.bound(module, glob, &mut Trail::new()) {
                match found.target {
                    Target::Module(inner) => {
                        let inner = self.collect(inner, trail);
                        for (name, names) in inner.names {
                            // What a module names itself goes before what a glob brings.
                            if !bindings.contains_key(&name) {
                                exports.names.entry(name).or_default().extend(marked(names, &found.marks));
                            }
                        }
                        exports.externs.extend(inner.externs);
                        exports.lost.extend(inner.lost);
                    }
                    Target::Extern(path) => {
                        exports.externs.insert(path);
                    }
                    Target::Item(_) => exports.lost.push("*".to_owned()),
                }
            }
        }
        trail.pop();
        exports
    }
}

/// On what an item depends by its attributes.
pub fn marks_of(attributes: &[Attribute]) -> Marks {
    let mut marks = Marks::new();
    for attribute in attributes {
        let Meta::List(list) = &attribute.meta else { continue };
        if list.path.is_ident("doc") && list.tokens.to_string() == "hidden" {
            marks.insert("hidden".to_owned());
        } else if list.path.is_ident("cfg") {
            let mark = match list.parse_args::<MetaNameValue>() {
                Ok(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(name), .. }), .. })
                    if path.is_ident("feature") =>
                {
                    name.value()
                }
                _ => text(&list.tokens),
            };
            marks.insert(mark);
        }
    }
    marks
}

fn marked(mut found: Vec<Found>, marks: &Marks) -> Vec<Found> {
    found.iter_mut().for_each(|found| found.marks.extend(marks.iter().cloned()));
    found
}

/// Whether all may see it.
pub fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// What an item is called, and who may see it; nothing for what has no name.
fn declared(item: &Item) -> Option<(&Ident, &Visibility)> {
    Some(match item {
        Item::Const(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Fn(item) => (&item.sig.ident, &item.vis),
        Item::Static(item) => (&item.ident, &item.vis),
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        Item::Union(item) => (&item.ident, &item.vis),
        _ => return None,
    })
}
