//! Runs the example as a user would.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::worlds::World;

/// `cargo test` builds the examples with the tests, beside them; before `cargo test --test replicas` it takes
/// `cargo build --examples`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_sees_its_own_visits() {
    let world = World::new(1, false);
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", "replicas"]);
    let mut command = Command::new(&path);
    command
        .arg(&world.url)
        .args(&world.options.replicas)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["visits: 1", "visits: 2", "visits: 3"], "{text}");
    let name = format!("replica 127.0.0.1:{}: ", world.replica_port(0));
    assert!(lines.last().unwrap().starts_with(&name), "{text}");
}
