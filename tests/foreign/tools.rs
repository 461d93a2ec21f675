//! The tools of other languages, and how they are run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meshwork_testkit::up::text;

/// The workspace.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The longest that a tool may take, in seconds: Go's compiler is the slowest of them, the first time.
const LIMIT: &str = "400";

/// What `cargo xtask test` says in a variable.
pub fn variable(name: &str) -> PathBuf {
    let value = std::env::var_os(name).map(PathBuf::from);
    value.unwrap_or_else(|| panic!("{name} is not set; run `cargo xtask test`, which installs what it stands for"))
}

/// A file of these tests.
pub fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/foreign").join(name)
}

/// A program, ended when it takes too long. No proxy of this machine is asked for the way to loopback.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", LIMIT]).arg(name);
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Python with the packages of these tests.
pub fn python() -> Command {
    let mut python = program("python3");
    python.env("PYTHONPATH", variable("MESHWORK_TEST_PYTHON_PACKAGES")).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// Generates stubs into `folder` by the template of buf among the files of a language. `programs` is the folder of the programs
/// that generate.
pub fn generate(language: &str, folder: &Path, programs: &Path, args: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path))).unwrap();
    let mut buf = program(variable("MESHWORK_TEST_BUF"));
    buf.arg("generate").args(args).arg("--template").arg(file(language).join("buf.gen.yaml"));
    buf.arg("--output").arg(folder).arg(ROOT).env("PATH", path);
    run(&mut buf);
}

/// What a command prints.
///
/// # Panics
/// When it fails; the message shows all that it said.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    assert!(status.success(), "{command:?} failed: {status}\n--- it printed\n{stdout}\n--- and said\n{stderr}");
    stdout.to_owned()
}
