//! A policy in a file, read again when it changes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{Policy, PolicyError};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// More bytes than any policy has: what a wrong path may lead to is not read whole.
const MOST: u64 = 1 << 20;

/// A policy in a file. Its content is compared, so that it does not matter how the file is replaced: by writing, by
/// renaming, or by the links that Kubernetes swaps.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    policy: Policy,
    /// What was read last, valid or not: an error is told once.
    content: Result<String, String>,
    every: Duration,
    next_look: Instant,
    /// A read that nobody waits for any more; the next look takes it over, so that there is never more than one: on a file
    /// system that hangs they would take up all threads.
    reading: Option<JoinHandle<Result<String, String>>>,
}

impl PolicyFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// When it can't be read, or holds no valid policy.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        let path = path.into();
        let content = read(&path).map_err(|error| unreadable(&path, &error))?;
        let policy = Policy::parse(&content)?;
        Ok(Self { path, policy, content: Ok(content), every: LOOK, next_look: Instant::now() + LOOK, reading: None })
    }

    /// How often the file is looked at; every 5 s unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use meshwork::policy::{PolicyError, PolicyFile};
    /// # fn open() -> Result<PolicyFile, PolicyError> {
    /// let file = PolicyFile::open("/etc/meshwork/policy.json")?.every(Duration::from_secs(1));
    /// # Ok(file) }
    /// ```
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval.max(Duration::from_millis(1));
        self.next_look = Instant::now() + self.every;
        self
    }

    /// The last policy that was valid.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Waits until the content changes, and gives the policy in it.
    ///
    /// # Errors
    /// When the new content is not valid, once for each content; the policy before it holds on. The next call waits for
    /// the next change. Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<Policy, PolicyError> {
        loop {
            sleep_until(self.next_look).await;
            let reading = self.reading.get_or_insert_with(|| {
                let path = self.path.clone();
                tokio::task::spawn_blocking(move || read(&path))
            });
            let read = reading.await;
            self.reading = None;
            self.next_look = Instant::now() + self.every;
            let content = match read {
                Ok(content) => content,
                // Its runtime has ended.
                Err(error) if error.is_cancelled() => continue,
                Err(error) => Err(error.to_string()),
            };
            if content == self.content {
                continue;
            }
            self.content = content;
            match &self.content {
                Ok(json) => {
                    let policy = Policy::parse(json)?;
                    if policy != self.policy {
                        self.policy = policy.clone();
                        return Ok(policy);
                    }
                }
                Err(error) => return Err(unreadable(&self.path, error)),
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let whole = || {
        let mut content = String::new();
        let length = File::open(path)?.take(MOST + 1).read_to_string(&mut content)?;
        if length as u64 > MOST { Err(io::Error::other("it is larger than 1 MiB")) } else { Ok(content) }
    };
    whole().map_err(|error| error.to_string())
}

fn unreadable(path: &Path, error: &str) -> PolicyError {
    PolicyError::new("", format!("{} can't be read: {error}", path.display()))
}
