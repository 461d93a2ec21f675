//! A real server that speaks MongoDB's protocol: the one that `MESHWORK_TEST_MONGODB_URI` names, else a private `mongod`
//! from the PATH, else a private FerretDB over a private PostgreSQL.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::Postgres;
use crate::process::{PATIENCE, free_port, freeze, gets_ready, kill_all, signal};

/// The PostgreSQL database that keeps FerretDB's documents.
const DOCUMENTS: &str = "ferretdb";

/// A MongoDB-compatible server that tests may use. A private one is killed when it is dropped.
pub struct Mongo {
    uri: String,
    server: Server,
}

enum Server {
    Given,
    Mongod { child: Child, folder: TempDir, port: u16 },
    Ferret { child: Child, documents: Documents, port: u16 },
}

/// Where FerretDB keeps its documents.
enum Documents {
    Postgres(Postgres),
    Sqlite(TempDir),
}

impl Documents {
    /// How FerretDB is told.
    fn argument(&self) -> [String; 2] {
        match self {
            Self::Postgres(postgres) => ["-postgresql".to_owned(), format!("{}/{DOCUMENTS}", postgres.url())],
            Self::Sqlite(folder) => ["-sqlite".to_owned(), folder.path().display().to_string()],
        }
    }
}

impl Mongo {
    /// The server of `MESHWORK_TEST_MONGODB_URI`, or else a private one.
    ///
    /// # Panics
    /// As [`Mongo::private`].
    pub fn start() -> Self {
        match std::env::var("MESHWORK_TEST_MONGODB_URI") {
            Ok(uri) if !uri.is_empty() => Self { uri, server: Server::Given },
            _ => Self::private(),
        }
    }

    /// A server of the test's own, on a free port of the loopback interface: `mongod` as a replica set of one if there is
    /// one on the PATH, else FerretDB.
    ///
    /// # Panics
    /// When there is neither, or it doesn't start.
    pub fn private() -> Self {
        if on_path("mongod") { Self::mongod() } else { Self::ferret(Postgres::private()) }
    }

    /// As [`Mongo::private`], but one that waits for the disk as one in production does: for measuring.
    ///
    /// # Panics
    /// As [`Mongo::private`].
    pub fn durable() -> Self {
        if on_path("mongod") { Self::mongod() } else { Self::ferret(Postgres::durable()) }
    }

    /// FerretDB over SQLite, whatever other server is at hand.
    ///
    /// # Panics
    /// When there is none, or it doesn't start.
    pub fn on_sqlite() -> Self {
        Self::start_ferret(Documents::Sqlite(tempfile::Builder::new().prefix("meshwork-ferretdb-").tempdir().unwrap()))
    }

    fn mongod() -> Self {
        let folder = tempfile::Builder::new().prefix("meshwork-mongod-").tempdir().unwrap();
        for _ in 0..5 {
            let port = free_port();
            let mut child = spawn_mongod(&folder, port);
            if gets_ready(&mut child, "mongod", || accepts(port)) {
                initiate(port);
                return Self { uri: uri(port), server: Server::Mongod { child, folder, port } };
            }
        }
        panic!("mongod ended at its start, five times");
    }

    fn ferret(postgres: Postgres) -> Self {
        postgres.sql("postgres", &format!("CREATE DATABASE {DOCUMENTS}"));
        Self::start_ferret(Documents::Postgres(postgres))
    }

    fn start_ferret(documents: Documents) -> Self {
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = spawn_ferret(&documents, port) {
                return Self { uri: uri(port), server: Server::Ferret { child, documents, port } };
            }
        }
        panic!("FerretDB ended at its start, five times");
    }

    /// Its connection string.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self.server {
            Server::Given => "the server of MESHWORK_TEST_MONGODB_URI",
            Server::Mongod { .. } => "mongod",
            Server::Ferret { documents: Documents::Postgres(_), .. } => "FerretDB",
            Server::Ferret { documents: Documents::Sqlite(_), .. } => "FerretDB over SQLite",
        }
    }

    /// The name of a database that no other test has.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the reads of an event store in `database` as quick as MongoDB's own: FerretDB asks its PostgreSQL by containment,
    /// which its own indexes don't serve. To be called when the store's collections are there; does nothing elsewhere.
    ///
    /// # Panics
    /// When an index can't be made.
    pub fn index(&self, database: &str) {
        let Server::Ferret { documents: Documents::Postgres(postgres), .. } = &self.server else { return };
        let tables =
            postgres.sql(DOCUMENTS, &format!("SELECT tablename FROM pg_tables WHERE schemaname = '{database}'"));
        for table in tables.lines() {
            let fields: &[&str] = match table {
                table if table.starts_with("commits") => &["_id", "s", "n", "v"],
                table if table.starts_with("snapshots") => &["s"],
                _ => &[],
            };
            for field in fields {
                postgres.sql(
                    DOCUMENTS,
                    &format!("CREATE INDEX ON {database}.{table} USING gin ((_jsonb->'{field}') jsonb_path_ops)"),
                );
            }
        }
    }

    /// Kills the server (SIGKILL): FerretDB, and the PostgreSQL below it.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::Given => panic!("only a private server is killed"),
            Server::Mongod { child, .. } => kill_all(child),
            Server::Ferret { child, documents, .. } => {
                kill_all(child);
                if let Documents::Postgres(postgres) = documents {
                    postgres.kill();
                }
            }
        }
    }

    /// Starts it again after [`Mongo::kill`], on the same port and data.
    ///
    /// # Panics
    /// When it isn't private, or doesn't start.
    pub fn restart(&mut self) {
        match &mut self.server {
            Server::Given => panic!("only a private server is started"),
            Server::Mongod { child, folder, port } => {
                *child = spawn_mongod(folder, *port);
                assert!(gets_ready(child, "mongod", || accepts(*port)), "mongod did not start again");
            }
            Server::Ferret { child, documents, port } => {
                if let Documents::Postgres(postgres) = documents {
                    postgres.restart();
                }
                *child = spawn_ferret(documents, *port).expect("FerretDB did not start again");
            }
        }
    }

    /// Stops the server, as a host that hangs would. Its connections stay.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn freeze(&self) {
        freeze(self.child().id());
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// When it isn't private.
    pub fn thaw(&self) {
        signal(self.child(), Signal::SIGCONT);
    }

    fn child(&self) -> &Child {
        match &self.server {
            Server::Given => panic!("only a private server is played with"),
            Server::Mongod { child, .. } | Server::Ferret { child, .. } => child,
        }
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        match &mut self.server {
            Server::Given => {}
            Server::Mongod { child, .. } | Server::Ferret { child, .. } => kill_all(child),
        }
    }
}

fn on_path(name: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
}

/// Without the driver's own resend, which such servers don't know to be one.
fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true&retryWrites=false")
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn spawn_mongod(folder: &TempDir, port: u16) -> Child {
    Command::new("mongod")
        .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--quiet", "--dbpath"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Makes a `mongod` the primary of a replica set of one.
fn initiate(port: u16) {
    let initiated = async {
        let client = mongodb::Client::with_uri_str(uri(port)).await?;
        let admin = client.database("admin");
        let members = mongodb::bson::doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
        let set = mongodb::bson::doc! { "replSetInitiate": { "_id": "rs0", "members": [members] } };
        admin.run_command(set).await?;
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            let hello = admin.run_command(mongodb::bson::doc! { "hello": 1 }).await?;
            if hello.get_bool("isWritablePrimary").unwrap_or(false) {
                return Ok(true);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok::<_, mongodb::error::Error>(false)
    };
    // The caller may be inside a runtime already, which doesn't take another.
    let primary = std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime().block_on(initiated)).join().unwrap()
    });
    assert!(primary.unwrap(), "mongod did not become a primary");
}

/// FerretDB; `None` when it ends at its start.
fn spawn_ferret(documents: &Documents, port: u16) -> Option<Child> {
    let program = std::env::var_os("MESHWORK_TEST_FERRETDB").map(PathBuf::from).expect(
        "this test needs a MongoDB-compatible server: run `cargo xtask test`, which builds FerretDB and says where it is \
         (MESHWORK_TEST_FERRETDB), put `mongod` on the PATH, or set MESHWORK_TEST_MONGODB_URI",
    );
    let mut child = Command::new(program)
        .args(["-listen", &format!("127.0.0.1:{port}")])
        .args(documents.argument())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its first line says that it is the one who listens. It ends without one when another process has taken the port.
    let (said, first_line) = mpsc::channel();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || said.send(stdout.read_line(&mut String::new()).unwrap_or_default()));
    match first_line.recv_timeout(PATIENCE) {
        Ok(0) => {
            kill_all(&mut child);
            None
        }
        Ok(_) => gets_ready(&mut child, "FerretDB", || accepts(port)).then_some(child),
        Err(_) => {
            kill_all(&mut child);
            panic!("FerretDB said nothing within {PATIENCE:?}");
        }
    }
}
