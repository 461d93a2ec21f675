//! `meshwork.admin.v1.ProjectionService`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshwork_aip::{Violations, page};
use meshwork_api::ProjectionName;
use meshwork_api::meshwork::admin::v1 as proto;
use meshwork_api::meshwork::admin::v1::projection_service_server::ProjectionService;
use meshwork_chassis::auth::expiry_of;
use meshwork_chassis::clock::timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::errors::{DOMAIN, projection_status, unknown_projection};
use crate::ports::{
    Difference, ParkedStream, PartitionStatus, Phase, Projection, ProjectionError, ProjectionProgress,
    ProjectionReport, ProjectionStatus, VersionState, VersionStatus,
};

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long before a caller's credentials expire by our clock others may have cut it off for that.
const CLOCKS: Duration = Duration::from_secs(15);
/// How many parked streams a version lists.
const PARKED: usize = 100;
/// How many differing rows a report lists.
const DIFFERENCES: usize = 20;

/// The projections of this service, by name.
pub type All = BTreeMap<ProjectionName, Arc<dyn Projection>>;

/// The service's methods.
pub struct ProjectionGrpc {
    projections: All,
}

impl ProjectionGrpc {
    /// The methods over these projections.
    pub fn new(projections: All) -> Self {
        Self { projections }
    }

    /// The projection that a request names.
    fn named(&self, name: &str, mut violations: Violations) -> Result<(ProjectionName, Arc<dyn Projection>), Status> {
        let name: Option<ProjectionName> = violations.name(name, "name");
        violations.finish(DOMAIN)?;
        let found = name.and_then(|name| Some((self.projections.get(&name)?.clone(), name)));
        found.map(|(projection, name)| (name, projection)).ok_or_else(unknown_projection)
    }
}

async fn shown(name: &ProjectionName, projection: &dyn Projection) -> Result<proto::Projection, Status> {
    let status = projection.status().await.map_err(|error| projection_status(name, &error))?;
    Ok(to_proto(name, status))
}

#[tonic::async_trait]
impl ProjectionService for ProjectionGrpc {
    async fn get_projection(
        &self,
        request: Request<proto::GetProjectionRequest>,
    ) -> Result<Response<proto::Projection>, Status> {
        let (name, projection) = self.named(&request.get_ref().name, Violations::new())?;
        Ok(Response::new(shown(&name, projection.as_ref()).await?))
    }

    async fn list_projections(
        &self,
        request: Request<proto::ListProjectionsRequest>,
    ) -> Result<Response<proto::ListProjectionsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let wanted = page::read(request.page_size, &request.page_token, &[], &mut violations);
        violations.finish(DOMAIN)?;
        let behind = |name: &ProjectionName| wanted.after.as_deref().is_none_or(|after| name.id() > after);
        let names = self.projections.keys().filter(|name| behind(name)).take(wanted.size + 1).cloned().collect();
        // There are few, and what is listed of each is bounded.
        let page = page::Page::cut(names, wanted.size, |name: &ProjectionName| name.id().to_owned(), |_| 0);
        let mut projections = Vec::with_capacity(page.items.len());
        for name in &page.items {
            if let Some(projection) = self.projections.get(name) {
                projections.push(shown(name, projection.as_ref()).await?);
            }
        }
        let next_page_token = page::token(page.next.as_deref(), &[]);
        Ok(Response::new(proto::ListProjectionsResponse { projections, next_page_token }))
    }

    type RebuildProjectionStream = ReceiverStream<Result<proto::RebuildProjectionResponse, Status>>;

    async fn rebuild_projection(
        &self,
        request: Request<proto::RebuildProjectionRequest>,
    ) -> Result<Response<Self::RebuildProjectionStream>, Status> {
        let expiry = expiry_of(&request);
        let request = request.into_inner();
        let (name, projection) = self.named(&request.name, Violations::new())?;
        let accept = request.accept_differences;
        let (told, progress) = watch::channel(ProjectionProgress::default());
        let work = async move { projection.rebuild(accept, told).await };
        Ok(Response::new(told_by(name, expiry, work, progress, |progress, report| proto::RebuildProjectionResponse {
            progress: Some(progress),
            report,
        })))
    }

    type RollbackProjectionStream = ReceiverStream<Result<proto::RollbackProjectionResponse, Status>>;

    async fn rollback_projection(
        &self,
        request: Request<proto::RollbackProjectionRequest>,
    ) -> Result<Response<Self::RollbackProjectionStream>, Status> {
        let (name, projection) = self.named(&request.get_ref().name, Violations::new())?;
        let (told, progress) = watch::channel(ProjectionProgress::default());
        let expiry = expiry_of(&request);
        let work = async move { projection.rollback(told).await };
        Ok(Response::new(told_by(name, expiry, work, progress, |progress, report| proto::RollbackProjectionResponse {
            progress: Some(progress),
            report,
        })))
    }

    async fn retry_parked(
        &self,
        request: Request<proto::RetryParkedRequest>,
    ) -> Result<Response<proto::Projection>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        violations.text(&request.stream, "stream", 1, 200);
        let (name, projection) = self.named(&request.name, violations)?;
        projection.retry(&request.stream).await.map_err(|error| projection_status(&name, &error))?;
        Ok(Response::new(shown(&name, projection.as_ref()).await?))
    }
}

/// Does the work and tells how far it is, now and then; at last, what came of it. The work ends when the caller goes away, unless
/// the caller's credentials have expired, at `expiry`: they may not live for as long as there is work to do.
fn told_by<R: Send + 'static>(
    name: ProjectionName,
    expiry: Option<SystemTime>,
    work: impl Future<Output = Result<ProjectionReport, ProjectionError>> + Send + 'static,
    mut progress: watch::Receiver<ProjectionProgress>,
    response: impl Fn(proto::ProjectionProgress, Option<proto::ProjectionReport>) -> R + Send + 'static,
) -> ReceiverStream<Result<R, Status>> {
    let (responses, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut work = std::pin::pin!(work);
        let (mut next, mut is_alone) = (Instant::now(), false);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = responses.closed(), if !is_alone => {
                    is_alone = expiry.is_some_and(|expiry| SystemTime::now() + CLOCKS >= expiry);
                    if !is_alone {
                        return;
                    }
                    tracing::info!(%name, "work on a projection goes on, though its caller's credentials have expired");
                }
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + TELL_EVERY;
                    let seen = *progress.borrow_and_update();
                    // A caller that is slow to read must not hold up the work.
                    responses.try_send(Ok(response(progress_to_proto(seen), None))).ok();
                }
            }
        };
        if is_alone {
            match &outcome {
                Ok(report) => tracing::info!(%name, version = report.version, "work on a projection is done"),
                Err(error) => tracing::warn!(%name, %error, "work on a projection has failed"),
            }
            return;
        }
        let last = *progress.borrow();
        let last = match outcome {
            Ok(report) => {
                let done = ProjectionProgress { phase: Phase::Done, ..last };
                Ok(response(progress_to_proto(done), Some(report_to_proto(report))))
            }
            Err(error) => Err(projection_status(&name, &error)),
        };
        // The caller may have gone in the last moment.
        responses.send(last).await.ok();
    });
    ReceiverStream::new(stream)
}

fn to_proto(name: &ProjectionName, status: ProjectionStatus) -> proto::Projection {
    proto::Projection {
        name: name.to_string(),
        versions: status.versions.into_iter().map(version_to_proto).collect(),
        last_report: status.last_report.map(report_to_proto),
    }
}

fn version_to_proto(status: VersionStatus) -> proto::projection::Version {
    use proto::projection::version::{self, State};
    let state = match status.state {
        VersionState::Live => State::Live,
        VersionState::Building => State::Building,
        VersionState::Retired => State::Retired,
    };
    let partition = |PartitionStatus { partition, position, head }| version::Partition {
        partition: i32::from(partition),
        position,
        head,
        lag: (head - position).max(0),
    };
    let parked = |ParkedStream { stream, partition, position, reason }| version::ParkedStream {
        stream,
        partition: i32::from(partition),
        position,
        reason,
    };
    proto::projection::Version {
        version: status.version,
        state: state.into(),
        partitions: status.partitions.into_iter().map(partition).collect(),
        parked_streams: status.parked.into_iter().take(PARKED).map(parked).collect(),
        divergences: status.divergences,
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn progress_to_proto(progress: ProjectionProgress) -> proto::ProjectionProgress {
    use proto::projection_progress::Phase as Told;
    let phase = match progress.phase {
        Phase::Applying => Told::Applying,
        Phase::Comparing => Told::Comparing,
        Phase::Switching => Told::Switching,
        Phase::Done => Told::Done,
    };
    proto::ProjectionProgress {
        phase: phase.into(),
        applied_commits: count(progress.applied),
        total_commits: count(progress.total),
        compared_rows: count(progress.compared),
        differing_rows: count(progress.differing),
    }
}

fn report_to_proto(report: ProjectionReport) -> proto::ProjectionReport {
    let difference = |Difference { key, live, built }| proto::projection_report::Difference {
        key,
        live: live.unwrap_or_default(),
        built: built.unwrap_or_default(),
    };
    proto::ProjectionReport {
        version: report.version,
        previous_version: report.previous,
        applied_commits: count(report.commits),
        compared_rows: count(report.rows),
        differing_rows: count(report.differing),
        differences: report.differences.into_iter().take(DIFFERENCES).map(difference).collect(),
        complete_time: Some(timestamp(report.completed_at)),
    }
}

#[cfg(test)]
#[path = "projections_grpc_tests.rs"]
mod tests;
