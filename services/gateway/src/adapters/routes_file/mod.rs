//! The file with the routes of the configuration, and those that it names, read again when they change.

mod check;
mod document;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::document::Document;
use super::contracts::{EncodedFiles, has_health};
use crate::domain::{InvalidRoutes, UpstreamName};
use crate::ports::{Configured, Descriptors, RouteSource};

/// More bytes than any routes have: what a wrong path may lead to is not read whole.
const MAX_FILE: u64 = 1 << 20;
/// The most bytes of a file of descriptors.
const MAX_DESCRIPTORS: u64 = 16 << 20;
/// How long the files may take to be read.
const BOUND: Duration = Duration::from_secs(10);

/// A file of routes; no path is a configuration without routes of its own.
///
/// How the files are replaced does not matter: by writing, by renaming, or by the links that Kubernetes swaps. What is looked
/// at each time is where they lead to and how they are; they are read when that has changed, and have changed when their
/// content has. Of files that are written in place a look may see a part, which may be as good as the whole: a change is taken
/// when the next look sees the same.
#[derive(Debug)]
pub struct RoutesFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was taken last, valid or not.
    last: Option<Last>,
    /// The digest of what one look has seen since.
    unsettled: Option<Vec<u8>>,
    /// Whether anything stood in the file that was valid last.
    had_content: bool,
    /// A read that nobody waits for any more; the next look takes it over, so that there is never more than one: on a file
    /// system that hangs they would take up all threads.
    reading: Option<JoinHandle<Option<Reading>>>,
}

/// What was found last, valid or not: an error is told once.
#[derive(Clone, Debug, Default)]
struct Last {
    /// The files that were read, and how they were then.
    marks: Vec<(PathBuf, Mark)>,
    /// Of all that was read.
    digest: Vec<u8>,
}

/// How a file is: its device, node and length, and when its content and its node were changed. `None`: it can't be asked.
type Mark = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// What the files hold.
#[derive(Debug)]
struct Reading {
    last: Last,
    configured: Result<Configured, InvalidRoutes>,
    /// Nothing stands in the file of routes.
    is_empty: bool,
}

impl State {
    /// Takes what the files hold, if it is another than before, and settled.
    fn take(&mut self, Reading { last, configured, is_empty }: Reading) -> Option<Result<Configured, InvalidRoutes>> {
        let is_same = self.last.as_ref().is_some_and(|before| before.digest == last.digest);
        let is_settled = self.last.is_none() || self.unsettled.as_ref() == Some(&last.digest);
        if !is_same && !is_settled {
            self.unsettled = Some(last.digest);
            return None;
        }
        self.unsettled = None;
        self.last = Some(last);
        if is_same {
            return None;
        }
        if configured.is_ok() && !is_empty {
            self.had_content = true;
        }
        Some(configured)
    }
}

impl RoutesFile {
    /// The file at `path`; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), state: Mutex::default() }
    }
}

#[async_trait]
impl RouteSource for RoutesFile {
    async fn changed(&self) -> Option<Result<Configured, InvalidRoutes>> {
        let mut state = self.state.lock().await;
        if self.path.as_os_str().is_empty() {
            let is_first = state.last.replace(Last::default()).is_none();
            return is_first.then(|| Ok(Configured::default()));
        }
        let (path, last) = (self.path.clone(), state.last.clone());
        let reading =
            state.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || look(&path, last.as_ref())));
        let read = timeout(BOUND, reading).await;
        if read.is_ok() {
            state.reading = None;
        }
        let failed = |problem: String| {
            let (digest, configured) = (problem.clone().into_bytes(), Err(self.unreadable(&problem)));
            Some(Reading { last: Last { marks: Vec::new(), digest }, configured, is_empty: false })
        };
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("it gave no answer within {BOUND:?}")),
        };
        let Some(reading) = read else {
            state.unsettled = None;
            return None;
        };
        let is_emptied = state.had_content && reading.is_empty;
        let configured = state.take(reading)?;
        Some(if is_emptied { configured.and_then(|_| Err(self.emptied())) } else { configured })
    }
}

impl RoutesFile {
    /// Nobody writes an empty file to say something: it is more likely that writing has failed.
    fn emptied(&self) -> InvalidRoutes {
        let problem =
            "is empty and was not before; if there are to be no routes, leave a comment in it, such as `# none`";
        InvalidRoutes::new(self.path.display().to_string(), problem)
    }

    fn unreadable(&self, problem: &str) -> InvalidRoutes {
        unreadable(&self.path, problem)
    }
}

fn unreadable(path: &Path, problem: &str) -> InvalidRoutes {
    InvalidRoutes::new(path.display().to_string(), format!("can't be read: {problem}"))
}

/// Reads the files, unless each of them is as it was.
fn look(path: &Path, last: Option<&Last>) -> Option<Reading> {
    let is_same = |(path, before): &(PathBuf, Mark)| before.is_some() && mark(path) == *before;
    if last.is_some_and(|last| !last.marks.is_empty() && last.marks.iter().all(is_same)) {
        return None;
    }
    let mut reader = Reader { last: Last::default(), hasher: Sha256::new(), is_empty: false };
    let configured = reader.configured(path);
    let Reader { mut last, hasher, is_empty } = reader;
    last.digest = hasher.finalize().to_vec();
    Some(Reading { last, configured, is_empty })
}

fn mark(path: &Path) -> Mark {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())))
}

struct Reader {
    last: Last,
    hasher: Sha256,
    is_empty: bool,
}

impl Reader {
    fn configured(&mut self, path: &Path) -> Result<Configured, InvalidRoutes> {
        let text = self.read(path, MAX_FILE)?;
        let text = str::from_utf8(&text).map_err(|error| unreadable(path, &error.to_string()))?;
        self.is_empty = text.trim().is_empty();
        let wrong = |mut problem: InvalidRoutes| {
            problem.key = format!("{}: {}", path.display(), problem.key);
            problem
        };
        let document = Document::parse(text).map_err(wrong)?;
        let (mut settings, files) = document.check().map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut descriptors = BTreeMap::new();
        for (upstream, file) in files {
            let own = self.descriptors(&upstream, &folder.join(file.path)).map_err(wrong)?;
            if file.tells_health
                && let Some(settings) = settings.upstreams.get_mut(&upstream)
            {
                settings.checks_health = has_health(&own);
            }
            descriptors.insert(upstream, own);
        }
        Ok(Configured { origin: path.display().to_string(), settings, descriptors })
    }

    fn descriptors(&mut self, upstream: &UpstreamName, path: &Path) -> Result<Descriptors, InvalidRoutes> {
        let key = format!("upstreams.{upstream}.descriptors");
        let wrong =
            |problem: &str| InvalidRoutes::new(key.clone(), format!("names {}, which {problem}", path.display()));
        let set = self.read(path, MAX_DESCRIPTORS).map_err(|error| wrong(&error.problem))?;
        let files = EncodedFiles::decode(Bytes::from(set)).map_err(|error| {
            wrong(&format!("is no encoded FileDescriptorSet, as `protoc --include_imports -o` writes it: {error}"))
        })?;
        if files.file.is_empty() {
            return Err(wrong("has no file in it; write one by `protoc --include_imports -o`"));
        }
        Ok(files.file.into())
    }

    /// The content of a file, of at most `max` bytes.
    fn read(&mut self, path: &Path, max: u64) -> Result<Vec<u8>, InvalidRoutes> {
        // Before it is read: what is changed meanwhile is read again.
        self.last.marks.push((path.to_owned(), mark(path)));
        let whole = || {
            let mut content = Vec::new();
            File::open(path)?.take(max + 1).read_to_end(&mut content)?;
            let is_large = content.len() as u64 > max;
            if is_large { Err(io::Error::other(format!("it has more than {max} bytes"))) } else { Ok(content) }
        };
        let content = whole().map_err(|error| error.to_string());
        let (kind, bytes) = match &content {
            Ok(content) => (0_u8, content.as_slice()),
            Err(problem) => (1, problem.as_bytes()),
        };
        self.hasher.update([kind]);
        self.hasher.update((bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
        content.map_err(|problem| unreadable(path, &problem))
    }
}
