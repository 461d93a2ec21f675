//! Builds the binary of the image: static, stripped, and the same wherever it is built.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;

use super::elf::Program;
use crate::process::Process;
use crate::workspace::Workspace;

/// The longest that a build from nothing may take.
const BUILD_LIMIT: Duration = Duration::from_secs(7200);

/// The binary as an image is given to others.
///
/// # Errors
/// When it can't be built, or isn't static and stripped.
pub fn release(workspace: &Workspace) -> Result<PathBuf> {
    let host = host(workspace)?;
    // So that the folders that its paths are told by are there.
    cargo(workspace).args(["fetch", "--locked", "--target", &host]).run()?;
    let moved = Moved::find(workspace)?;
    cargo(workspace)
        .env("RUSTFLAGS", moved.rust_flags())
        .env("CFLAGS", moved.c_flags()?)
        // What C code is told of the time of its build.
        .env("SOURCE_DATE_EPOCH", "0")
        .args(["build", "--locked", "--package", "meshwork-cli", "--bin", "meshwork", "--features", "kubernetes"])
        // A target that is named keeps these flags from build scripts and macros, which could not run with them.
        .args(["--profile", "image", "--target", &host])
        .limit(BUILD_LIMIT)
        .progress()
        .run()?;
    let path = workspace.binary(&format!("{host}/image"), "meshwork")?;
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let program = Program::read(&bytes).with_context(|| format!("cannot pack {}", path.display()))?;
    check(program, &path)?;
    for folder in moved.named_in(&bytes) {
        eprintln!("warning: the binary names {folder}, so one that is built elsewhere will differ from it");
    }
    Ok(path)
}

/// The binary of `cargo build` as it is, but for what debuggers want: quick, for tests.
///
/// # Errors
/// When there is none, or it can't be stripped.
pub fn debug(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let built = workspace.binary("debug", "meshwork").context("run `cargo build` first")?;
    let stripped = folder.join("meshwork-debug");
    // It comes with `cc`, without which nothing could be built.
    Process::new("strip").arg("-o").arg(&stripped).arg(&built).limit(Duration::from_secs(120)).output()?;
    Ok(stripped)
}

fn cargo(workspace: &Workspace) -> Process {
    Process::new("cargo").folder(&workspace.root)
}

/// What rustc calls this machine.
fn host(workspace: &Workspace) -> Result<String> {
    let told = Process::new("rustc").arg("-vV").folder(&workspace.root).limit(Duration::from_secs(60)).output()?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    ensure!(
        host.ends_with("-linux-gnu"),
        "images are built on Linux with glibc, and this is {host}; build the Dockerfile instead"
    );
    Ok(host.to_owned())
}

/// Refuses a program that the image has no system for.
fn check(program: Program, path: &Path) -> Result<()> {
    ensure!(
        program.is_static,
        "{} needs a loader or libraries, which the image doesn't have; see that nothing replaces its RUSTFLAGS",
        path.display()
    );
    ensure!(
        program.is_stripped,
        "{} holds symbols; see that [profile.image] in Cargo.toml has strip = \"symbols\"",
        path.display()
    );
    Ok(())
}

/// Folders of this machine, each with the name by which the binary knows it.
///
/// Our own sources aren't among them, because cargo names them from the root of the workspace.
struct Moved(Vec<(String, &'static str)>);

impl Moved {
    fn find(workspace: &Workspace) -> Result<Self> {
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
            .context("there is no folder of cargo because neither CARGO_HOME nor HOME is set; set one")?;
        let registries = home.join("registry/src");
        let mut folders = Vec::new();
        // One for each registry, called after its address: a mirror's packages are the same.
        for registry in fs::read_dir(&registries).with_context(|| format!("cannot read {}", registries.display()))? {
            folders
                .push((registry.with_context(|| format!("cannot read {}", registries.display()))?.path(), "/packages"));
        }
        folders.sort();
        folders.push((workspace.target.clone(), "/target"));
        folders.into_iter().map(|(folder, name)| Ok((flag_of(&folder)?, name))).collect::<Result<_>>().map(Self)
    }

    fn rust_flags(&self) -> String {
        let moved = self.0.iter().map(|(folder, name)| format!("--remap-path-prefix={folder}={name}"));
        std::iter::once("-Ctarget-feature=+crt-static".to_owned()).chain(moved).collect::<Vec<_>>().join(" ")
    }

    /// Those of .cargo/config.toml, which cargo gives to what it runs, and ours.
    fn c_flags(&self) -> Result<String> {
        let configured = env::var("CFLAGS").ok().filter(|flags| !flags.is_empty());
        let configured = configured
            .context("the CFLAGS of .cargo/config.toml are missing; run `cargo xtask image` in the checkout")?;
        let moved = self.0.iter().map(|(folder, name)| format!("-ffile-prefix-map={folder}={name}"));
        Ok(std::iter::once(configured).chain(moved).collect::<Vec<_>>().join(" "))
    }

    /// The folders whose paths are in `bytes`.
    fn named_in(&self, bytes: &[u8]) -> impl Iterator<Item = &str> {
        let folders = self.0.iter().map(|(folder, _)| folder.as_str());
        folders.filter(|folder| memmem::find(bytes, folder.as_bytes()).is_some())
    }
}

/// The folder as a part of a flag, of which flags are told apart by spaces.
fn flag_of(folder: &Path) -> Result<String> {
    let path = folder.to_str().filter(|path| !path.contains(char::is_whitespace) && !path.contains('='));
    path.map(str::to_owned).with_context(|| {
        format!("{} can't be told to compilers; build in a folder without spaces and `=`", folder.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved() -> Moved {
        Moved(vec![("/home/x/.cargo/registry/src/index-1".to_owned(), "/packages"), ("/t".to_owned(), "/target")])
    }

    #[test]
    fn compilers_are_told_to_forget_where_they_ran() {
        assert_eq!(
            moved().rust_flags(),
            "-Ctarget-feature=+crt-static --remap-path-prefix=/home/x/.cargo/registry/src/index-1=/packages \
             --remap-path-prefix=/t=/target"
        );
    }

    #[test]
    fn c_code_keeps_the_flags_that_cargo_was_configured_with() {
        let flags = moved().c_flags().unwrap();
        assert!(
            flags.contains("-DMI_DEFAULT_ARENA_EAGER_COMMIT=0 "),
            "cargo gives us what it was configured with: {flags}"
        );
        assert!(flags.ends_with(" -ffile-prefix-map=/t=/target"), "{flags}");
    }

    #[test]
    fn a_folder_that_is_named_in_the_binary_is_found() {
        let moved = moved();
        assert_eq!(moved.named_in(b"\0/home/x/.cargo/registry/src/index-1/a.rs").count(), 1);
        assert_eq!(moved.named_in(b"/packages/a.rs").count(), 0);
    }

    #[test]
    fn a_folder_with_a_space_is_refused() {
        let error = flag_of(Path::new("/a b")).unwrap_err().to_string();
        assert_eq!(error, "/a b can't be told to compilers; build in a folder without spaces and `=`");
    }

    #[test]
    fn only_a_static_and_stripped_program_passes() {
        let path = Path::new("/x");
        assert!(check(Program { is_static: true, is_stripped: true }, path).is_ok());
        let error = check(Program { is_static: false, is_stripped: true }, path).unwrap_err().to_string();
        assert!(error.starts_with("/x needs a loader or libraries"), "{error}");
        let error = check(Program { is_static: true, is_stripped: false }, path).unwrap_err().to_string();
        assert!(error.starts_with("/x holds symbols"), "{error}");
    }
}
