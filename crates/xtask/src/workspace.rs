//! Where the checkout and its build folder are.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::Process;

/// The folders of this checkout, as cargo sees them.
pub struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// The build folder; it is elsewhere when `CARGO_TARGET_DIR` says so.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo for the workspace around the current folder.
    ///
    /// # Errors
    /// When the current folder isn't in a workspace, or `Cargo.toml` can't be read.
    pub fn find() -> Result<Self> {
        let metadata = Process::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .limit(Duration::from_secs(60))
            .output()?;
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata).context("`cargo metadata` didn't answer with JSON")?;
        let folder = |key: &str| {
            metadata[key].as_str().map(PathBuf::from).with_context(|| format!("`cargo metadata` doesn't tell `{key}`"))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")? })
    }

    /// The path of a program that this workspace builds; `profile` is `debug` or `release`.
    ///
    /// # Errors
    /// When it hasn't been built.
    pub fn binary(&self, profile: &str, name: &str) -> Result<PathBuf> {
        let path = self.target.join(profile).join(name);
        anyhow::ensure!(
            path.is_file(),
            "the build made no `{}`; check the [[bin]] names in services/meshwork/Cargo.toml",
            path.display()
        );
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn folders_come_from_the_metadata() {
        let found = Workspace::from_metadata(r#"{"workspace_root": "/a", "target_directory": "/b/c"}"#).unwrap();
        assert_eq!(found.root.to_str(), Some("/a"));
        assert_eq!(found.target.to_str(), Some("/b/c"));
    }

    #[test]
    fn metadata_without_a_folder_names_what_is_missing() {
        let error = Workspace::from_metadata(r#"{"workspace_root": "/a"}"#).err().unwrap();
        assert_eq!(error.to_string(), "`cargo metadata` doesn't tell `target_directory`");
    }

    #[test]
    fn a_binary_that_was_not_built_is_named() {
        let workspace = Workspace { root: "/a".into(), target: "/nowhere".into() };
        let error = workspace.binary("debug", "meshwork").unwrap_err();
        assert!(error.to_string().contains("/nowhere/debug/meshwork"), "{error}");
    }
}
