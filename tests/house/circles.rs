//! No files of a crate that import each other in a circle.
//!
//! An arrow goes from the file that uses a name to the file that defines it, whatever re-exports lie between. `mod` lines,
//! re-exports of children, modules that are only named, and code of tests are no arrows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::graph::Package;
use crate::imports::{self, Import, Source, Target};
use crate::sources;

/// How many uses of a file by another one are shown.
const SHOWN: usize = 3;

/// The circles among the files of each package.
///
/// # Errors
/// When a source can't be read.
pub fn violations(root: &Path, packages: &[Package]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for package in packages {
        let src = root.join(&package.folder).join("src");
        let mut files = Vec::new();
        for path in sources::rust_files(&src).map_err(|error| format!("cannot list {}: {error}", src.display()))? {
            let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            files.push((sources::shown(&src, &path), text));
        }
        let shown = |violation: String| format!("{}/src/{violation}", package.folder);
        found.extend(in_crate(&files, &package.externs).into_iter().map(shown));
    }
    Ok(found)
}

/// The circles among the files of one crate, each given as (path below `src`, text).
fn in_crate(files: &[(String, String)], externs: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut read = Vec::new();
    for (path, text) in files {
        let module = imports::module_of(path);
        match imports::read(text, &module, externs) {
            Ok(source) => read.push(SourceFile { path: path.clone(), module, source }),
            Err(error) => found.push(format!("{path}:{}: can't be parsed: {error}", error.span().start().line)),
        }
    }
    let files = CrateFiles::new(read);
    let arrows = files.arrows();
    found.extend(circles(&arrows).iter().map(|circle| files.described(circle, &arrows)));
    found
}

/// One file of a crate.
struct SourceFile {
    path: String,
    module: Vec<String>,
    source: Source,
}

/// The files of a crate, and which of them holds which module.
struct CrateFiles {
    files: Vec<SourceFile>,
    by_module: BTreeMap<Vec<String>, usize>,
}

/// For each file the files that it uses, and by what: line and path.
type Arrows = Vec<BTreeMap<usize, BTreeSet<(usize, String)>>>;

impl CrateFiles {
    fn new(files: Vec<SourceFile>) -> Self {
        let by_module = files.iter().enumerate().map(|(index, file)| (file.module.clone(), index)).collect();
        Self { files, by_module }
    }

    fn arrows(&self) -> Arrows {
        let of_tests: Vec<_> = self.files.iter().flat_map(|file| &file.source.test_modules).collect();
        let arrows_of = |(from, file): (usize, &SourceFile)| {
            let mut arrows = BTreeMap::<_, BTreeSet<_>>::new();
            if of_tests.iter().any(|test| file.module.starts_with(test)) {
                return arrows;
            }
            for import in &file.source.imports {
                if let Some(to) = self.used(from, import) {
                    arrows.entry(to).or_default().insert((import.line, import.target.shown()));
                }
            }
            arrows
        };
        self.files.iter().enumerate().map(arrows_of).collect()
    }

    /// The other file that an import of the file `from` makes use of.
    fn used(&self, from: usize, import: &Import) -> Option<usize> {
        let Target::Own(path) = &import.target else { return None };
        let to = self.definition(path, &mut BTreeSet::new()).filter(|to| *to != from)?;
        let is_child = self.files[to].module.starts_with(&self.files[from].module);
        (!(import.is_reexport && is_child)).then_some(to)
    }

    /// The file that defines what a path from the root of the crate leads to; none for a module, and for what is not of
    /// this crate. `visited` holds the paths that led here.
    fn definition(&self, path: &[String], visited: &mut BTreeSet<Vec<String>>) -> Option<usize> {
        if !visited.insert(path.to_vec()) {
            return None;
        }
        let mut module = Vec::new();
        for (at, name) in path.iter().enumerate() {
            module.push(name.clone());
            if self.by_module.contains_key(&module) {
                continue;
            }
            module.pop();
            let file = *self.by_module.get(&module)?;
            let source = &self.files[file].source;
            let rest = &path[at + 1..];
            if name == "*" || source.defined.contains(name) {
                return Some(file);
            }
            if let Some(alias) = source.aliases.get(name) {
                let Target::Own(alias) = alias else { return None };
                return self.definition(&[alias.as_slice(), rest].concat(), visited);
            }
            let through = globs(source).find(|glob| self.has(glob, name, &mut BTreeSet::new()));
            return match through {
                Some(glob) => {
                    let through = [glob, std::slice::from_ref(name), rest].concat();
                    self.definition(&through, visited)
                }
                // A part of what this file defines, or what a macro makes in it.
                None => Some(file),
            };
        }
        None
    }

    /// Whether a module has a name, by its own or by an import.
    fn has(&self, module: &[String], name: &str, visited: &mut BTreeSet<Vec<String>>) -> bool {
        let Some(file) = self.by_module.get(module) else { return false };
        if !visited.insert(module.to_vec()) {
            return false;
        }
        let source = &self.files[*file].source;
        source.defined.contains(name)
            || source.aliases.contains_key(name)
            || self.by_module.contains_key(&[module, &[name.to_owned()]].concat())
            || globs(source).any(|glob| self.has(glob, name, visited))
    }

    /// A circle in words: its arrows, one a line.
    fn described(&self, circle: &[usize], arrows: &Arrows) -> String {
        let mut lines = Vec::new();
        for from in circle {
            for (to, uses) in arrows[*from].iter().filter(|(to, _)| circle.contains(to)) {
                let (from, to) = (&self.files[*from].path, &self.files[*to].path);
                let uses = uses.iter().take(SHOWN);
                lines.extend(uses.map(|(line, path)| format!("{from}:{line}: uses {path} of {to}")));
            }
        }
        let first = lines.first().cloned().unwrap_or_default();
        let rest: String = lines.iter().skip(1).map(|line| format!("\n    {line}")).collect();
        format!("{first}, in a circle of files; what they share belongs into a file below them{rest}")
    }
}

/// The modules all of whose names a file imports, as paths from the root of the crate.
fn globs(source: &Source) -> impl Iterator<Item = &[String]> {
    source.imports.iter().filter_map(|import| match &import.target {
        Target::Own(path) => path.split_last().filter(|(last, _)| *last == "*").map(|(_, module)| module),
        Target::Extern(_) => None,
    })
}

/// The sets of files each of which uses each other, directly or by way of others: the strongly connected components of
/// more than one file (Tarjan).
fn circles(arrows: &Arrows) -> Vec<Vec<usize>> {
    let mut search = Search { arrows, places: vec![None; arrows.len()], next: 0, stack: Vec::new(), found: Vec::new() };
    for file in 0..arrows.len() {
        if search.places[file].is_none() {
            search.visit(file);
        }
    }
    search.found.sort();
    search.found
}

struct Search<'a> {
    arrows: &'a Arrows,
    /// The order in which files were visited; `usize::MAX` for those that are done.
    places: Vec<Option<usize>>,
    next: usize,
    stack: Vec<usize>,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Visits a file and all that it uses; the earliest place on the stack that is reached from it.
    fn visit(&mut self, file: usize) -> usize {
        let place = self.next;
        self.next += 1;
        self.places[file] = Some(place);
        self.stack.push(file);
        let mut earliest = place;
        let arrows = self.arrows;
        for to in arrows[file].keys() {
            let reached = match self.places[*to] {
                Some(place) => place,
                None => self.visit(*to),
            };
            earliest = earliest.min(reached);
        }
        if earliest == place {
            let at = self.stack.iter().position(|on_stack| *on_stack == file).unwrap_or_default();
            let mut component = self.stack.split_off(at);
            component.iter().for_each(|done| self.places[*done] = Some(usize::MAX));
            if component.len() > 1 {
                component.sort_unstable();
                self.found.push(component);
            }
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        in_crate(&files, &["tokio".to_owned()].into())
    }

    /// The one circle of the files, without the files' root.
    #[track_caller]
    fn circle(files: &[(&str, &str)]) -> String {
        let mut found = check(files);
        assert_eq!(found.len(), 1, "{files:?}: {found:?}");
        found.remove(0)
    }

    const ROOT: (&str, &str) = ("lib.rs", "mod a;\nmod b;\nmod c;");

    #[test]
    fn two_files_that_use_each_other_are_found_with_lines_and_names() {
        let found = circle(&[
            ROOT,
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "pub struct B;\nfn f(a: crate::a::A) {}"),
            ("c.rs", "use crate::a::A;"),
        ]);
        let expected = "a.rs:1: uses crate::b::B of b.rs, in a circle of files; what they share belongs into a file below them\n    b.rs:2: uses crate::a::A of a.rs";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_circle_of_three_is_found() {
        let found = circle(&[
            ROOT,
            ("a.rs", "use super::b::B;\npub struct A;"),
            ("b.rs", "use super::c;\npub struct B;\nfn f() { c::C::new(); }"),
            ("c.rs", "pub struct C;\nfn f() { assert!(crate::a::A::is()); }"),
        ]);
        for arrow in ["a.rs:1: uses crate::b::B of b.rs", "b.rs:3: uses crate::c::C::new of c.rs", "of a.rs"] {
            assert!(found.contains(arrow), "{arrow}: {found}");
        }
    }

    #[test]
    fn re_exports_hide_no_circle() {
        for root in [
            "mod a;\nmod b;\npub use a::A;",
            "mod a;\nmod b;\npub(crate) use self::a::A as A;",
            "mod a;\nmod b;\npub use a::*;",
            "mod a;\nmod b;\nuse a::A;",
        ] {
            for uses in
                ["use crate::A;", "use super::A;", "use super::*;\nfn f() { A::new(); }", "fn f(a: crate::A) {}"]
            {
                let text = format!("{uses}\npub struct B;");
                let files = [("lib.rs", root), ("a.rs", "use crate::b::B;\npub struct A;"), ("b.rs", text.as_str())];
                let found = check(&files);
                assert!(found.iter().any(|found| found.contains("of a.rs")), "{root} {uses}: {found:?}");
            }
        }
        let found = circle(&[
            ("lib.rs", "mod wing;\npub use wing::Renamed;"),
            ("wing/mod.rs", "mod a;\nmod b;\npub use a::A as Renamed;"),
            ("wing/a.rs", "use super::b::B;\npub struct A;"),
            ("wing/b.rs", "use crate::Renamed;\npub struct B;"),
        ]);
        assert!(found.contains("wing/b.rs:1: uses crate::Renamed of wing/a.rs"), "{found}");
    }

    #[test]
    fn a_parent_that_works_with_its_child_must_not_be_used_by_it() {
        let found = circle(&[
            ("lib.rs", "mod wing;"),
            ("wing/mod.rs", "mod child;\npub struct Shared;\nfn f() { child::run(); }"),
            ("wing/child.rs", "use super::Shared;\npub fn run() {}"),
        ]);
        assert!(found.contains("wing/child.rs:1: uses crate::wing::Shared of wing/mod.rs"), "{found}");
    }

    #[test]
    fn each_circle_is_told_once() {
        let found = check(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "use crate::a::A;\nuse crate::c::C;\npub struct B;"),
            ("c.rs", "use crate::d::D;\npub struct C;"),
            ("d.rs", "use crate::c::C;\npub struct D;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn what_is_no_circle_is_let_through() {
        let found = check(&[
            (
                "lib.rs",
                "mod a;\nmod b;\nmod shared;\nmod wing;\n#[cfg(test)]\nmod tests;\npub use a::A;\npub use wing::Task;",
            ),
            ("shared.rs", "pub struct Shared;"),
            (
                "a.rs",
                "use crate::shared::Shared;\nuse crate::b;\npub struct A;\nimpl A { fn f() { Vec::<u8>::new(); } }",
            ),
            // Code of tests may go round.
            ("b.rs", "use crate::shared::Shared;\npub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
            ("tests.rs", "use super::*;\nuse crate::a::A;"),
            // A folder that only passes on what its files define.
            (
                "wing/mod.rs",
                "mod state;\nmod task;\npub use self::state::*;\npub use self::task::Task;\nuse tokio::time;",
            ),
            ("wing/state.rs", "pub enum State { Idle }\nimpl State { fn f() { State::Idle; } }"),
            (
                "wing/task.rs",
                "use super::{State, time::sleep};\nuse crate::A;\npub struct Task;\nfn f() { State::Idle; }",
            ),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_is_no_rust_is_told() {
        assert!(circle(&[("lib.rs", "fn f( {}")]).starts_with("lib.rs:1: can't be parsed"));
    }
}
