//! From which commit an image is built, and when that was made.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ours::Sources;
use crate::process::Process;

/// The sources of the checkout at `root`.
///
/// `SOURCE_DATE_EPOCH` of the environment is their time, as everywhere; else it is the time of the commit, and 1970 when
/// there is none or files have been changed since.
///
/// # Errors
/// When `SOURCE_DATE_EPOCH` isn't a number of seconds.
pub fn sources(root: &Path) -> Result<Sources> {
    let told = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            Some(seconds(&text).context("unset SOURCE_DATE_EPOCH, or set it to seconds since 1970")?)
        }
        _ => None,
    };
    let committed = match commit(root) {
        Ok(Some(committed)) => committed,
        Ok(None) => {
            eprintln!("note: files differ from the last commit, so the image names none and its files are of 1970");
            Sources::default()
        }
        Err(error) => {
            eprintln!("note: the image names no commit and its files are of 1970, because git tells none: {error:#}");
            Sources::default()
        }
    };
    Ok(Sources { time: told.unwrap_or(committed.time), ..committed })
}

/// The last commit, when the files are as in it.
fn commit(root: &Path) -> Result<Option<Sources>> {
    let git = |args: &[&str]| Process::new("git").args(args).folder(root).limit(Duration::from_secs(30)).output();
    if !git(&["status", "--porcelain"])?.trim().is_empty() {
        return Ok(None);
    }
    let told = git(&["log", "-1", "--no-show-signature", "--format=%H %ct"])?;
    let (revision, time) = told.trim().split_once(' ').with_context(|| format!("`git log` said {told:?}"))?;
    Ok(Some(Sources { revision: Some(revision.to_owned()), time: seconds(time)? }))
}

fn seconds(text: &str) -> Result<u64> {
    text.trim().parse().with_context(|| format!("`{text}` is no number of seconds"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_commit_counts_until_a_file_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            Process::new("git")
                .args(["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"])
                .args(args)
                .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
                .folder(folder.path())
                .limit(Duration::from_secs(30))
                .output()
                .unwrap()
        };
        git(&["init", "--quiet"]);
        fs::write(folder.path().join("a"), "1").unwrap();
        git(&["add", "a"]);
        git(&["commit", "--quiet", "-m", "one"]);
        let revision = git(&["rev-parse", "HEAD"]).trim().to_owned();
        let sources = Sources { revision: Some(revision), time: 1_767_323_045 };
        assert_eq!(commit(folder.path()).unwrap(), Some(sources));
        fs::write(folder.path().join("a"), "2").unwrap();
        assert_eq!(commit(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_folder_without_commits_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let error = Process::new("git")
            .args(["log", "-1"])
            .env("GIT_CEILING_DIRECTORIES", folder.path().parent().unwrap())
            .folder(folder.path())
            .output();
        assert!(error.is_err(), "the temporary folder is in no checkout");
        assert!(commit(folder.path()).is_err());
    }
}
