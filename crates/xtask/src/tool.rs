//! Provides tools: programs of one version that are built once, into a folder that all checkouts share.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result, bail};

use crate::process::{Process, find_program, is_program};
use crate::workspace::Workspace;

/// The longest that one tool may take to install: the largest is Kubernetes, which two slow cores build for long.
pub const INSTALL_LIMIT: Duration = Duration::from_secs(1800);

/// How long another setup may hold the tools folder: for one tool, which the one that waits then has too.
const LOCK_LIMIT: Duration = INSTALL_LIMIT;

/// A program that the tests call, at one version.
pub struct Tool {
    /// The program's name.
    pub name: &'static str,
    /// Its version, without a `v`.
    pub version: &'static str,
    /// Variables of Go packages that the linker sets, each with its value: versions, mostly.
    pub variables: &'static [(&'static str, &'static str)],
    /// Where it comes from.
    pub source: Source,
}

/// Where a tool comes from.
pub enum Source {
    /// Built by `go install`.
    Go {
        /// Its import path.
        package: &'static str,
    },
    /// Built by `go build` from a module of this workspace, and again when one of its files has changed.
    Module {
        /// The module's folder.
        folder: &'static str,
    },
    /// A program inside the npm package, or inside the platform's package that it brings.
    Npm {
        /// The package's name.
        package: &'static str,
    },
}

impl Tool {
    /// What its stamp says when it is up to date.
    fn stamp(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        if let Source::Module { folder } = &self.source {
            let folder = Workspace::find()?.root.join(folder);
            for file in ["main.go", "go.mod", "go.sum"] {
                let path = folder.join(file);
                let text = match fs::read(&path) {
                    // A module that needs no other has no sums.
                    Err(error) if file == "go.sum" && error.kind() == std::io::ErrorKind::NotFound => continue,
                    read => read.with_context(|| format!("cannot read {}", path.display()))?,
                };
                text.hash(&mut hasher);
            }
        } else if self.variables.is_empty() {
            return Ok(self.version.to_owned());
        }
        if !self.variables.is_empty() {
            self.variables.hash(&mut hasher);
        }
        Ok(format!("{} {:016x}", self.version, hasher.finish()))
    }

    /// The flags of Go's linker: nothing for debuggers, and the variables.
    fn linking(&self) -> String {
        let set = self.variables.iter().map(|(variable, value)| format!(" -X {variable}={value}"));
        format!("-s -w{}", set.collect::<String>())
    }

    /// Installs the tool somewhere below `staging`, an empty folder, and returns the path of its program.
    fn install(&self, staging: &Path) -> Result<PathBuf> {
        let Self { name, version, source, .. } = self;
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
                    .args(["install", "-ldflags"])
                    .arg(self.linking())
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
                    .args(["build", "-trimpath", "-ldflags"])
                    .arg(self.linking())
                    .arg("-o")
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

/// A folder that holds tools: `bin/` the programs, `versions/` the version of each.
pub struct ToolsFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl ToolsFolder {
    /// The tools of the user.
    ///
    /// # Errors
    /// When no variable of the environment tells where they are.
    pub fn of_user() -> Result<Self> {
        let path = tools_folder(|key| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from)).context(
            "there is no folder for tools because neither MESHWORK_TEST_TOOLS, XDG_CACHE_HOME nor HOME is set; set one",
        )?;
        let path = std::path::absolute(&path).with_context(|| format!("cannot use {} for tools", path.display()))?;
        Ok(Self { path })
    }

    /// The folder `name` in this one, for tools that belong together.
    pub fn inner(&self, name: &str) -> Self {
        Self { path: self.path.join(name) }
    }

    /// The path of a tool's program, after installing it when it is missing or of another version.
    ///
    /// # Errors
    /// When it can't be installed from here; the message says how to install it.
    pub fn provide(&self, tool: &Tool) -> Result<PathBuf> {
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

    /// The folder `name` in this one, which is made when it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join(name);
        fs::create_dir_all(&folder).with_context(|| {
            format!("cannot make {}; set MESHWORK_TEST_TOOLS to a folder of yours", folder.display())
        })?;
        Ok(folder)
    }

    /// Removes the folder `name` in this one, if it is there.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        let folder = self.path.join(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}; remove it by hand", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Keeps other setups out of the folder for as long as the returned file is open.
    ///
    /// # Errors
    /// When another one holds it for longer than `limit`.
    pub fn lock(&self, limit: Duration) -> Result<File> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool =
        Tool { name: "x", version: "1.2.3", variables: &[], source: Source::Go { package: "example.invalid/x" } };

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
        assert!(!scratch.0.holds(&TOOL, TOOL.version), "nothing is there");
        scratch.plant(&TOOL, "0.0.1");
        assert!(!scratch.0.holds(&TOOL, TOOL.version), "another version is there");
        fs::write(scratch.0.stamp(&TOOL), TOOL.version).unwrap();
        assert!(scratch.0.holds(&TOOL, TOOL.version));
        fs::remove_file(scratch.0.program(&TOOL)).unwrap();
        assert!(!scratch.0.holds(&TOOL, TOOL.version), "the program is gone");
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_that_is_there_is_not_installed_again() {
        let scratch = Scratch::new("there");
        scratch.plant(&TOOL, TOOL.version);
        assert_eq!(scratch.0.provide(&TOOL).unwrap(), scratch.0.program(&TOOL));
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
    fn a_module_counts_only_with_its_files_and_variables() {
        let stamp = |version, folder, variables| {
            Tool { name: "x", version, variables, source: Source::Module { folder } }.stamp().unwrap()
        };
        let plain = stamp("1", "tests/cluster/pause", &[]);
        assert!(plain.starts_with("1 "), "{plain}");
        assert_eq!(plain, stamp("1", "tests/cluster/pause", &[]));
        let others = [
            stamp("2", "tests/cluster/pause", &[]),
            stamp("1", "tests/cluster/kube", &[]),
            stamp("1", "tests/cluster/pause", &[("main.version", "1")]),
            stamp("1", "tests/cluster/pause", &[("main.version", "2")]),
        ];
        assert!(others.iter().all(|other| *other != plain), "{others:?}");
        assert_ne!(others[2], others[3]);
    }

    #[test]
    fn the_linker_sets_variables_and_the_stamp_tells_them() {
        assert_eq!((TOOL.linking().as_str(), TOOL.stamp().unwrap().as_str()), ("-s -w", "1.2.3"));
        let set = Tool { variables: &[("a/b.c", "1"), ("d.e", "2")], ..TOOL };
        assert_eq!(set.linking(), "-s -w -X a/b.c=1 -X d.e=2");
        assert_ne!(set.stamp().unwrap(), "1.2.3");
    }
}
