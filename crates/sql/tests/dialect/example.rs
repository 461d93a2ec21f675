//! Runs the example as a user would, on both drivers.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::worlds::Server;

/// What the example prints. `cargo test` builds the examples with the tests, beside them; before `cargo test --test dialect`
/// it takes `cargo build --examples`.
async fn run(argument: &str) -> String {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", "guestbook"]);
    let mut command = Command::new(&path);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn the_guestbook_says_the_same_on_both_drivers() {
    let (folder, world) = (tempfile::tempdir().unwrap(), Server::new());
    let file = folder.path().join("guests.db");
    let (embedded, server) = tokio::join!(run(file.to_str().unwrap()), run(&world.options.url));
    for text in [&embedded, &server] {
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            ["Anna signs: entry 1", "Anna signs: entry 1", "Bert signs: entry 2", "1: Anna", "2: Bert"],
            "{text}"
        );
    }
}
