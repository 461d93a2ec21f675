//! Runs other programs: printed in one line, bounded in time, and named when they fail.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context as _, Result, bail};

/// The longest pause between two looks at whether a program has ended.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How long the rest of a program's output may take after its end.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// A program to run. It gets no standard input.
#[derive(Debug)]
pub struct Process {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    limit: Duration,
    is_progress: bool,
}

impl Process {
    /// A program, by path or by a name to be found on the `PATH`; it may run for ten minutes.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            limit: Duration::from_secs(600),
            is_progress: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the program's environment.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The folder to run it in.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// How long it may run; after that it is killed with all that it started.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends what it writes to standard output to standard error instead, because it is no result of ours.
    pub fn progress(mut self) -> Self {
        self.is_progress = true;
        self
    }

    /// Prints the command to standard error, runs it, and waits for its end. Its output is shown as it comes.
    ///
    /// # Errors
    /// When it can't be started, ends with a failure, or takes too long.
    pub fn run(&self) -> Result<()> {
        eprintln!("$ {}", self.line());
        let mut command = self.command();
        if self.is_progress {
            command.stdout(std::io::stderr());
        }
        let mut child = self.start(command.stdin(Stdio::null()))?;
        self.judge(self.wait(&mut child)?, "what it printed above says why")
    }

    /// Runs the command without showing it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it can't be started, ends with a failure, takes too long, or doesn't write UTF-8. What it wrote to
    /// standard error is in the message.
    pub fn output(&self) -> Result<String> {
        let mut command = self.command();
        let mut child = self.start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let stdout = child.stdout.take().map(read);
        let stderr = child.stderr.take().map(read);
        let status = self.wait(&mut child)?;
        let text = |stream: Option<mpsc::Receiver<Vec<u8>>>| {
            stream.and_then(|bytes| bytes.recv_timeout(LAST_OUTPUT).ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        self.judge(status, String::from_utf8_lossy(&stderr).trim())?;
        String::from_utf8(stdout).with_context(|| format!("`{}` didn't write UTF-8", self.line()))
    }

    /// The command as one could type it.
    pub fn line(&self) -> String {
        let env = self.env.iter().map(|(key, value)| format!("{}={}", key.to_string_lossy(), quoted(value)));
        let words = std::iter::once(&self.program).chain(&self.args).map(|word| quoted(word).into_owned());
        env.chain(words).collect::<Vec<_>>().join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        // `cargo xtask` sets these for itself. Build scripts that watch them would run again, and all that depends on
        // them would be rebuilt, whenever cargo is called by hand in between.
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&key);
            }
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    fn start(&self, command: &mut Command) -> Result<Child> {
        command.spawn().with_context(|| {
            format!("cannot start `{}`; check that `{}` is installed", self.line(), self.program.to_string_lossy())
        })
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for `{}`", self.line()))? {
                return Ok(status);
            }
            if start.elapsed() >= self.limit {
                kill(child);
                bail!(
                    "`{}` was killed because it ran longer than {} s; find out where it hangs",
                    self.line(),
                    self.limit.as_secs_f64()
                );
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn judge(&self, status: ExitStatus, why: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        bail!("`{}` failed ({status}): {why}", self.line());
    }
}

/// Where a program is, when it is on the `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// Whether `path` is a file that can be run.
#[cfg(unix)]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether `path` is a file that can be run.
#[cfg(not(unix))]
pub fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// The word as a shell would want it.
fn quoted(word: &OsStr) -> Cow<'_, str> {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")).into() }
}

/// Reads a stream to its end in the background, so that a full pipe never stops the program.
fn read(mut stream: impl std::io::Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Kills a program and, where the system tells them, the programs that it started.
fn kill(child: &mut Child) {
    let mut started = Vec::new();
    descendants(child.id(), &mut started);
    // A program that has just ended by itself is as good as killed.
    let _ = child.kill();
    let _ = child.wait();
    if !started.is_empty() {
        // The shell's own `kill`, because there may be no program of that name.
        let script = format!("kill -KILL {} 2>/dev/null", started.join(" "));
        let _ = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status();
    }
}

/// Adds the process ids of all that `pid` started, directly or not. Only Linux tells them.
fn descendants(pid: u32, found: &mut Vec<String>) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            found.push(child.to_owned());
            if let Ok(child) = child.parse() {
                descendants(child, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::new("sh").args(["-c", script]).limit(Duration::from_secs(20))
    }

    #[test]
    fn output_is_what_the_program_wrote() {
        assert_eq!(shell("echo one; echo two >&2").output().unwrap(), "one\n");
    }

    #[test]
    fn output_larger_than_a_pipe_arrives_whole() {
        assert_eq!(shell("head -c 1000000 /dev/zero").output().unwrap().len(), 1_000_000);
    }

    #[test]
    fn a_failure_names_the_command_and_the_reason() {
        let error = shell("echo broken >&2; exit 3").output().unwrap_err().to_string();
        assert_eq!(error, "`sh -c 'echo broken >&2; exit 3'` failed (exit status: 3): broken");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = Process::new("no-such-program").run().unwrap_err().to_string();
        assert_eq!(error, "cannot start `no-such-program`; check that `no-such-program` is installed");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        let start = Instant::now();
        // The outer shell waits for an inner one, which waits for `sleep`.
        let process = shell("sh -c 'sleep 30; true'; true").limit(Duration::from_millis(300));
        let error = process.output().unwrap_err().to_string();
        assert!(error.contains("was killed because it ran longer than 0.3 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn descendants_are_found_through_their_parents() {
        let mut child =
            shell("sh -c 'sleep 30; true'; true").command().stdin(Stdio::null()).spawn().expect("sh can be started");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = Vec::new();
        while found.len() < 2 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
            found.clear();
            descendants(child.id(), &mut found);
        }
        kill(&mut child);
        assert_eq!(found.len(), 2, "the inner shell and its sleep");
        // An orphan that was killed may stay a zombie until its new parent looks; only a live one has a command line.
        let alive = |pid: &String| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        while found.iter().any(alive) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!found.iter().any(alive), "still alive: {found:?}");
    }

    #[test]
    fn the_line_can_be_pasted_into_a_shell() {
        let process = Process::new("go").env("GOBIN", "/a b").args(["install", "-ldflags", "-s -w", "it's"]);
        assert_eq!(process.line(), r"GOBIN='/a b' go install -ldflags '-s -w' 'it'\''s'");
    }

    #[test]
    fn the_environment_is_passed_on() {
        assert_eq!(shell("printf %s \"$MESHWORK_X\"").env("MESHWORK_X", "y").output().unwrap(), "y");
    }

    #[test]
    fn variables_of_the_cargo_that_runs_us_are_not_passed_on() {
        assert!(env::var_os("CARGO_PKG_NAME").is_some(), "cargo sets it for tests");
        assert_eq!(shell("printf %s \"${CARGO_PKG_NAME-none}\"").output().unwrap(), "none");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program"), None);
    }
}
