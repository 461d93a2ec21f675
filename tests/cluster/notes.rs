//! What the chart prints after an install, done as it is printed.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cluster::{eventually, text};
use crate::shop::{NAMESPACE, RELEASE, Shop};

/// Where the commands begin that remove everything.
const REMOVAL: &str = "Removal:";
/// Where the notes bring the gateway to.
const FORWARDED: &str = "127.0.0.1:8080";

/// The notes of the installed release.
pub fn of(shop: &Shop) -> String {
    shop.cluster.helm(&["get", "notes", RELEASE, "--namespace", NAMESPACE])
}

/// The commands in a text: lines that are set in by two blanks, with those that continue them.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_continued = commands.last().is_some_and(|last| last.ends_with('\\'));
        match (is_continued, commands.last_mut(), line.strip_prefix("  ")) {
            (true, Some(last), _) => *last += &format!("\n{line}"),
            (_, _, Some(command)) if !command.starts_with(' ') => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

/// Those that are to be tried after an install.
fn to_try(notes: &str) -> Vec<String> {
    commands(notes.split(REMOVAL).next().unwrap())
}

/// Those that remove the release and what it leaves.
pub fn to_remove(notes: &str) -> Vec<String> {
    commands(notes.split_once(REMOVAL).expect("the notes say how to remove it").1)
}

/// Runs all commands but those that remove things; the one that forwards a port runs as long as the others do.
pub async fn run_all(shop: &Shop) {
    let notes = of(shop);
    println!("{notes}");
    let all = to_try(&notes);
    assert!(all.len() >= 4, "{all:?}");
    let mut forward = None;
    for command in &all {
        println!("$ {command}");
        if command.contains(" port-forward ") {
            let mut shell = shop.cluster.shell(command);
            shell.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
            forward = Some(shell.spawn().unwrap());
            eventually("the forwarded port", async || TcpStream::connect(FORWARDED).is_ok()).await;
        } else {
            let printed = text(&shop.cluster.shell(command).output().unwrap(), command);
            assert!(!printed.trim().is_empty(), "`{command}` prints nothing");
        }
    }
    let mut forward = forward.expect("the notes bring the gateway to a port of this machine");
    killpg(Pid::from_raw(forward.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    forward.wait().unwrap();
}

#[test]
fn commands_are_set_in_and_may_go_on_in_the_next_line() {
    let notes = "Text.\n\n1. Do:\n\n  one --flag\n   more text\n\n  two \\\n    | three\n\nRemoval: all.\n\n  four\n";
    assert_eq!(to_try(notes), ["one --flag", "two \\\n    | three"]);
    assert_eq!(to_remove(notes), ["four"]);
}
