//! Provides packages of other languages that the tests import: a folder for each list of them, made anew when the list has
//! changed.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{Process, find_program};
use crate::tool::{INSTALL_LIMIT, ToolsFolder};
use crate::workspace::Workspace;

/// Packages of one language, as a list in this workspace pins them.
pub struct Packages {
    /// The name of their folder among the tools.
    pub name: &'static str,
    /// Where their list is.
    pub source: Source,
}

/// Who brings the packages.
pub enum Source {
    /// `pip`, by a file of requirements.
    Python {
        /// The file.
        requirements: &'static str,
    },
    /// `npm ci`, by the `package.json` and the `package-lock.json` of a folder.
    Node {
        /// The folder.
        folder: &'static str,
    },
}

impl Packages {
    /// The files of the list.
    fn files(&self, root: &Path) -> Vec<PathBuf> {
        match self.source {
            Source::Python { requirements } => vec![root.join(requirements)],
            Source::Node { folder } => {
                ["package.json", "package-lock.json"].map(|file| root.join(folder).join(file)).into()
            }
        }
    }

    /// What the stamp says when the folder is up to date.
    fn stamp(&self, root: &Path) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        for file in self.files(root) {
            fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// Installs the packages into `staging`, an empty folder, and returns the folder that holds them.
    fn install(&self, root: &Path, staging: &Path) -> Result<PathBuf> {
        match self.source {
            Source::Python { requirements } => {
                needs("python3", self.name, "Python 3 with pip (on Debian: python3 and python3-pip)")?;
                let folder = staging.join("packages");
                Process::new("python3")
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                        "--no-compile",
                        "--target",
                    ])
                    .arg(&folder)
                    .arg("--requirement")
                    .arg(root.join(requirements))
                    .folder(staging)
                    .limit(INSTALL_LIMIT)
                    .progress()
                    .run()?;
                Ok(folder)
            }
            Source::Node { .. } => {
                needs("npm", self.name, "Node (https://nodejs.org/en/download)")?;
                for file in self.files(root) {
                    let copy = staging.join(file.file_name().unwrap_or_default());
                    fs::copy(&file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
                }
                Process::new("npm")
                    .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
                    .folder(staging)
                    .limit(INSTALL_LIMIT)
                    .progress()
                    .run()?;
                // Modules find each other by the name of their folder.
                Ok(staging.to_owned())
            }
        }
    }
}

fn needs(program: &str, name: &str, what: &str) -> Result<()> {
    if find_program(program).is_none() {
        bail!("the packages `{name}` need {what}; install it and run `cargo xtask setup` again");
    }
    Ok(())
}

impl ToolsFolder {
    /// The folder with the packages, after installing them when one is missing or their list has changed.
    ///
    /// # Errors
    /// When they can't be installed from here; the message says what is missing.
    pub fn provide_packages(&self, packages: &Packages) -> Result<PathBuf> {
        let root = Workspace::find()?.root;
        let (folder, wanted) = (self.path.join("packages").join(packages.name), packages.stamp(&root)?);
        let stamp = self.path.join("versions").join(format!("{}.packages", packages.name));
        let holds = || folder.is_dir() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == wanted);
        if holds() {
            return Ok(folder);
        }
        self.make("packages")?;
        self.make("versions")?;
        let _lock = self.lock(INSTALL_LIMIT)?;
        // Another setup may have installed them while this one waited.
        if holds() {
            return Ok(folder);
        }
        eprintln!("the packages `{}` are missing, or others, and will be installed", packages.name);
        self.remove("staging")?;
        let staging = self.make("staging")?;
        let installed = packages.install(&root, &staging)?;
        self.remove(&format!("packages/{}", packages.name))?;
        // Stamped last, so that only whole folders count.
        fs::rename(&installed, &folder)
            .with_context(|| format!("cannot move {} to {}", installed.display(), folder.display()))?;
        fs::write(&stamp, &wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
        self.remove("staging")?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_count_only_by_their_list() {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join("list.txt");
        let packages = Packages { name: "x", source: Source::Python { requirements: "list.txt" } };
        assert!(packages.stamp(root.path()).unwrap_err().to_string().contains("list.txt"));
        fs::write(&list, "a==1\n").unwrap();
        let first = packages.stamp(root.path()).unwrap();
        assert_eq!(packages.stamp(root.path()).unwrap(), first);
        fs::write(&list, "a==2\n").unwrap();
        assert_ne!(packages.stamp(root.path()).unwrap(), first);
    }
}
