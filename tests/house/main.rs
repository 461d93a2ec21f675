//! The rules of the house, held over the workspace as it stands:
//!
//! * `tests → services → crates`, and who may use what among them: [`graph`], from `cargo metadata`;
//! * `adapters → app → domain` inside a service: [`rooms`], from the sources, which [`imports`] reads;
//! * services call each other over the mesh: [`calls`];
//! * no files of a crate that import each other in a circle: [`circles`];
//! * no file that nobody wants to read: [`lines`];
//! * what a crate shows to its users changes only when somebody means it: [`surface`].
//!
//! Each rule is tested against planted breaks beside it, so that a green run means that it looked.

mod calls;
mod circles;
mod graph;
mod imports;
mod lines;
mod rooms;
mod sources;
mod surface;

use std::path::PathBuf;

/// The folder of the workspace. Asked at run time, because checkouts may share one build folder.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Fails with all violations, one a line.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} broken rule(s):\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn dependencies_point_one_way() {
    let packages = graph::packages(&root()).unwrap();
    assert!(packages.iter().any(|package| package.folder == "services/orders"), "the workspace was read");
    assert_none(&graph::violations(&packages));
}

#[test]
fn every_service_has_its_rooms() {
    assert_none(&rooms::missing(&root()));
}

#[test]
fn arrows_inside_services_point_inwards() {
    let packages = graph::packages(&root()).unwrap();
    assert_none(&rooms::violations(&root(), &packages).unwrap());
}

#[test]
fn services_call_each_other_over_the_mesh() {
    let packages = graph::packages(&root()).unwrap();
    assert_none(&calls::violations(&root(), &packages).unwrap());
}

#[test]
fn crates_show_what_was_reviewed() {
    let packages = graph::packages(&root()).unwrap();
    assert_none(&surface::violations(&root(), &packages).unwrap());
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let packages = graph::packages(&root()).unwrap();
    assert_none(&circles::violations(&root(), &packages).unwrap());
}

#[test]
fn no_file_is_too_long() {
    let root = root();
    let mut files = Vec::new();
    for folder in ["crates", "services", "tests", "proto"] {
        files.extend(sources::rust_files(&root.join(folder)).unwrap());
    }
    files.push(root.join("build.rs"));
    let lengths: Vec<_> = files
        .iter()
        .map(|file| (sources::shown(&root, file), std::fs::read_to_string(file).unwrap().lines().count()))
        .collect();
    assert!(lengths.iter().any(|(file, _)| file == "tests/house/main.rs"), "the sources were found");
    assert_none(&lines::violations(&lengths, lines::EXCEPTIONS));
}
