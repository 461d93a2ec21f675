//! The arrows inside a service: `adapters → app → domain`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::graph::Package;
use crate::imports::{self, Source, Target};
use crate::sources;

/// The services that must have all rooms.
const SERVICES: [&str; 5] = ["users", "products", "orders", "notifications", "gateway"];

/// What the domain may use of other crates. Of `meshwork_api` only the names of resources.
const PURE: [&str; 9] = ["std", "core", "alloc", "thiserror", "time", "serde", "uuid", "meshwork_api", "meshwork_text"];

/// The parts of the standard library that reach the world outside.
const IMPURE: [[&str; 2]; 10] = [
    ["std", "env"],
    ["std", "fs"],
    ["std", "io"],
    ["std", "os"],
    ["std", "process"],
    ["std", "thread"],
    ["net", "TcpListener"],
    ["net", "TcpStream"],
    ["net", "ToSocketAddrs"],
    ["net", "UdpSocket"],
];

/// What gives another answer at each call, as the type and its function.
const CLOCKS: [[&str; 2]; 6] = [
    ["SystemTime", "now"],
    ["Instant", "now"],
    ["OffsetDateTime", "now_utc"],
    ["OffsetDateTime", "now_local"],
    ["Uuid", "new_v4"],
    ["Uuid", "now_v7"],
];

/// What only adapters may use.
const OF_ADAPTERS: [&str; 7] = ["tonic", "sqlx", "prost", "axum", "tower", "lettre", "meshwork_sql"];

/// The rooms that services lack.
pub fn missing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for service in SERVICES {
        for room in ["src/domain/", "src/app/", "src/ports.rs", "src/adapters/"] {
            let path = root.join("services").join(service).join(room);
            if !(if room.ends_with('/') { path.is_dir() } else { path.is_file() }) {
                found.push(format!(
                    "services/{service}/{room}:1: is missing; a service has domain, app, ports, adapters"
                ));
            }
        }
    }
    found
}

/// The imports that point the wrong way, in all services that have a domain.
///
/// # Errors
/// When a source can't be read.
pub fn violations(root: &Path, packages: &[Package]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.folder.starts_with("services/")) {
        let src = root.join(&package.folder).join("src");
        if !src.join("domain").is_dir() {
            continue;
        }
        let mut files = Vec::new();
        for path in sources::rust_files(&src).map_err(|error| format!("cannot list {}: {error}", src.display()))? {
            let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            files.push((sources::shown(&src, &path), text));
        }
        let shown = |violation: String| format!("{}/src/{violation}", package.folder);
        found.extend(in_service(&files, &package.externs).into_iter().map(shown));
    }
    Ok(found)
}

/// The imports that point the wrong way among the files of one service, each given as (path below `src`, text).
fn in_service(files: &[(String, String)], externs: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut read = Vec::new();
    for (file, text) in files {
        let module = imports::module_of(file);
        match imports::read(text, &module, externs) {
            Ok(source) => read.push((file, module, source)),
            Err(error) => found.push(format!("{file}:{}: can't be parsed: {error}", error.span().start().line)),
        }
    }
    // What the root of the service passes on belongs to the room that it comes from.
    let passed_on: BTreeMap<_, _> = read
        .iter()
        .filter(|(_, module, _)| module.is_empty())
        .flat_map(|(_, _, source)| source.aliases.iter().map(|(name, target)| (name.clone(), target.clone())))
        .collect();
    let of_tests: Vec<_> = read.iter().flat_map(|(_, _, source)| source.test_modules.iter()).cloned().collect();
    for (file, module, source) in &read {
        if of_tests.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        let break_of: fn(&Target) -> Option<&'static str> = match module.first().map(String::as_str) {
            Some("domain") => broken_by_domain,
            Some("app" | "ports") => broken_by_app,
            _ => continue,
        };
        found.extend(in_file(file, source, &passed_on, break_of));
    }
    found
}

fn in_file(
    file: &str,
    source: &Source,
    passed_on: &BTreeMap<String, Target>,
    break_of: fn(&Target) -> Option<&'static str>,
) -> Vec<String> {
    // A path through the root of the crate is judged by where the root takes it from, too.
    let judge = |target: &Target| {
        let origin = match target {
            Target::Own(path) => path.first().and_then(|name| passed_on.get(name)),
            Target::Extern(_) => None,
        };
        break_of(target).or_else(|| break_of(origin?))
    };
    let mut found = Vec::new();
    for import in &source.imports {
        // What an import breaks is told once, where the import stands.
        if import.via.as_ref().is_some_and(|via| judge(via).is_some()) {
            continue;
        }
        if let Some(arrow) = judge(&import.target) {
            found.push(format!("{file}:{}: uses {}, but {arrow}", import.line, import.target.shown()));
        }
    }
    found
}

/// The rule that code of the domain breaks by using `target`.
fn broken_by_domain(target: &Target) -> Option<&'static str> {
    let path = target.path();
    let has = |pairs: &[[&str; 2]]| path.windows(2).any(|names| pairs.iter().any(|pair| names == pair));
    match target {
        Target::Own(path) if path.first().is_none_or(|name| name != "domain") => {
            Some("the domain uses nothing else of its service (adapters → app → domain)")
        }
        Target::Own(_) => None,
        Target::Extern(_) if has(&CLOCKS) => Some("the domain has no clock and no dice of its own; take it as a value"),
        Target::Extern(_) if has(&IMPURE) => Some("the domain does no I/O (adapters → app → domain)"),
        Target::Extern(path) if path[0] == "meshwork_api" => match path.get(1) {
            Some(name) if name.ends_with("Name") => None,
            _ => Some("of the contracts the domain uses only the names of resources (adapters → app → domain)"),
        },
        Target::Extern(path) if PURE.contains(&path[0].as_str()) => None,
        Target::Extern(_) => Some("the domain is pure and uses no such crate (adapters → app → domain)"),
    }
}

/// The rule that code of the use cases, or of their ports, breaks by using `target`.
fn broken_by_app(target: &Target) -> Option<&'static str> {
    match target {
        Target::Own(path) => match path.first().map(String::as_str) {
            Some("adapters") => Some("app and ports know no adapter (adapters → app → domain)"),
            None | Some("*") => Some("the whole service has the adapters in it (adapters → app → domain)"),
            Some(_) => None,
        },
        Target::Extern(path) if OF_ADAPTERS.contains(&path[0].as_str()) => {
            Some("only adapters use this crate (adapters → app → domain)")
        }
        Target::Extern(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn externs() -> BTreeSet<String> {
        let names = "tonic sqlx prost axum tower lettre meshwork_sql meshwork_api tokio time uuid serde thiserror";
        names.split(' ').map(str::to_owned).collect()
    }

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        in_service(&files, &externs())
    }

    #[test]
    fn breaks_planted_in_the_domain_are_found() {
        for (text, violation) in [
            ("use crate::app::commands;", "1: uses crate::app::commands, but the domain uses nothing else"),
            ("use crate::adapters::grpc;", "1: uses crate::adapters::grpc, but the domain uses nothing else"),
            ("use crate::ports::Clock;", "1: uses crate::ports::Clock, but the domain uses nothing else"),
            ("\nuse super::super::app;", "2: uses crate::app, but the domain uses nothing else"),
            ("use crate as root;", "1: uses crate, but the domain uses nothing else"),
            ("fn f(x: crate::app::X) {}", "1: uses crate::app::X, but the domain uses nothing else"),
            ("fn f() { assert!(crate::app::x()); }", "1: uses crate::app::x, but the domain uses nothing else"),
            ("use tokio::sync::Mutex;", "1: uses tokio::sync::Mutex, but the domain is pure"),
            ("use tonic::Status as S;\nfn f() { S::ok(); }", "1: uses tonic::Status, but the domain is pure"),
            ("fn f() { sqlx::query(); }", "1: uses sqlx::query, but the domain is pure"),
            ("use ::rand::random;", "1: uses rand::random, but the domain is pure"),
            ("use meshwork_api::meshwork::orders::v1 as pb;", "1: uses meshwork_api::meshwork::orders::v1, but of the"),
            ("use meshwork_api::google;", "1: uses meshwork_api::google, but of the contracts"),
            ("use meshwork_api as api;", "1: uses meshwork_api, but of the contracts"),
            ("use meshwork_api::*;", "1: uses meshwork_api::*, but of the contracts"),
            ("fn f() { std::time::SystemTime::now(); }", "1: uses std::time::SystemTime::now, but the domain has no"),
            ("use std::time::Instant;\nfn f() { Instant::now(); }", "2: uses std::time::Instant::now, but the domain"),
            ("use time::OffsetDateTime as T;\nfn f() { T::now_utc(); }", "2: uses time::OffsetDateTime::now_utc, but"),
            ("fn f() { uuid::Uuid::new_v4(); }", "1: uses uuid::Uuid::new_v4, but the domain has no clock"),
            ("use std::fs;", "1: uses std::fs, but the domain does no I/O"),
            (
                "use std as s;\nfn f() { s::thread::yield_now(); }",
                "2: uses std::thread::yield_now, but the domain does",
            ),
            ("use std::net::TcpStream;", "1: uses std::net::TcpStream, but the domain does no I/O"),
            ("fn f( {}", "1: can't be parsed"),
        ] {
            let found = check(&[("domain/order.rs", text)]);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(&format!("domain/order.rs:{violation}")), "{text}: {}", found[0]);
        }
    }

    #[test]
    fn breaks_planted_in_app_and_ports_are_found() {
        for (text, violation) in [
            ("use crate::adapters::grpc::Server;", "1: uses crate::adapters::grpc::Server, but app and ports know no"),
            ("fn f() { crate::adapters::x(); }", "1: uses crate::adapters::x, but app and ports know no adapter"),
            ("use crate::*;", "1: uses crate::*, but the whole service has the adapters in it"),
            ("use tonic::Status;", "1: uses tonic::Status, but only adapters use this crate"),
            ("\n\nuse sqlx::Row;", "3: uses sqlx::Row, but only adapters use this crate"),
            ("#[derive(prost::Message)]\nstruct X;", "1: uses prost::Message, but only adapters use this crate"),
            ("use axum::Router;", "1: uses axum::Router, but only adapters use this crate"),
            ("use tower::Service;", "1: uses tower::Service, but only adapters use this crate"),
            ("use lettre::Message;", "1: uses lettre::Message, but only adapters use this crate"),
            ("use meshwork_sql::Pool;", "1: uses meshwork_sql::Pool, but only adapters use this crate"),
        ] {
            for file in ["app/commands/create_order.rs", "app/mod.rs", "ports.rs", "ports/catalogue.rs"] {
                let found = check(&[(file, text)]);
                assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
                assert!(found[0].starts_with(&format!("{file}:{violation}")), "{text}: {}", found[0]);
            }
        }
    }

    #[test]
    fn an_adapter_that_the_root_passes_on_is_still_an_adapter() {
        let root = ("lib.rs", "mod adapters;\npub use adapters::grpc::Server;");
        let found = check(&[root, ("app/mod.rs", "use crate::Server;")]);
        assert_eq!(
            found,
            ["app/mod.rs:1: uses crate::Server, but app and ports know no adapter (adapters → app → domain)"]
        );
    }

    #[test]
    fn what_the_design_allows_is_let_through() {
        let domain = "
            use std::collections::BTreeMap;
            use serde::{Deserialize, Serialize};
            use meshwork_api::{OrderName, UserName};
            use time::{Duration, OffsetDateTime};
            use super::money::Money;
            #[derive(Debug, thiserror::Error)]
            pub enum E { #[error(\"no\")] No(#[from] std::num::ParseIntError) }
            pub fn f(now: OffsetDateTime) -> crate::domain::money::Money { now.max(OffsetDateTime::UNIX_EPOCH); g() }
            #[cfg(test)]
            mod tests { use tokio::time::Instant; fn f() { crate::app::x(); Instant::now(); } }
        ";
        let app = "
            use crate::domain::order::{self, Order};
            use crate::ports::OrderStore;
            use tokio::sync::Mutex;
            pub async fn create(now: std::time::SystemTime) { order::decide(std::time::SystemTime::now()); }
        ";
        let adapter = "use crate::app::create;\nuse tonic::Status;\nuse sqlx::Row;";
        let tests = "use tokio::time::Instant;\nfn f() { crate::adapters::x(); }";
        let found = check(&[
            ("domain/mod.rs", "pub mod order;\n#[cfg(test)]\nmod order_tests;\npub use order::Order;"),
            ("domain/order.rs", domain),
            ("domain/order_tests.rs", tests),
            ("app/mod.rs", app),
            ("ports.rs", "use crate::domain::order::Order;\npub trait OrderStore {}"),
            ("adapters/grpc.rs", adapter),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn rooms_that_are_missing_are_named() {
        let found = missing(Path::new("/no/such/folder"));
        assert_eq!(found.len(), SERVICES.len() * 4);
        let expected = "services/users/src/domain/:1: is missing; a service has domain, app, ports, adapters";
        assert!(found.iter().any(|violation| violation == expected), "{found:?}");
        let expected = "services/gateway/src/ports.rs:1: is missing; a service has domain, app, ports, adapters";
        assert!(found.iter().any(|violation| violation == expected), "{found:?}");
    }
}
