//! Every `grpcurl` line of the README, as printed.

use std::process::Command;

use meshwork_api::meshwork::options::v1::Caller;
use meshwork_testkit::Up;
use meshwork_testkit::up::text;
use prost_reflect::{DescriptorPool, Value};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// What the README's lines call, and where they find the data.
const ADDRESS: &str = "localhost:8080";
const DATA: &str = "meshwork-data/";

/// The lines of the README's shell blocks that call `grpcurl`, each with its continuation.
fn grpcurl_lines(readme: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut shell = false;
    let mut rest = readme.lines();
    while let Some(line) = rest.next() {
        if line.starts_with("```") {
            shell = line == "```sh";
        } else if shell && line.contains("grpcurl ") {
            let mut whole = line.to_owned();
            while whole.ends_with('\\') {
                whole.push('\n');
                whole.push_str(rest.next().unwrap());
            }
            lines.push(whole);
        }
    }
    lines
}

#[test]
fn every_grpcurl_line_works_as_printed_and_every_method_has_one() {
    let readme = std::fs::read_to_string(README).unwrap();
    let lines = grpcurl_lines(&readme);
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let gateway = up.address("gateway").to_string();

    // One shell runs all lines, since later ones use what earlier ones have set.
    let data = format!("{}/", up.data().display());
    let mut script = String::from("set -eu -o pipefail\n");
    for line in &lines {
        assert!(line.contains(ADDRESS), "{line}");
        let line = line.replace(ADDRESS, &gateway).replace(DATA, &data);
        // The shell says which line it is at, so that a failure names it.
        script.push_str(&format!("echo \"== $LINENO\" >&2\n{line}\n"));
    }
    let grpcurl = std::env::var_os("MESHWORK_TEST_GRPCURL").map(std::path::PathBuf::from);
    let grpcurl = grpcurl.expect("MESHWORK_TEST_GRPCURL is not set; run `cargo xtask test`, which installs grpcurl");
    let path = std::env::join_paths(
        grpcurl
            .parent()
            .map(ToOwned::to_owned)
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("timeout");
    let output = shell.args(["120", "bash", "-c", &script]).env("PATH", path.unwrap()).output().unwrap();
    assert!(
        output.status.success(),
        "a line of the README failed:\n{}\n--- it printed\n{}\n--- and said\n{}",
        script,
        text(&output.stdout),
        text(&output.stderr)
    );

    let missing: Vec<_> =
        methods().into_iter().filter(|method| !lines.iter().any(|line| line.contains(method))).collect();
    assert_eq!(missing, Vec::<String>::new(), "methods without a line");
}

/// All methods of the contracts, as `grpcurl` names them, but those that only services may call.
fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    let set = DescriptorPool::decode(meshwork_api::FILE_DESCRIPTOR_SET).unwrap();
    let access = set.get_extension_by_name("meshwork.options.v1.access").unwrap();
    let services_alone = Value::List(vec![Value::EnumNumber(Caller::Service.into())]);
    for service in set.services() {
        for method in service.methods() {
            let options = method.options();
            let access = options.get_extension(&access);
            let callers = access.as_message().unwrap().get_field_by_name("callers").unwrap();
            if *callers != services_alone {
                methods.push(format!("{}/{}", service.full_name(), method.name()));
            }
        }
    }
    assert!(methods.len() >= 25, "{methods:?}");
    methods
}
