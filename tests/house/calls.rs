//! Services call each other over the mesh, by the one policy of `services/chassis/src/client.rs`.

use std::fs;
use std::path::Path;

use crate::graph::Package;
use crate::imports::{self, Import, Target};
use crate::sources;

/// The channels of tonic's own that services make or name.
///
/// # Errors
/// When a source can't be read.
pub fn violations(root: &Path, packages: &[Package]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.folder.starts_with("services/")) {
        let src = root.join(&package.folder).join("src");
        for path in sources::rust_files(&src).map_err(|error| format!("cannot list {}: {error}", src.display()))? {
            let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let module = imports::module_of(&sources::shown(&src, &path));
            // What isn't Rust is told by the rule about rooms.
            let Ok(source) = imports::read(&text, &module, &package.externs) else { continue };
            found.extend(in_file(&sources::shown(root, &path), &source.imports));
        }
    }
    Ok(found)
}

fn in_file(file: &str, imports: &[Import]) -> Vec<String> {
    let is_tonics = |target: &Target| {
        let path: Vec<_> = target.path().iter().map(String::as_str).collect();
        matches!(target, Target::Extern(_))
            && matches!(path[..], ["tonic", "transport", "Channel" | "Endpoint" | "channel" | "*", ..])
    };
    // What an import breaks is told once, where the import stands.
    let told_before = |import: &Import| import.via.as_ref().is_some_and(is_tonics);
    let broken = imports.iter().filter(|import| is_tonics(&import.target) && !told_before(import));
    let told = broken.map(|import| {
        let shown = import.target.shown();
        format!("{file}:{}: uses {shown}, but services call each other over meshwork::Channel", import.line)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let source = imports::read(text, &[], &["tonic".to_owned(), "meshwork".to_owned()].into()).unwrap();
        in_file("a.rs", &source.imports)
    }

    #[test]
    fn a_channel_of_tonics_own_is_found() {
        for text in [
            "use tonic::transport::Channel;",
            "use tonic::transport::{Server, Endpoint};",
            "fn f(c: tonic::transport::Channel) {}",
            "use tonic::transport;\nfn f() { transport::Endpoint::from_static(\"x\"); }",
        ] {
            assert_eq!(check(text).len(), 1, "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn the_mesh_and_servers_are_let_through() {
        for text in ["use meshwork::Channel;", "use tonic::transport::{Server, server::TcpIncoming};"] {
            assert_eq!(check(text), Vec::<String>::new(), "{text}");
        }
    }
}
