//! Policies in files, on paused time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::policy::PolicyFile;

/// Long, and not the moment of a look: one would be under way when it is over.
const WHILE: Duration = Duration::from_secs(62);

fn json(secs: u64) -> String {
    format!(r#"{{"methodConfig": [{{"name": [{{}}], "timeout": "{secs}s"}}]}}"#)
}

fn secs(file: &PolicyFile) -> Option<u64> {
    file.policy().method("/a.A/M").timeout.map(|timeout| timeout.as_secs())
}

/// At once, as whoever looks at the file at this moment must see all of it.
fn write(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("written");
    fs::rename(&new, path).expect("renamed");
}

fn written(path: &Path) -> PolicyFile {
    write(path, json(1));
    PolicyFile::open(path).expect("a policy")
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_at_the_next_look_every_5_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    assert_eq!(secs(&file), Some(1));
    let start = Instant::now();
    write(&path, json(2));
    let policy = file.changed().await.expect("valid");
    assert_eq!(policy.method("/a.A/M").timeout, Some(Duration::from_secs(2)));
    assert_eq!((secs(&file), start.elapsed().as_secs()), (Some(2), 5));
    let mut file = file.every(Duration::from_secs(1));
    let start = Instant::now();
    write(&path, json(3));
    file.changed().await.expect("valid");
    assert_eq!((secs(&file), start.elapsed().as_secs()), (Some(3), 1));
}

#[tokio::test(start_paused = true)]
async fn a21_bad_content_is_refused_once_and_the_last_good_policy_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    write(&path, r#"{"methodConfig": [{"timeout": "soon"}]}"#);
    let error = file.changed().await.expect_err("refused");
    assert_eq!(error.path(), "methodConfig[0].timeout");
    assert_eq!(secs(&file), Some(1));
    timeout(WHILE, file.changed()).await.expect_err("told once");
    write(&path, json(2));
    file.changed().await.expect("valid");
    assert_eq!(secs(&file), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_goes_away_is_told_once_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    fs::remove_file(&path).expect("removed");
    let error = file.changed().await.expect_err("gone").to_string();
    assert!(error.contains("policy.json can't be read"), "{error}");
    timeout(WHILE, file.changed()).await.expect_err("told once");
    write(&path, json(1));
    timeout(WHILE, file.changed()).await.expect_err("the policy is the same");
    write(&path, json(4));
    file.changed().await.expect("valid");
    assert_eq!(secs(&file), Some(4));
}

#[tokio::test(start_paused = true)]
async fn the_same_policy_in_other_words_is_no_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    write(&path, json(1) + "\n");
    timeout(WHILE, file.changed()).await.expect_err("no change");
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn links_that_are_swapped_are_followed() {
    use std::os::unix::fs::symlink;

    // As Kubernetes mounts a ConfigMap: policy.json → ..data/policy.json, ..data → a folder that is swapped.
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (version, secs) in [("v1", 1), ("v2", 2)] {
        fs::create_dir(at(version)).expect("made");
        fs::write(at(version).join("policy.json"), json(secs)).expect("written");
    }
    symlink("v1", at("..data")).expect("linked");
    symlink("..data/policy.json", at("policy.json")).expect("linked");
    let mut file = PolicyFile::open(at("policy.json")).expect("a policy");
    assert_eq!(secs(&file), Some(1));
    symlink("v2", at("..data_tmp")).expect("linked");
    fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
    file.changed().await.expect("valid");
    assert_eq!(secs(&file), Some(2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_the_wait_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    write(&path, json(2));
    for _ in 0..4 {
        timeout(Duration::from_secs(1), file.changed()).await.expect_err("not yet");
    }
    let start = Instant::now();
    file.changed().await.expect("valid");
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_the_only_one_however_often_the_wait_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let mut file = written(&path);
    fs::remove_file(&path).expect("removed");
    // To open a pipe takes until somebody writes, and each reader would want an end of its own.
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..10 {
        assert!(tokio_test::task::spawn(file.changed()).poll().is_pending());
    }
    let writer = std::thread::spawn(move || fs::write(&path, json(2)));
    file.changed().await.expect("valid");
    writer.join().expect("no panic").expect("written");
    assert_eq!(secs(&file), Some(2));
}

#[test]
fn a_file_that_is_no_policy_is_not_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    let error = PolicyFile::open(&path).expect_err("missing").to_string();
    assert!(error.contains("policy.json can't be read"), "{error}");
    write(&path, "[]");
    assert_eq!(PolicyFile::open(&path).expect_err("a list").to_string(), "the policy must be a JSON object");
    write(&path, " ".repeat((1 << 20) + 1));
    let error = PolicyFile::open(&path).expect_err("large").to_string();
    assert!(error.contains("larger than 1 MiB"), "{error}");
}
