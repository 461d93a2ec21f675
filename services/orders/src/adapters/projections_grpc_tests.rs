use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;

/// The longest that a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A projection that does as it is told.
struct Scripted {
    /// What a rebuild answers; it goes on for ever without.
    outcome: Mutex<Option<Result<ProjectionReport, ProjectionError>>>,
    /// Held while a rebuild is at work.
    at_work: Arc<()>,
}

fn report() -> ProjectionReport {
    let row = |key: &str| Difference { key: key.to_owned(), live: None, built: Some("{}".to_owned()) };
    ProjectionReport {
        version: 2,
        previous: 1,
        commits: 10,
        rows: 5,
        differing: 1,
        differences: vec![row("a"), row("b")],
        completed_at: OffsetDateTime::UNIX_EPOCH,
    }
}

#[async_trait]
impl Projection for Scripted {
    async fn status(&self) -> Result<ProjectionStatus, ProjectionError> {
        Ok(ProjectionStatus::default())
    }

    async fn rebuild(
        &self,
        accept_differences: bool,
        progress: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        let _at_work = self.at_work.clone();
        progress.send_replace(ProjectionProgress { applied: 3, total: 10, ..Default::default() });
        let outcome = self.outcome.lock().unwrap().take();
        match outcome {
            Some(outcome) if accept_differences => outcome,
            Some(outcome) => outcome.and(Err(ProjectionError::Differs(Box::new(report())))),
            None => std::future::pending().await,
        }
    }

    async fn rollback(&self, progress: watch::Sender<ProjectionProgress>) -> Result<ProjectionReport, ProjectionError> {
        self.rebuild(true, progress).await
    }

    async fn retry(&self, _stream: &str) -> Result<(), ProjectionError> {
        Err(ProjectionError::NotParked)
    }
}

/// The service over a projection `orders` whose rebuild ends so, and what is held while it is at work.
fn service(outcome: Option<Result<ProjectionReport, ProjectionError>>) -> (ProjectionGrpc, Arc<()>) {
    let at_work = Arc::new(());
    let scripted: Arc<dyn Projection> = Arc::new(Scripted { outcome: Mutex::new(outcome), at_work: at_work.clone() });
    (ProjectionGrpc::new([(ProjectionName::new("orders").unwrap(), scripted)].into()), at_work)
}

type Told = ReceiverStream<Result<proto::RebuildProjectionResponse, Status>>;

async fn begin(service: &ProjectionGrpc, accept_differences: bool) -> Told {
    let request = proto::RebuildProjectionRequest { name: "projections/orders".to_owned(), accept_differences };
    service.rebuild_projection(Request::new(request)).await.unwrap().into_inner()
}

async fn next(stream: &mut Told) -> Option<Result<proto::RebuildProjectionResponse, Status>> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream to go on")
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn the_last_response_has_the_report() {
    let (service, _) = service(Some(Ok(report())));
    let mut stream = begin(&service, true).await;
    let mut last = None;
    while let Some(response) = next(&mut stream).await {
        assert!(last.is_none(), "something follows the report");
        let response = response.unwrap();
        let progress = response.progress.unwrap();
        assert_eq!(response.report.is_some(), progress.phase() == proto::projection_progress::Phase::Done);
        last = response.report;
    }
    let last = last.unwrap();
    assert_eq!((last.version, last.previous_version, last.applied_commits, last.compared_rows), (2, 1, 10, 5));
    assert_eq!((last.differing_rows, last.differences.len()), (1, 2));
}

#[tokio::test]
async fn a_rebuild_tells_how_far_it_is_and_ends_when_its_caller_goes_away() {
    let (service, at_work) = service(None);
    let mut stream = begin(&service, false).await;
    let told = async { while next(&mut stream).await.unwrap().unwrap().progress.unwrap().applied_commits != 3 {} };
    tokio::time::timeout(PATIENCE, told).await.expect("progress to be told");
    // One is the test's, one the projection's, one the work's.
    assert_eq!(Arc::strong_count(&at_work), 3);
    drop(stream);
    let ended = async {
        while Arc::strong_count(&at_work) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the work to end");
}

#[tokio::test(start_paused = true)]
async fn work_whose_callers_credentials_expire_goes_on_to_its_end() {
    let hour = Duration::from_secs(60 * 60);
    for (expiry, goes_on) in [(SystemTime::now(), true), (SystemTime::now() + hour, false)] {
        let (at_work, release) = (Arc::new(()), Arc::new(Notify::new()));
        let (_told, progress) = watch::channel(ProjectionProgress::default());
        let (held, released) = (at_work.clone(), release.clone());
        let work = async move {
            released.notified().await;
            drop(held);
            Ok::<_, ProjectionError>(report())
        };
        let name = ProjectionName::new("orders").unwrap();
        drop(told_by(name, Some(expiry), work, progress, |_, report| report));
        // That the caller is gone is seen by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&at_work) == 2, goes_on);
        release.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&at_work), 1);
    }
}

#[tokio::test]
async fn a_rebuild_that_fails_ends_the_stream_with_its_reason() {
    let poisoned = ProjectionError::Poisoned { stream: "orders/a".to_owned(), reason: "no".to_owned() };
    let diverged = ProjectionError::Diverged { version: 1, problem: "it ends at 3".to_owned() };
    for (outcome, accept, expected) in [
        (Ok(report()), false, (Code::FailedPrecondition, "PROJECTION_DIFFERS")),
        (Err(ProjectionError::Running), true, (Code::Aborted, "REBUILD_RUNNING")),
        (Err(poisoned), true, (Code::FailedPrecondition, "PROJECTION_POISONED")),
        (Err(diverged), true, (Code::FailedPrecondition, "PROJECTION_DIVERGED")),
        (Err(ProjectionError::NothingToRollBack), true, (Code::FailedPrecondition, "NOTHING_TO_ROLL_BACK")),
    ] {
        let (service, _) = service(Some(outcome));
        let mut stream = begin(&service, accept).await;
        let status = loop {
            match next(&mut stream).await.expect("an error before the end") {
                Ok(response) => assert_eq!(response.report, None),
                Err(status) => break status,
            }
        };
        assert_eq!(reason(&status), (expected.0, expected.1.to_owned()));
        assert!(next(&mut stream).await.is_none());
    }
}

#[tokio::test]
async fn what_can_be_wrong_with_a_retry_is_told_apart() {
    let (service, _) = service(None);
    let retry = |name: &str, stream: &str| {
        Request::new(proto::RetryParkedRequest { name: name.to_owned(), stream: stream.to_owned() })
    };
    let (orders, stream) = ("projections/orders", "orders/a");
    for (name, stream, expected) in [
        (orders, stream, (Code::NotFound, "STREAM_NOT_PARKED")),
        ("projections/others", stream, (Code::NotFound, "PROJECTION_NOT_FOUND")),
        ("orders", stream, (Code::InvalidArgument, "INVALID_FIELDS")),
        (orders, "", (Code::InvalidArgument, "INVALID_FIELDS")),
    ] {
        let status = service.retry_parked(retry(name, stream)).await.unwrap_err();
        assert_eq!(reason(&status), (expected.0, expected.1.to_owned()), "{name} {stream}");
    }
}
