//! What the listing says of an item, in the manner of `cargo public-api`.

use syn::punctuated::Punctuated;
use syn::{
    Attribute, Fields, FnArg, ImplItem, Item, ItemImpl, ItemTrait, Meta, Pat, Signature, Token, TraitItem, Variant,
};

use super::tokens::text;
use super::tree::{Marks, is_public, marks_of};
use crate::imports::is_test_only;

/// A line, in the order of the listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The public path of what it is about.
    path: Vec<String>,
    /// After the item itself, what is implemented for it.
    is_implementation: bool,
    text: String,
}

impl Line {
    /// A line about the item of `path`.
    pub fn item(path: &[String], text: &str, marks: &Marks) -> Self {
        Self { path: path.to_vec(), is_implementation: false, text: with_marks(text, marks) }
    }

    /// A line about what is implemented for the item of `path`.
    pub fn implementation(path: &[String], text: &str, marks: &Marks) -> Self {
        Self { path: path.to_vec(), is_implementation: true, text: with_marks(text, marks) }
    }

    fn member(of: &[String], name: &str, text: &str, marks: &Marks) -> Self {
        Self::item(&[of, &[name.to_owned()]].concat(), text, marks)
    }

    /// The line as it is listed.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn with_marks(text: &str, marks: &Marks) -> String {
    let marks = marks.iter().map(|mark| format!(" [{mark}]"));
    std::iter::once(text.to_owned()).chain(marks).collect()
}

/// The lines of a public item and of what it has that is public.
pub fn of_item(item: &Item, path: &[String], marks: &Marks) -> Vec<Line> {
    let shown = path.join("::");
    let head = |text: String| Line::item(path, &text, marks);
    match item {
        Item::Const(item) => vec![head(format!("pub const {shown}: {}", text(&item.ty)))],
        Item::Static(item) => vec![head(format!("pub static {shown}: {}", text(&item.ty)))],
        Item::Fn(item) => vec![head(function(&shown, &item.sig))],
        Item::Macro(_) => vec![head(format!("pub macro {shown}!"))],
        Item::Type(item) => {
            vec![head(format!("pub type {shown}{} = {}", text(&item.generics), text(&item.ty)))]
        }
        Item::Struct(item) => {
            let end = if matches!(item.fields, Fields::Unit) { ";" } else { "" };
            let (before, generics, bounds) =
                (promises(&item.attrs), text(&item.generics), spaced(&text(&item.generics.where_clause)));
            let mut lines = vec![head(format!("{before}pub struct {shown}{generics}{bounds}{end}"))];
            lines.extend(fields(&item.fields, path, marks));
            lines
        }
        Item::Enum(item) => {
            let (before, generics, bounds) =
                (promises(&item.attrs), text(&item.generics), spaced(&text(&item.generics.where_clause)));
            let mut lines = vec![head(format!("{before}pub enum {shown}{generics}{bounds}"))];
            lines.extend(item.variants.iter().map(|variant| {
                let all = marks | &marks_of(&variant.attrs);
                let shown = format!("pub {shown}::{}", text(&without_attributes(variant)));
                Line::member(path, &variant.ident.to_string(), &shown, &all)
            }));
            lines
        }
        Item::Trait(item) => of_trait(item, path, marks),
        // No other kind is declared public anywhere; should one come, its line asks to be read.
        _ => vec![head(format!("pub (a kind of item that the listing doesn't know) {shown}"))],
    }
}

fn fields(fields: &Fields, path: &[String], marks: &Marks) -> Vec<Line> {
    let public = fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis));
    let line = |(at, field): (usize, &syn::Field)| {
        let name = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
        let shown = format!("pub {}::{name}: {}", path.join("::"), text(&field.ty));
        Line::member(path, &name, &shown, &(marks | &marks_of(&field.attrs)))
    };
    public.map(line).collect()
}

fn without_attributes(variant: &Variant) -> Variant {
    let mut variant = variant.clone();
    variant.attrs.clear();
    variant.fields.iter_mut().for_each(|field| field.attrs.clear());
    variant
}

fn of_trait(item: &ItemTrait, path: &[String], marks: &Marks) -> Vec<Line> {
    let shown = path.join("::");
    let above = with(": ", &text(&item.supertraits));
    let (before, generics, bounds) =
        (after(&text(&item.unsafety)), text(&item.generics), spaced(&text(&item.generics.where_clause)));
    let mut lines = vec![Line::item(path, &format!("pub {before}trait {shown}{generics}{above}{bounds}"), marks)];
    for item in &item.items {
        let (attributes, name, shown, is_provided) = match item {
            TraitItem::Fn(item) => {
                let name = item.sig.ident.to_string();
                let shown = function(&format!("{shown}::{name}"), &item.sig);
                (&item.attrs, name, shown, item.default.is_some())
            }
            TraitItem::Const(item) => {
                let shown = format!("pub const {shown}::{}: {}", item.ident, text(&item.ty));
                (&item.attrs, item.ident.to_string(), shown, item.default.is_some())
            }
            TraitItem::Type(item) => {
                let (generics, bounds) = (text(&item.generics), with(": ", &text(&item.bounds)));
                let shown = format!("pub type {shown}::{}{generics}{bounds}", item.ident);
                (&item.attrs, item.ident.to_string(), shown, item.default.is_some())
            }
            _ => continue,
        };
        if !is_test_only(attributes) {
            let shown = if is_provided { format!("{shown} (provided)") } else { shown };
            lines.push(Line::member(path, &name, &shown, &(marks | &marks_of(attributes))));
        }
    }
    lines
}

/// The lines of what a block without a trait implements for the item of `path`.
pub fn of_inherent(item: &ItemImpl, path: &[String], marks: &Marks) -> Vec<Line> {
    let shown = path.join("::");
    let arguments = arguments(&item.self_ty);
    let bounds = spaced(&text(&item.generics.where_clause));
    let is_bounded = !bounds.is_empty() || item.generics.type_params().any(|param| !param.bounds.is_empty());
    let is_of_some = item.generics.params.is_empty() && !arguments.is_empty();
    // Not all that the type stands for have what such a block implements.
    let condition = if is_bounded || is_of_some {
        format!(" (impl{} {shown}{arguments}{bounds})", text(&item.generics))
    } else {
        String::new()
    };
    let mut lines = Vec::new();
    for item in &item.items {
        let (attributes, name, shown) = match item {
            ImplItem::Fn(item) if is_public(&item.vis) => {
                let name = item.sig.ident.to_string();
                let shown = function(&format!("{shown}::{name}"), &item.sig);
                (&item.attrs, name, shown)
            }
            ImplItem::Const(item) if is_public(&item.vis) => {
                let shown = format!("pub const {shown}::{}: {}", item.ident, text(&item.ty));
                (&item.attrs, item.ident.to_string(), shown)
            }
            _ => continue,
        };
        if !is_test_only(attributes) {
            let all = marks | &marks_of(attributes);
            lines.push(Line::member(path, &name, &format!("{shown}{condition}"), &all));
        }
    }
    lines
}

/// The lines of an implemented trait: of the type that is called `own`, or else as it is written.
pub fn of_trait_impl(item: &ItemImpl, own: Option<&str>, about: &[String], marks: &Marks) -> Vec<Line> {
    let Some((negation, path, _)) = &item.trait_ else { return Vec::new() };
    let name = path.segments.last().map(text).unwrap_or_default();
    let name = format!("{}{name}", text(negation));
    let subject = own.map_or_else(|| text(&item.self_ty), |own| format!("{own}{}", arguments(&item.self_ty)));
    let bounds = spaced(&text(&item.generics.where_clause));
    let head = format!("impl{} {name} for {subject}{bounds}", text(&item.generics));
    let mut lines = vec![Line::implementation(about, &head, marks)];
    for item in &item.items {
        if let ImplItem::Type(item) = item {
            let shown =
                format!("type <{subject} as {name}>::{}{} = {}", item.ident, text(&item.generics), text(&item.ty));
            lines.push(Line::implementation(about, &shown, marks));
        }
    }
    lines
}

/// The arguments of a type's last name.
fn arguments(of: &syn::Type) -> String {
    match of {
        syn::Type::Path(path) => path.path.segments.last().map(|last| text(&last.arguments)).unwrap_or_default(),
        _ => String::new(),
    }
}

fn function(path: &str, signature: &Signature) -> String {
    let before: String =
        [text(&signature.constness), text(&signature.asyncness), text(&signature.unsafety), text(&signature.abi)]
            .iter()
            .map(|word| after(word))
            .collect();
    let inputs: Vec<_> = signature.inputs.iter().map(input).collect();
    format!(
        "pub {before}fn {path}{}({}){}{}",
        text(&signature.generics),
        inputs.join(", "),
        spaced(&text(&signature.output)),
        spaced(&text(&signature.generics.where_clause))
    )
}

/// An argument as callers see it.
fn input(argument: &FnArg) -> String {
    match argument {
        FnArg::Receiver(receiver) => {
            let mut receiver = receiver.clone();
            receiver.attrs.clear();
            if receiver.reference.is_none() {
                receiver.mutability = None;
            }
            text(&receiver)
        }
        FnArg::Typed(argument) => {
            let name = match &*argument.pat {
                Pat::Ident(name) => name.ident.to_string(),
                _ => "_".to_owned(),
            };
            format!("{name}: {}", text(&argument.ty))
        }
    }
}

/// The attributes by which users may rely on something: what is derived, and whether it may grow.
fn promises(attributes: &[Attribute]) -> String {
    let mut derived = Vec::new();
    for attribute in attributes {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("derive")
            && let Ok(paths) = list.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)
        {
            derived.extend(paths.iter().filter_map(|path| Some(path.segments.last()?.ident.to_string())));
        }
    }
    derived.sort();
    let derived = if derived.is_empty() { String::new() } else { format!("#[derive({})] ", derived.join(", ")) };
    let may_grow = attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"));
    format!("{derived}{}", if may_grow { "#[non_exhaustive] " } else { "" })
}

/// The text with a space before it, unless it is empty.
fn spaced(text: &str) -> String {
    with(" ", text)
}

/// The text with a space after it, unless it is empty.
fn after(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text} ") }
}

fn with(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}
