//! Installs what the tests need and is missing.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result, bail};

use crate::process::{Process, find_program, is_program};
use crate::workspace::Workspace;

/// How long another setup may hold the tools folder.
const LOCK_LIMIT: Duration = Duration::from_secs(900);

/// The longest that one tool may take to install.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// A client that knows nothing of our stubs: it calls the services as a foreign user would.
const GRPCURL: Tool = Tool {
    name: "grpcurl",
    version: "1.9.4",
    source: Source::Go { package: "github.com/fullstorydev/grpcurl/cmd/grpcurl" },
};

/// Holds an HTTP/2 server against the RFCs. Later versions are no Go modules of this path.
const H2SPEC: Tool = Tool {
    name: "h2spec",
    version: "2.2.1+incompatible",
    source: Source::Go { package: "github.com/summerwind/h2spec/cmd/h2spec" },
};

/// Checks the contracts.
const BUF: Tool = Tool { name: "buf", version: "1.75.0", source: Source::Npm { package: "@bufbuild/buf" } };

/// Speaks MongoDB's protocol, over SQLite, and where there is no `mongod` over PostgreSQL.
const FERRETDB: Tool =
    Tool { name: "ferretdb", version: "1.24.2", source: Source::Module { folder: "tests/servers/ferretdb" } };

/// Carries events between services.
const NATS: Tool = Tool {
    name: "nats-server",
    version: "2.15.2",
    source: Source::Go { package: "github.com/nats-io/nats-server/v2" },
};

/// Programs that come as packages of Debian, each with the packages that bring it.
///
/// SQLite is compiled from C; rate limits are tested on a real Redis, read models on a real PostgreSQL.
const DEBIAN: &[(&str, &[&str])] =
    &[("cc", &["gcc", "libc6-dev"]), ("redis-server", &["redis-server"]), ("initdb", &["postgresql"])];

/// Where Debian keeps the server programs of PostgreSQL, by version: they are not on the PATH.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Parts of the Rust toolchain that `cargo xtask test` calls, each as (cargo command, component).
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Where the installed tools are.
#[derive(Debug)]
pub struct Tools {
    /// `grpcurl`.
    pub grpcurl: PathBuf,
    /// `buf`.
    pub buf: PathBuf,
    /// `h2spec`.
    pub h2spec: PathBuf,
    /// FerretDB.
    pub ferretdb: PathBuf,
    /// `nats-server`.
    pub nats: PathBuf,
}

impl Tools {
    /// The MongoDB-compatible server that the tests run on, for people.
    pub fn mongodb(&self) -> String {
        let named = env::var_os("MESHWORK_TEST_MONGODB_URI").is_some_and(|uri| !uri.is_empty());
        let server = match find_program("mongod") {
            _ if named => "the server of MESHWORK_TEST_MONGODB_URI".to_owned(),
            Some(_) => "private `mongod`s from the PATH".to_owned(),
            None => "private FerretDBs over private PostgreSQLs".to_owned(),
        };
        format!("{server}; the suite of every store on FerretDB {} over SQLite too", FERRETDB.version)
    }
}

/// Installs what is missing and says where the tools are.
///
/// # Errors
/// When something is missing that can't be installed from here; the message says how to install it.
pub fn run() -> Result<Tools> {
    install_debian_packages(DEBIAN)?;
    install_components()?;
    let folder = ToolsFolder::of_user()?;
    Ok(Tools {
        grpcurl: folder.provide(&GRPCURL)?,
        buf: folder.provide(&BUF)?,
        h2spec: folder.provide(&H2SPEC)?,
        ferretdb: folder.provide(&FERRETDB)?,
        nats: folder.provide(&NATS)?,
    })
}

/// The folder `name` among the user's tools, whether it is there or not.
///
/// # Errors
/// When no variable of the environment tells where tools are.
pub fn folder(name: &str) -> Result<PathBuf> {
    Ok(ToolsFolder::of_user()?.path.join(name))
}

/// A program that the tests call, at one version.
struct Tool {
    name: &'static str,
    version: &'static str,
    source: Source,
}

/// Where a tool comes from.
enum Source {
    /// Built by `go install`; `package` is its import path.
    Go { package: &'static str },
    /// Built by `go build` from a module of this workspace, and again when one of its files has changed.
    Module { folder: &'static str },
    /// A program inside the npm package, or inside the platform's package that it brings.
    Npm { package: &'static str },
}

impl Tool {
    /// What its stamp says when it is up to date.
    fn stamp(&self) -> Result<String> {
        let Source::Module { folder } = &self.source else { return Ok(self.version.to_owned()) };
        let folder = Workspace::find()?.root.join(folder);
        let mut hasher = DefaultHasher::new();
        for file in ["main.go", "go.mod", "go.sum"] {
            let path = folder.join(file);
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            text.hash(&mut hasher);
        }
        Ok(format!("{} {:016x}", self.version, hasher.finish()))
    }

    /// Installs the tool somewhere below `staging`, an empty folder, and returns the path of its program.
    fn install(&self, staging: &Path) -> Result<PathBuf> {
        let Self { name, version, source } = self;
        match source {
            Source::Go { package } => {
                if find_program("go").is_none() {
                    bail!(
                        "{name} {version} is built with Go, and there is no `go` on the PATH; install Go \
                         (https://go.dev/doc/install) and run `cargo xtask setup` again"
                    );
                }
                Process::new("go")
                    // Without cgo it needs no C compiler and no C library.
                    .env("CGO_ENABLED", "0")
                    .env("GOBIN", staging)
                    .args(["install", "-ldflags", "-s -w"])
                    .arg(format!("{package}@v{version}"))
                    .folder(staging)
                    .limit(INSTALL_LIMIT)
                    .progress()
                    .run()?;
                Ok(staging.join(name))
            }
            Source::Module { folder } => {
                if find_program("go").is_none() {
                    bail!(
                        "{name} {version} is built with Go, and there is no `go` on the PATH; install Go \
                         (https://go.dev/doc/install), or put `mongod` on the PATH, and run `cargo xtask setup` again"
                    );
                }
                let program = staging.join(name);
                Process::new("go")
                    .env("CGO_ENABLED", "0")
                    .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
                    .arg(&program)
                    .arg(".")
                    .folder(Workspace::find()?.root.join(folder))
                    .limit(INSTALL_LIMIT)
                    .progress()
                    .run()?;
                Ok(program)
            }
            Source::Npm { package } => {
                if find_program("npm").is_none() {
                    bail!(
                        "{name} {version} comes from npm, and there is no `npm` on the PATH; install Node \
                         (https://nodejs.org/en/download) and run `cargo xtask setup` again"
                    );
                }
                Process::new("npm")
                    .arg("install")
                    .arg("--prefix")
                    .arg(staging)
                    .args(["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
                    .arg(format!("{package}@{version}"))
                    .folder(staging)
                    .limit(INSTALL_LIMIT)
                    .progress()
                    .run()?;
                program_in_npm_package(&staging.join("node_modules"), package, name)
            }
        }
    }
}

/// The program that npm brought for this platform: `@scope/name-PLATFORM/bin/PROGRAM` beside `@scope/name`.
fn program_in_npm_package(modules: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let beside = modules.join(package);
    let scope = beside.parent().unwrap_or(modules);
    fs::read_dir(scope)
        .with_context(|| format!("npm installed nothing in {}", scope.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| *path != beside)
        .map(|path| path.join("bin").join(program))
        .find(|path| is_program(path))
        .with_context(|| {
            format!("npm brought no `{program}` for this platform with {package}; install {program} by hand")
        })
}

/// The folder that holds the tools of one user: `bin/` the programs, `versions/` the version of each.
struct ToolsFolder {
    path: PathBuf,
}

impl ToolsFolder {
    fn of_user() -> Result<Self> {
        let path = tools_folder(|key| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from)).context(
            "there is no folder for tools because neither MESHWORK_TEST_TOOLS, XDG_CACHE_HOME nor HOME is set; set one",
        )?;
        let path = std::path::absolute(&path).with_context(|| format!("cannot use {} for tools", path.display()))?;
        Ok(Self { path })
    }

    /// The path of a tool's program, after installing it when it is missing or of another version.
    fn provide(&self, tool: &Tool) -> Result<PathBuf> {
        let program = self.program(tool);
        let wanted = tool.stamp()?;
        if self.holds(tool, &wanted) {
            return Ok(program);
        }
        self.make("bin")?;
        self.make("versions")?;
        let _lock = self.lock(LOCK_LIMIT)?;
        // Another setup may have installed it while this one waited.
        if self.holds(tool, &wanted) {
            return Ok(program);
        }
        eprintln!("{} {} is missing and will be installed", tool.name, tool.version);
        let start = Instant::now();
        // What a killed setup has left behind.
        self.remove("staging")?;
        let staging = self.make("staging")?;
        let built = tool.install(&staging)?;
        // Renamed, so that a program that runs meanwhile keeps its file; stamped last, so that only a whole one counts.
        fs::rename(&built, &program)
            .with_context(|| format!("cannot move {} to {}", built.display(), program.display()))?;
        let stamp = self.stamp(tool);
        fs::write(&stamp, &wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
        self.remove("staging")?;
        eprintln!("{} {} was installed in {:.1} s", tool.name, tool.version, start.elapsed().as_secs_f64());
        Ok(program)
    }

    /// Whether the tool is there, with the stamp that is wanted.
    fn holds(&self, tool: &Tool, wanted: &str) -> bool {
        is_program(&self.program(tool)) && fs::read_to_string(self.stamp(tool)).is_ok_and(|stamp| stamp == wanted)
    }

    fn program(&self, tool: &Tool) -> PathBuf {
        self.path.join("bin").join(tool.name)
    }

    fn stamp(&self, tool: &Tool) -> PathBuf {
        self.path.join("versions").join(tool.name)
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join(name);
        fs::create_dir_all(&folder).with_context(|| {
            format!("cannot make {}; set MESHWORK_TEST_TOOLS to a folder of yours", folder.display())
        })?;
        Ok(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let folder = self.path.join(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}; remove it by hand", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Keeps other setups out of the folder for as long as the returned file is open.
    fn lock(&self, limit: Duration) -> Result<File> {
        let path = self.path.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
                Err(TryLockError::WouldBlock) if start.elapsed() >= limit => bail!(
                    "another setup has held {} for {} s; end it and try again",
                    path.display(),
                    limit.as_secs_f64()
                ),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// The tools folder, from the environment that `variable` reads.
fn tools_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("MESHWORK_TEST_TOOLS").or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(cache.join("meshwork").join("tools"))
    })
}

/// Adds what is missing of the Rust toolchain.
fn install_components() -> Result<()> {
    let missing: Vec<_> = COMPONENTS
        .iter()
        .filter(|(command, _)| Process::new("cargo").args([*command, "--version"]).output().is_err())
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        bail!(
            "the Rust toolchain lacks {}, and there is no `rustup` to add it; install it the way Rust was installed",
            missing.join(" and ")
        );
    }
    Process::new("rustup").args(["component", "add"]).args(missing).limit(INSTALL_LIMIT).progress().run()
}

/// Whether a program is on the PATH, or among the servers of PostgreSQL.
fn is_installed(program: &str) -> bool {
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    find_program(program).is_some()
        || versions.map(|entry| entry.path()).any(|path| path.join("bin").join(program).exists())
}

/// Installs the packages of the programs that are missing.
fn install_debian_packages(wanted: &[(&str, &[&str])]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|(program, _)| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs = missing.iter().map(|(program, _)| format!("`{program}`")).collect::<Vec<_>>().join(", ");
    let packages: Vec<_> = missing.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    if find_program("apt-get").is_none() {
        bail!("{programs} is missing; install it (on Debian: {})", packages.join(" "));
    }
    let is_root = Process::new("id").arg("-u").output()?.trim() == "0";
    if !is_root && find_program("sudo").is_none() {
        bail!("{programs} is missing; run `apt-get install {}` as root", packages.join(" "));
    }
    apt_get(is_root, &["update"]).run()?;
    apt_get(is_root, &["install", "--yes", "--no-install-recommends"]).args(packages).run()
}

/// A call of `apt-get` that asks no questions.
fn apt_get(is_root: bool, args: &[&str]) -> Process {
    let process = if is_root {
        Process::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive")
    } else {
        // sudo drops the environment.
        Process::new("sudo").args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    };
    process.args(args.iter().copied()).limit(INSTALL_LIMIT).progress()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_from(set: &[(&str, &str)]) -> Option<String> {
        let find = |key: &str| set.iter().find(|(name, _)| *name == key).map(|(_, value)| PathBuf::from(value));
        tools_folder(find).map(|path| path.display().to_string())
    }

    /// A tools folder of one test, removed at its end.
    struct Scratch(ToolsFolder);

    impl Scratch {
        fn new(test: &str) -> Self {
            let path = env::temp_dir().join(format!("meshwork-setup-{}-{test}", std::process::id()));
            Self(ToolsFolder { path })
        }

        fn plant(&self, tool: &Tool, version: &str) {
            self.0.make("bin").unwrap();
            self.0.make("versions").unwrap();
            // A link to a program is a program.
            #[cfg(unix)]
            std::os::unix::fs::symlink("/bin/sh", self.0.program(tool)).unwrap();
            fs::write(self.0.stamp(tool), version).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.path);
        }
    }

    #[test]
    fn the_tools_folder_is_the_named_one_else_below_the_cache() {
        let all = [("MESHWORK_TEST_TOOLS", "/t"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(folder_from(&all).as_deref(), Some("/t"));
        assert_eq!(folder_from(&all[1..]).as_deref(), Some("/x/meshwork/tools"));
        assert_eq!(folder_from(&all[2..]).as_deref(), Some("/h/.cache/meshwork/tools"));
        assert_eq!(folder_from(&[]), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_counts_only_at_its_version() {
        let scratch = Scratch::new("version");
        assert!(!scratch.0.holds(&BUF, BUF.version), "nothing is there");
        scratch.plant(&BUF, "0.0.1");
        assert!(!scratch.0.holds(&BUF, BUF.version), "another version is there");
        fs::write(scratch.0.stamp(&BUF), BUF.version).unwrap();
        assert!(scratch.0.holds(&BUF, BUF.version));
        fs::remove_file(scratch.0.program(&BUF)).unwrap();
        assert!(!scratch.0.holds(&BUF, BUF.version), "the program is gone");
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_that_is_there_is_not_installed_again() {
        let scratch = Scratch::new("there");
        let tool = Tool { name: "x", version: "1", source: Source::Go { package: "example.invalid/x" } };
        scratch.plant(&tool, "1");
        assert_eq!(scratch.0.provide(&tool).unwrap(), scratch.0.program(&tool));
    }

    #[test]
    fn two_setups_exclude_each_other() {
        let scratch = Scratch::new("lock");
        fs::create_dir_all(&scratch.0.path).unwrap();
        let held = scratch.0.lock(Duration::ZERO).unwrap();
        let error = scratch.0.lock(Duration::from_millis(120)).unwrap_err().to_string();
        assert!(error.starts_with("another setup has held"), "{error}");
        drop(held);
        scratch.0.lock(Duration::ZERO).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_program_of_an_npm_package_is_the_one_of_the_platform() {
        let scratch = Scratch::new("npm");
        for package in ["@scope/tool", "@scope/tool-linux"] {
            let bin = scratch.0.make(&format!("{package}/bin")).unwrap();
            std::os::unix::fs::symlink("/bin/sh", bin.join("tool")).unwrap();
        }
        let found = program_in_npm_package(&scratch.0.path, "@scope/tool", "tool").unwrap();
        assert!(found.ends_with("@scope/tool-linux/bin/tool"), "{}", found.display());
        let error = program_in_npm_package(&scratch.0.path, "@scope/tool", "other").unwrap_err().to_string();
        assert!(error.contains("npm brought no `other`"), "{error}");
    }

    #[test]
    fn apt_get_asks_no_questions_and_needs_root() {
        assert_eq!(apt_get(true, &["update"]).line(), "DEBIAN_FRONTEND=noninteractive apt-get update");
        assert_eq!(apt_get(false, &["update"]).line(), "sudo env DEBIAN_FRONTEND=noninteractive apt-get update");
    }

    #[test]
    fn no_packages_are_installed_when_nothing_is_missing() {
        install_debian_packages(&[]).unwrap();
        install_debian_packages(&[("sh", &["no-such-package"])]).unwrap();
    }
}
