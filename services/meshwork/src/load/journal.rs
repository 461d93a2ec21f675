//! The writer of the history: a call's line is on the disk before the call is sent.
//!
//! One thread writes. What has come while it waited for the disk goes to the disk together.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::plan::Plan;
use crate::failure::Failure;
use crate::history::Record;

/// How many records wait for the disk at most; who has another one waits.
const QUEUE: usize = 4096;
/// How many records go to the disk at once, at most.
const BATCH: usize = 1024;
/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every history begins with.
const BEGIN: &[u8] = br#"{"kind":"run","#;
/// How much of a file may be its last line.
const LONGEST: u64 = 1 << 20;
/// What to do about a history that can't be written.
const HINT: &str = "see that the disk has room, or name another file with --history";

/// What a history is written to.
trait Disk: Send + 'static {
    /// Adds bytes to the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all of them would outlast a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A record, or only the wish to know when all before it are on the disk.
struct Entry {
    record: Option<Record>,
    synced: Option<oneshot::Sender<()>>,
}

/// A history that is being written.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    /// Why the writer has ended.
    problem: Arc<OnceLock<String>>,
}

impl Journal {
    /// Goes on with the history in a file, or begins it. A line that was cut short at its end, by a loss of power say, is
    /// removed: its call was never sent.
    ///
    /// # Errors
    /// When it can't be written, is something else, or another run writes it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |problem: &dyn Display| {
            Failure::new(format!("the history {} can't be written: {problem}", path.display()), HINT)
        };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(|error| failed(&error))?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => failed(&"another run writes it"),
            std::fs::TryLockError::Error(error) => failed(&error),
        })?;
        cut(&mut file).map_err(|error| failed(&error))?;
        // The entry of a new file is to last as well.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))?;
        Self::on(file)
    }

    fn on(disk: impl Disk) -> Result<Self, Failure> {
        let (queue, mut entries) = mpsc::channel(QUEUE);
        let problem = Arc::new(OnceLock::new());
        let told = Arc::clone(&problem);
        let writer = move || {
            let mut waiting = Vec::new();
            if let Err(error) = write(disk, &mut entries, &mut waiting) {
                // Before those who wait are let go.
                told.set(error.to_string()).ok();
            }
        };
        let started = std::thread::Builder::new().name("history".to_owned()).spawn(writer);
        started.map_err(|error| Failure::new(format!("the history can't be written: {error}"), HINT))?;
        Ok(Self { queue, problem })
    }

    /// Notes that a run begins.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn begin(&self, plan: &Plan) -> Result<(), Failure> {
        let (run, time) = (Uuid::new_v4(), OffsetDateTime::now_utc());
        self.before(Record::Run { run, time, rate: plan.rate, seconds: plan.seconds.into() }).await
    }

    /// Writes what must be on the disk before something is done, and returns when it is.
    ///
    /// # Errors
    /// When the disk fails, or takes too long.
    pub async fn before(&self, record: Record) -> Result<(), Failure> {
        self.synced(Some(record)).await
    }

    /// Writes what has happened; returns when it is on its way.
    ///
    /// # Errors
    /// When the disk has failed, or takes too long.
    pub async fn after(&self, record: Record) -> Result<(), Failure> {
        self.send(Entry { record: Some(record), synced: None }).await
    }

    /// Returns when all is on the disk.
    ///
    /// # Errors
    /// When the disk fails, or takes too long.
    pub async fn flush(&self) -> Result<(), Failure> {
        self.synced(None).await
    }

    async fn synced(&self, record: Option<Record>) -> Result<(), Failure> {
        let (synced, done) = oneshot::channel();
        self.send(Entry { record, synced: Some(synced) }).await?;
        let done = timeout(PATIENCE, done).await.map_err(|_| too_slow())?;
        done.map_err(|_| self.failure())
    }

    async fn send(&self, entry: Entry) -> Result<(), Failure> {
        let sent = timeout(PATIENCE, self.queue.send(entry)).await.map_err(|_| too_slow())?;
        sent.map_err(|_| self.failure())
    }

    fn failure(&self) -> Failure {
        let problem = self.problem.get().map_or("its writer has ended", String::as_str);
        Failure::new(format!("the history can't be written: {problem}"), HINT)
    }
}

fn too_slow() -> Failure {
    Failure::new(format!("the history can't be written: the disk has not answered for {} s", PATIENCE.as_secs()), HINT)
}

/// Writes until nobody has anything more to say.
fn write(
    mut disk: impl Disk,
    entries: &mut mpsc::Receiver<Entry>,
    waiting: &mut Vec<oneshot::Sender<()>>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(first) = entries.blocking_recv() {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(Entry { record, synced }) = next {
            if let Some(record) = record {
                serde_json::to_writer(&mut bytes, &record)?;
                bytes.push(b'\n');
            }
            waiting.extend(synced);
            taken += 1;
            next = if taken < BATCH { entries.try_recv().ok() } else { None };
        }
        disk.append(&bytes)?;
        disk.sync()?;
        bytes.clear();
        for synced in waiting.drain(..) {
            // Whoever waited may have gone.
            synced.send(()).ok();
        }
    }
    Ok(())
}

/// Removes what is behind the last whole line.
fn cut(file: &mut File) -> io::Result<()> {
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::take(&mut *file, u64::try_from(BEGIN.len()).unwrap_or(u64::MAX)).read_to_end(&mut begin)?;
    if !BEGIN.starts_with(&begin) {
        return Err(io::Error::other("the file holds something else"));
    }
    let from = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole == end.len() {
        return Ok(());
    }
    if whole == 0 && from > 0 {
        return Err(io::Error::other("its last line is too long to be of a history"));
    }
    file.set_len(from + u64::try_from(whole).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::history::{Answer, Call, Method};

    /// The longest that anything here may take.
    const BOUND: Duration = Duration::from_secs(10);

    fn call() -> Record {
        Record::Call(Call {
            call: Uuid::new_v4(),
            request: "r".to_owned(),
            time: OffsetDateTime::UNIX_EPOCH,
            method: Method::CreateOrder,
            customer: "users/anna".to_owned(),
            order: None,
            lines: Vec::new(),
        })
    }

    fn answer() -> Record {
        Record::Answer(Answer {
            call: Uuid::nil(),
            time: OffsetDateTime::UNIX_EPOCH,
            status: "UNAVAILABLE".to_owned(),
            unknown: true,
            order: None,
            state: None,
            etag: None,
            total: None,
        })
    }

    /// Tells when it is to sync, and does so when it is let.
    struct Slow {
        written: Arc<Mutex<Vec<u8>>>,
        asked: Sender<usize>,
        let_go: Receiver<io::Result<()>>,
    }

    impl Disk for Slow {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            let lines = self.written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
            self.asked.send(lines).unwrap();
            self.let_go.recv_timeout(BOUND).unwrap()
        }
    }

    /// A slow disk, the lines at each of its syncs, and what lets them go on.
    fn slow() -> (Slow, Receiver<usize>, Sender<io::Result<()>>) {
        let ((asked, syncs), (let_go, goes)) = (channel(), channel());
        (Slow { written: Arc::default(), asked, let_go: goes }, syncs, let_go)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_waits_for_the_disk_and_those_that_come_meanwhile_share_the_next_sync() {
        let (disk, syncs, let_go) = slow();
        let journal = Journal::on(disk).unwrap();
        let first = tokio::spawn({
            let journal = journal.clone();
            async move { journal.before(call()).await }
        });
        let syncs = tokio::task::spawn_blocking(move || {
            assert_eq!(syncs.recv_timeout(BOUND).unwrap(), 1);
            syncs
        });
        let syncs = syncs.await.unwrap();
        assert!(!first.is_finished(), "its line is written, and not on the disk");
        // An answer waits for nobody.
        journal.after(answer()).await.unwrap();
        journal.after(answer()).await.unwrap();
        let_go.send(Ok(())).unwrap();
        first.await.unwrap().unwrap();
        let_go.send(Ok(())).unwrap();
        let lines = tokio::task::spawn_blocking(move || syncs.recv_timeout(BOUND).unwrap()).await.unwrap();
        assert_eq!(lines, 3, "both answers in one sync");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_disk_that_fails_ends_the_history() {
        let (disk, _syncs, let_go) = slow();
        let journal = Journal::on(disk).unwrap();
        let_go.send(Err(io::Error::other("no space left"))).unwrap();
        let first = journal.before(call()).await.unwrap_err();
        let next = journal.after(answer()).await.and(journal.flush().await).unwrap_err();
        for failure in [first, next] {
            assert!(failure.sentence().ends_with("no space left"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_history_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let plan = Plan::plain(20.0, 3);
        let journal = Journal::open(&path).unwrap();
        journal.begin(&plan).await.unwrap();
        let failure = Journal::open(&path).err().unwrap();
        assert!(failure.sentence().ends_with("another run writes it"), "{failure}");
        drop(journal);

        let torn = [std::fs::read(&path).unwrap(), br#"{"kind":"call","call":"7f"#.to_vec()].concat();
        std::fs::write(&path, torn).unwrap();
        let journal = reopened(&path).await;
        journal.before(call()).await.unwrap();
        let mut kinds = Vec::new();
        let kind = |record: Record| match record {
            Record::Run { rate, seconds, .. } => format!("run {rate} {seconds}"),
            Record::Call(_) => "call".to_owned(),
            Record::Answer(_) => "answer".to_owned(),
        };
        crate::history::read(&path, |record| kinds.push(kind(record))).unwrap();
        assert_eq!(kinds, ["run 20 3", "call"]);
    }

    /// Opens a history again once its writer has let go of it.
    async fn reopened(path: &Path) -> Journal {
        let open = async {
            loop {
                if let Ok(journal) = Journal::open(path) {
                    return journal;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(BOUND, open).await.unwrap()
    }

    #[test]
    fn a_file_that_is_no_history_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "Dear Anna,").unwrap();
        let failure = Journal::open(&path).err().unwrap();
        assert!(failure.sentence().ends_with("the file holds something else"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Dear Anna,");
    }
}
