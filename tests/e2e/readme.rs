//! Every `grpcurl` and `curl` line of the README, as printed, and the lines of its sections on routes, replicas and shards.

use std::process::Command;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::options::v1::Caller;
use meshwork_testkit::up::text;
use meshwork_testkit::{Postgres, Up};
use prost::Message as _;
use prost_reflect::{DescriptorPool, Value};
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};

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
        } else if line.starts_with("##") && !is_block {
            is_here = line.trim_start_matches('#').trim_start() == heading;
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

/// The contracts of another project, which the README's routes name.
fn weather() -> Vec<u8> {
    let message = Some(".google.protobuf.Timestamp".to_owned());
    let method = MethodDescriptorProto {
        name: Some("Report".to_owned()),
        input_type: message.clone(),
        output_type: message,
        ..Default::default()
    };
    let service =
        ServiceDescriptorProto { name: Some("WeatherService".to_owned()), method: vec![method], ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("weather.proto".to_owned()),
        package: Some("weather.v1".to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

/// Waits until a line of the log has all of `parts`.
fn wait_for_log(up: &Up, parts: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !up.log().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(Instant::now() < deadline, "no line of the log has {parts:?}:\n{}", up.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_routes_of_the_readme_lead_who_asks_for_the_canary_to_it() {
    let readme = std::fs::read_to_string(README).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    std::fs::write(&file, "").unwrap();
    let settings = [
        ("MESHWORK_GATEWAY__ROUTES", file.to_str().unwrap()),
        ("MESHWORK_GATEWAY__ACCESS_LOG__ENABLED", "true"),
        ("MESHWORK_LOG__FORMAT", "json"),
    ];
    let up = Up::start(folder.path(), &settings);
    let routes = blocks(&readme, "Routes", "toml").join("\n");
    let canary = up.address("products").to_string();
    assert!(routes.contains("127.0.0.1:9082"), "{routes}");
    std::fs::write(folder.path().join("weather.binpb"), weather()).unwrap();
    std::fs::write(&file, routes.replace("127.0.0.1:9082", &canary)).unwrap();
    wait_for_log(&up, &["calls go by new routes", "\"upstreams\":2", "\"routes\":2"]);
    run_grpcurl(&up, &blocks(&readme, "Routes", "sh"));
    wait_for_log(&up, &["meshwork_gateway::access", "ProductService/ListProducts", "\"upstream\":\"products-next\""]);
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
