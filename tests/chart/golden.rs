//! Every mode of the chart as text, to be read by whoever changes it.

use std::path::PathBuf;

use crate::chart::{files, modes};
use crate::programs::{assert_none, hold, is_update, root};

fn folder() -> PathBuf {
    root().join("tests/chart/golden")
}

#[test]
fn every_mode_renders_what_was_reviewed() {
    let held = modes().iter().map(|mode| hold(&folder().join(format!("{}.yaml", mode.name)), &mode.text));
    assert_none(&held.filter_map(Result::err).collect::<Vec<_>>());
}

#[test]
fn no_rendering_is_of_a_mode_that_is_gone() {
    if is_update() && !folder().is_dir() {
        return;
    }
    let mut violations = Vec::new();
    for path in files(&folder()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if !modes().iter().any(|mode| mode.name == name) {
            violations.push(format!("tests/chart/golden/{name}.yaml is of no mode of helm/meshwork/ci; remove it"));
        }
    }
    assert_none(&violations);
}
