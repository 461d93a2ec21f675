//! Every `grpcurl` and `curl` line of the README, as printed, and the lines of its sections on replicas and shards.

use std::process::Command;

use meshwork_api::meshwork::options::v1::Caller;
use meshwork_testkit::up::text;
use meshwork_testkit::{Postgres, Up};
use prost_reflect::{DescriptorPool, Value};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// What the README's lines call, and where they find the data.
const ADDRESS: &str = "localhost:8080";
const DATA: &str = "meshwork-data/";

/// The lines of the README's shell blocks that call `grpcurl` or `curl`, each with its continuation.
fn grpcurl_lines(readme: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut shell = false;
    let mut rest = readme.lines();
    while let Some(line) = rest.next() {
        if line.starts_with("```") {
            shell = line == "```sh";
        } else if shell && line.contains("curl ") {
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

/// The lines between the fences of the blocks of a language, in the section with a heading.
fn blocks(readme: &str, heading: &str, language: &str) -> Vec<String> {
    let (mut is_here, mut is_block, mut lines) = (false, false, Vec::new());
    for line in readme.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            is_block = is_here && fence == language;
        } else if line.starts_with("## ") && !is_block {
            is_here = line == format!("## {heading}");
        } else if is_block {
            lines.push(line.to_owned());
        }
    }
    assert!(!lines.is_empty(), "the README has no block of {language} in the section {heading:?}");
    lines
}

/// Runs all lines in one shell, since later ones use what earlier ones have set.
fn run_grpcurl(up: &Up, lines: &[String]) {
    let gateway = up.address("gateway").to_string();
    let data = format!("{}/", up.data().display());
    let mut script = String::from("set -eu -o pipefail\n");
    for line in lines {
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
}

#[test]
fn every_grpcurl_line_works_as_printed_and_every_method_has_one() {
    let readme = std::fs::read_to_string(README).unwrap();
    let lines = grpcurl_lines(&readme);
    let folder = tempfile::tempdir().unwrap();
    run_grpcurl(&Up::start(folder.path(), &[]), &lines);
    let missing: Vec<_> =
        methods().into_iter().filter(|method| !lines.iter().any(|line| line.contains(method))).collect();
    assert_eq!(missing, Vec::<String>::new(), "methods without a line");
}

#[test]
fn every_grpcurl_line_works_on_replicas_by_the_command_of_the_readme() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (cluster, folder) = (Postgres::with_replicas(2, false), tempfile::tempdir().unwrap());
    let database = cluster.database();
    let replicas = cluster.replica_urls(&database);
    let [up] = <[String; 1]>::try_from(blocks(&readme, "On PostgreSQL: replicas", "sh")).unwrap();
    let up = up
        .replace("postgres://USER@PRIMARY/shop", &database)
        .replace("postgres://USER@REPLICA-1/shop", &replicas[0])
        .replace("postgres://USER@REPLICA-2/shop", &replicas[1]);
    let args: Vec<_> = up.strip_prefix("meshwork up ").unwrap().split_whitespace().collect();
    assert!(!up.contains("USER@") && args.len() == 6, "{up}");
    let up = Up::try_start_with(folder.path(), &args, &[]).unwrap_or_else(|problem| panic!("{problem}"));
    run_grpcurl(&up, &grpcurl_lines(&readme));
}

#[test]
fn the_commands_of_the_readme_on_shards_work_by_its_settings() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (cluster, folder) = (Postgres::with_replicas(1, false), tempfile::tempdir().unwrap());
    let (north, south) = (cluster.database(), cluster.database());
    let settings = blocks(&readme, "Shards", "toml").join("\n");
    let settings = settings
        .replace("postgres://USER@NORTH/users", &north)
        .replace("postgres://USER@SOUTH/users", &south)
        .replace("postgres://USER@SOUTH-REPLICA/users", &cluster.replica_urls(&south)[0]);
    assert!(!settings.contains("USER@"), "{settings}");
    let config = folder.path().join("shop.toml");
    std::fs::write(&config, settings).unwrap();
    let config = config.to_str().unwrap();
    let up = Up::try_start_with(folder.path(), &["--config", config], &[]);
    let up = up.unwrap_or_else(|problem| panic!("{problem}"));
    let data = up.data();
    let lines = blocks(&readme, "Shards", "sh");
    assert!(lines.len() >= 4, "{lines:?}");
    for line in &lines {
        let words = line.strip_prefix("meshwork ").unwrap().split_whitespace();
        let words = words.map(|word| if word == "shop.toml" { config } else { word });
        let output = up.run(words.chain(["--data", data.to_str().unwrap()]));
        assert!(output.status.success(), "{line}: {}\n{}", text(&output.stderr), up.log());
        assert!(!output.stdout.is_empty(), "{line}");
    }
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
