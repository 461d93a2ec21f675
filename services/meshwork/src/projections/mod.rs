//! `meshwork projections`: how what is made of events is, made anew, and taken back.

mod print;

use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::admin::v1::projection_service_client::ProjectionServiceClient;
use meshwork_api::meshwork::admin::v1::{
    GetProjectionRequest, ProjectionProgress, ProjectionReport, RebuildProjectionRequest, RetryParkedRequest,
    RollbackProjectionRequest,
};
use tonic::{Code, Status, Streaming};

use crate::admin::{self, Admin, told, within};
use crate::cli::{ProjectionsArgs, ProjectionsCommand};
use crate::failure::Failure;

/// How long a stream may be silent: it tells how far it is several times a second.
const SILENCE: Duration = Duration::from_secs(60);

/// Carries out a command of `meshwork projections`.
///
/// # Errors
/// When the call fails, or the projection is refused its change.
pub async fn run(args: ProjectionsArgs) -> Result<(), Failure> {
    let ProjectionsArgs { command, admin: at } = args;
    let admin = Admin::sign_in(&at).await?;
    let client = || ProjectionServiceClient::<Channel>::new(admin.channel());
    let print = |json: serde_json::Value, text: String| admin::print(at.output, &json, &text);
    match command {
        ProjectionsCommand::Status { projection } => {
            let request = admin.with(GetProjectionRequest { name: name(&projection) });
            let projection = within(client().get_projection(request)).await?.into_inner();
            print(print::projection_json(&projection), print::projection_text(&projection));
        }
        ProjectionsCommand::Rebuild { projection, accept_differences } => {
            let request = RebuildProjectionRequest { name: name(&projection), accept_differences };
            let responses = within(client().rebuild_projection(admin.with(request))).await?.into_inner();
            let report = follow(responses, |response| (response.progress, response.report)).await?;
            print(print::report_json(&report), print::report_text("rebuilt", &report));
        }
        ProjectionsCommand::Rollback { projection } => {
            let request = RollbackProjectionRequest { name: name(&projection) };
            let responses = within(client().rollback_projection(admin.with(request))).await?.into_inner();
            let report = follow(responses, |response| (response.progress, response.report)).await?;
            print(print::report_json(&report), print::report_text("rolled back", &report));
        }
        ProjectionsCommand::Retry { projection, stream } => {
            let request = admin.with(RetryParkedRequest { name: name(&projection), stream });
            let projection = within(client().retry_parked(request)).await?.into_inner();
            print(print::projection_json(&projection), print::projection_text(&projection));
        }
    }
    Ok(())
}

/// The resource name of a projection, given with or without its collection.
fn name(projection: &str) -> String {
    if projection.contains('/') { projection.to_owned() } else { format!("projections/{projection}") }
}

/// Shows how far the work is, on a terminal, and returns what came of it.
async fn follow<R>(
    mut responses: Streaming<R>,
    parts: impl Fn(R) -> (Option<ProjectionProgress>, Option<ProjectionReport>),
) -> Result<ProjectionReport, Failure> {
    let mut line = print::Line::new();
    loop {
        let next = tokio::time::timeout(SILENCE, responses.message()).await;
        let next = next.map_err(|_| {
            Failure::new(format!("nothing was told for {} s", SILENCE.as_secs()), "look into the log of the target")
        })?;
        let Some(response) = next.map_err(|status| cut_off(&status))? else {
            return Err(told(&Status::internal("the stream has ended without a report")));
        };
        let (progress, report) = parts(response);
        if let Some(progress) = progress {
            line.show(&progress);
        }
        if let Some(report) = report {
            return Ok(report);
        }
    }
}

/// What people are told of a stream that was cut off.
fn cut_off(status: &Status) -> Failure {
    if status.code() != Code::Unauthenticated {
        return told(status);
    }
    // It had been admitted: its token has expired since.
    Failure::new(
        "the work takes longer than a session holds, and goes on by itself",
        "`meshwork projections status` tells how far it is and what is live, and the log of the orders service how it ends",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_outlives_their_session_is_told_that_the_work_goes_on() {
        assert!(cut_off(&Status::unauthenticated("expired")).sentence().contains("goes on by itself"));
        assert_eq!(cut_off(&Status::aborted("it runs")).sentence(), "it runs");
    }

    #[test]
    fn a_projection_is_named_with_or_without_its_collection() {
        assert_eq!(name("orders"), "projections/orders");
        assert_eq!(name("projections/orders"), "projections/orders");
    }
}
