//! The programs that judge the chart, and the folder that it lies in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest that one program may take: on a busy machine the slowest needs a second or two.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended with success.
    pub is_ok: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The folder of the workspace. Asked at run time, because checkouts may share one build folder.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The path that a variable of the environment names.
///
/// # Panics
/// When it isn't set: `cargo xtask test` installs what it names and sets it.
pub fn named_by(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| {
        panic!("{variable} is not set; run `cargo xtask setup`, then `cargo xtask test`, which sets it")
    })
}

/// Helm.
pub fn helm() -> Command {
    let mut helm = Command::new(named_by("MESHWORK_TEST_HELM"));
    // No settings, plugins and clusters of whoever runs the test.
    for folder in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
        helm.env(folder, "/nonexistent");
    }
    helm.env("KUBECONFIG", "/dev/null").current_dir(root());
    helm
}

/// Runs a program to its end.
///
/// # Panics
/// When it can't be started, or takes too long.
pub fn run(command: &mut Command) -> Said {
    let line = shown(command);
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, command.output()).await });
    let output = ended
        .unwrap_or_else(|_| panic!("`{line}` was killed because it ran longer than {LIMIT:?}; find out where it hangs"))
        .unwrap_or_else(|error| panic!("cannot run `{line}`: {error}; run `cargo xtask setup`"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_else(|_| panic!("`{line}` wrote no UTF-8"));
    Said { is_ok: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a program that has to succeed, and returns what it wrote to standard output.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let line = shown(command);
    let said = run(command);
    assert!(said.is_ok, "`{line}` failed:\n{}{}", said.stdout, said.stderr);
    said.stdout
}

/// The command as one could type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The text of a file of the workspace.
///
/// # Panics
/// When it can't be read.
#[track_caller]
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Whether files that follow from others are to be written, in place of being compared.
pub fn is_update() -> bool {
    std::env::var_os("MESHWORK_UPDATE").is_some_and(|value| value == "1")
}

/// Holds a file that follows from others against what it should be, or writes it.
///
/// # Errors
/// When it is otherwise; the message shows the first line that differs, and how to renew the file.
pub fn hold(path: &Path, wanted: &str) -> Result<(), String> {
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there == wanted {
        return Ok(());
    }
    let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    if is_update() {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        return std::fs::write(path, wanted).map_err(|error| format!("cannot write {shown}: {error}"));
    }
    let line = first_difference(&there, wanted);
    let of = |text: &str| text.lines().nth(line).map_or("(its end)".to_owned(), str::to_owned);
    Err(format!(
        "{shown}:{}: isn't what the chart gives; if that is meant, renew it with \
         `MESHWORK_UPDATE=1 cargo xtask test` and read what has changed\n  there: {}\n  given: {}",
        line + 1,
        of(&there),
        of(wanted)
    ))
}

/// The index of the first line that differs.
fn first_difference(there: &str, wanted: &str) -> usize {
    there.lines().zip(wanted.lines()).take_while(|(there, wanted)| there == wanted).count()
}

/// Fails with all violations, one a line.
#[track_caller]
pub fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violation(s):\n{}", violations.len(), violations.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_told_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "a: 1\nb: 2\n").unwrap();
        assert_eq!(hold(&path, "a: 1\nb: 2\n"), Ok(()));
        assert_eq!(first_difference("a: 1\nb: 2\n", "a: 1\nb: 3\n"), 1);
        assert_eq!(first_difference("a: 1\n", "a: 1\nb: 3\n"), 1);
    }

    #[test]
    #[should_panic(expected = "failed:")]
    fn a_program_that_fails_is_told() {
        output(Command::new("sh").args(["-c", "exit 3"]));
    }
}
