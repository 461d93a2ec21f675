//! `meshwork projections`: how what is made of events is, made anew, and taken back.

mod print;

use std::time::Duration;

use meshwork::Channel;
use meshwork_api::meshwork::admin::v1::projection_service_client::ProjectionServiceClient;
use meshwork_api::meshwork::admin::v1::{
    GetProjectionRequest, ProjectionProgress, ProjectionReport, RebuildProjectionRequest, RetryParkedRequest,
    RollbackProjectionRequest,
};
use meshwork_api::meshwork::users::v1::SignInRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_chassis::ClientConfig;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status, Streaming};

use crate::cli::{Output, ProjectionsArgs, ProjectionsCommand};
use crate::failure::Failure;
use crate::state::{local_port, staff_credentials};

/// How long one call may take that is no stream.
const CALL: Duration = Duration::from_secs(30);
/// How long a stream may be silent: it tells how far it is several times a second.
const SILENCE: Duration = Duration::from_secs(60);

/// Carries out a command of `meshwork projections`.
///
/// # Errors
/// When the call fails, or the projection is refused its change.
pub async fn run(args: ProjectionsArgs) -> Result<(), Failure> {
    let ProjectionsArgs { command, target, staff_credentials: file, output } = args;
    let target = target.trim_end_matches('/');
    let channel = ClientConfig::default().channel("--target", target)?;
    let staff = staff_credentials(file.as_deref(), local_port(target))?;
    let request = SignInRequest { email: staff.email, password: staff.password.expose().to_owned() };
    let session = within(AuthServiceClient::new(channel.clone()).sign_in(request)).await?.into_inner();
    let token = format!("Bearer {}", session.access_token).parse();
    let token = token.map_err(|_| told(&Status::internal("the access token can't be sent as a header")))?;
    let admin = Admin { channel, token };
    let print = |json: serde_json::Value, text: String| match output {
        Output::Json => println!("{json}"),
        Output::Text => print!("{text}"),
    };
    match command {
        ProjectionsCommand::Status { projection } => {
            let request = admin.with(GetProjectionRequest { name: name(&projection) });
            let projection = within(admin.client().get_projection(request)).await?.into_inner();
            print(print::projection_json(&projection), print::projection_text(&projection));
        }
        ProjectionsCommand::Rebuild { projection, accept_differences } => {
            let request = RebuildProjectionRequest { name: name(&projection), accept_differences };
            let responses = within(admin.client().rebuild_projection(admin.with(request))).await?.into_inner();
            let report = follow(responses, |response| (response.progress, response.report)).await?;
            print(print::report_json(&report), print::report_text("rebuilt", &report));
        }
        ProjectionsCommand::Rollback { projection } => {
            let request = RollbackProjectionRequest { name: name(&projection) };
            let responses = within(admin.client().rollback_projection(admin.with(request))).await?.into_inner();
            let report = follow(responses, |response| (response.progress, response.report)).await?;
            print(print::report_json(&report), print::report_text("rolled back", &report));
        }
        ProjectionsCommand::Retry { projection, stream } => {
            let request = admin.with(RetryParkedRequest { name: name(&projection), stream });
            let projection = within(admin.client().retry_parked(request)).await?.into_inner();
            print(print::projection_json(&projection), print::projection_text(&projection));
        }
    }
    Ok(())
}

/// Staff at the gateway.
struct Admin {
    channel: Channel,
    token: MetadataValue<Ascii>,
}

impl Admin {
    fn client(&self) -> ProjectionServiceClient<Channel> {
        ProjectionServiceClient::new(self.channel.clone())
    }

    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }
}

/// The resource name of a projection, given with or without its collection.
fn name(projection: &str) -> String {
    if projection.contains('/') { projection.to_owned() } else { format!("projections/{projection}") }
}

fn told(status: &Status) -> Failure {
    Failure::new(
        format!("{} ({})", status.message(), status.code()),
        "look whether `meshwork up` runs at the target, and into its log; `meshwork projections status` shows what is",
    )
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map_err(|status| told(&status)),
        Err(_) => {
            Err(Failure::new(format!("no answer within {} s", CALL.as_secs()), "look into the log of the target"))
        }
    }
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
        let Some(response) = next.map_err(|status| told(&status))? else {
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

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_projection_is_named_with_or_without_its_collection() {
        assert_eq!(name("orders"), "projections/orders");
        assert_eq!(name("projections/orders"), "projections/orders");
    }
}
