//! A real PostgreSQL: the one that `MESHWORK_TEST_POSTGRES_URL` names, or a private one in a folder of the test's.

mod cluster;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::certificate::certify;
use crate::process::{free_port, freeze, gets_ready, kill_all, signal};

pub use cluster::Cluster;

/// Who owns the private servers.
const USER: &str = "meshwork";
/// The file, in a server's folder, with the certificate of who has issued its own.
const CA: &str = "ca.crt";

/// A PostgreSQL that tests may use. A private one is killed when it is dropped.
pub struct Postgres {
    /// The server's URL, without a database.
    url: String,
    private: Option<Private>,
}

struct Private {
    child: Child,
    folder: TempDir,
    port: u16,
    mode: Mode,
}

/// How a private server runs.
#[derive(Clone, Copy, Default)]
struct Mode {
    fsync: bool,
    tls: bool,
    /// Whether it is one of several that replicate.
    replication: bool,
}

impl Postgres {
    /// The PostgreSQL of `MESHWORK_TEST_POSTGRES_URL` (`postgres://user@host:port`), or else a private one.
    ///
    /// # Panics
    /// As [`Postgres::private`].
    pub fn start() -> Self {
        match std::env::var("MESHWORK_TEST_POSTGRES_URL") {
            Ok(url) if !url.is_empty() => Self { url: url.trim_end_matches('/').to_owned(), private: None },
            _ => Self::private(),
        }
    }

    /// A server of the test's own, on a free port of the loopback interface.
    ///
    /// It doesn't wait for the disk: the kernel keeps what a killed process has written.
    ///
    /// # Panics
    /// When there is no PostgreSQL, or it doesn't start.
    pub fn private() -> Self {
        Self::run(Mode::default())
    }

    /// A private server that waits for the disk as one in production does: for measuring.
    ///
    /// # Panics
    /// As [`Postgres::private`].
    pub fn durable() -> Self {
        Self::run(Mode { fsync: true, ..Mode::default() })
    }

    /// A private server that speaks TLS too, with a certificate for 127.0.0.1 of [`Postgres::ca_certificate`].
    ///
    /// # Panics
    /// As [`Postgres::private`].
    pub fn with_tls() -> Self {
        Self::run(Mode { tls: true, ..Mode::default() })
    }

    fn run(mode: Mode) -> Self {
        Self::run_prepared(mode, |_| {})
    }

    /// A private server on a folder of data that was prepared.
    fn run_prepared(mode: Mode, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("meshwork-postgres-").tempdir().unwrap();
        copy(&template(), &folder.path().join("data"));
        prepare(&folder.path().join("data"));
        if mode.tls {
            certify_server(folder.path());
        }
        own(folder.path());
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn(folder.path(), port, mode);
            if gets_ready(&mut child, "PostgreSQL", || is_ready(port)) {
                let url = format!("postgres://{USER}@127.0.0.1:{port}");
                return Self { url, private: Some(Private { child, folder, port, mode }) };
            }
        }
        panic!("PostgreSQL ended at its start, five times: {}", log(folder.path()));
    }

    /// The server's URL, without a database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        format!("{}/{name}", self.url)
    }

    /// Runs SQL in a database of the server and returns what `psql` prints of the rows.
    ///
    /// # Panics
    /// When the SQL fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(program("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set",
                "ON_ERROR_STOP=1",
                "--command",
                sql,
            ])
            .arg(format!("{}/{database}", self.url))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The file with the certificate of who has issued the server's, for `sslrootcert`.
    ///
    /// # Panics
    /// When it wasn't made by [`Postgres::with_tls`].
    pub fn ca_certificate(&self) -> PathBuf {
        let own = self.own();
        assert!(own.mode.tls, "this PostgreSQL speaks no TLS");
        own.folder.path().join(CA)
    }

    fn own(&self) -> &Private {
        self.private.as_ref().expect("only a private PostgreSQL is played with")
    }

    /// Kills all its processes (SIGKILL), as a host that is lost would; its data stays.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn kill(&mut self) {
        kill_all(&mut self.private.as_mut().expect("only a private PostgreSQL is killed").child);
    }

    /// Starts it again after [`Postgres::kill`], on the same port and data.
    ///
    /// # Panics
    /// When it isn't private, or doesn't start.
    pub fn restart(&mut self) {
        let Private { child, folder, port, mode } =
            self.private.as_mut().expect("only a private PostgreSQL is started");
        for _ in 0..20 {
            *child = spawn(folder.path(), *port, *mode);
            if gets_ready(child, "PostgreSQL", || is_ready(*port)) {
                return;
            }
            // The memory of the killed one may still be in use, for a moment.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("PostgreSQL did not start again: {}", log(folder.path()));
    }

    /// Stops its processes, as a host that hangs would. Its connections stay.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn freeze(&self) {
        freeze(self.own().child.id());
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn thaw(&self) {
        signal(&self.own().child, Signal::SIGCONT);
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        kill_all(&mut self.child);
    }
}

/// A program of the newest PostgreSQL on this machine.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| number(path));
    let on_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).find(|folder| folder.join("initdb").exists())
    };
    let folder = newest.map(|path| path.join("bin")).or_else(on_path).expect(
        "this test needs PostgreSQL, and there is none in /usr/lib/postgresql nor on the PATH: run `cargo xtask setup`, or \
         set MESHWORK_TEST_POSTGRES_URL to a server where tests may make databases",
    );
    folder.join(name)
}

/// PostgreSQL refuses to run as root: then its programs run as the user that its package has made.
fn as_user(name: &str) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program(name)).current_dir("/");
    command
}

/// Gives a folder to the user of [`as_user`].
fn own(folder: &Path) {
    if nix::unistd::geteuid().is_root() {
        let done = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).status().unwrap();
        assert!(done.success(), "cannot give {} to the user postgres", folder.display());
    }
}

/// Gives the server of a folder a certificate.
fn certify_server(folder: &Path) {
    let issued = certify();
    fs::write(folder.join(CA), issued.issuer).unwrap();
    fs::write(folder.join("data/tls.crt"), issued.certificate).unwrap();
    let file = folder.join("data/tls.key");
    fs::write(&file, issued.key).unwrap();
    // Or the server refuses it.
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// An initialised data folder, made once for this machine: `initdb` takes seconds. All private servers are copies of it, with one
/// system identifier, as servers are elsewhere that were cloned.
fn template() -> PathBuf {
    let version = Command::new(program("initdb")).arg("--version").output().unwrap().stdout;
    let version: String =
        String::from_utf8(version).unwrap().chars().filter(|it| it.is_ascii_digit() || *it == '.').collect();
    let root = nix::unistd::geteuid();
    let folder = std::env::temp_dir().join(format!("meshwork-initdb-{version}-{root}"));
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let staging = tempfile::Builder::new().prefix("meshwork-initdb-").tempdir().unwrap();
        own(staging.path());
        let data = staging.path().join("data");
        let made = as_user("initdb")
            .args(["-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("-D")
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        fs::rename(&data, &folder).unwrap();
    }
    folder
}

fn spawn(folder: &Path, port: u16, mode: Mode) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    let mut command = as_user("postgres");
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    let sockets = format!("unix_socket_directories={}", folder.display());
    let fsync = format!("fsync={}", if mode.fsync { "on" } else { "off" });
    for setting in ["listen_addresses=127.0.0.1", &sockets, &fsync, "max_connections=200", "shared_buffers=64MB"] {
        command.args(["-c", setting]);
    }
    if mode.tls {
        // Both lie in the folder of the data.
        command.args(["-c", "ssl=on", "-c", "ssl_cert_file=tls.crt", "-c", "ssl_key_file=tls.key"]);
    }
    if mode.replication {
        // A replica that has lost its primary soon asks again, and the primary keeps what it has missed meanwhile.
        command.args(["-c", "wal_retrieve_retry_interval=100ms", "-c", "wal_keep_size=512MB"]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn is_ready(port: u16) -> bool {
    let asked = Command::new(program("pg_isready"))
        .args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
