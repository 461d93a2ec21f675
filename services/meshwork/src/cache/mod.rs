//! `meshwork cache`: how caches do, and what is dropped from them.

mod print;

use meshwork::Channel;
use meshwork_api::meshwork::admin::v1::cache_service_client::CacheServiceClient;
use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::invalidate_cache_request::What;
use meshwork_api::meshwork::admin::v1::{CacheStats, GetCacheStatsRequest, InvalidateCacheRequest};
use meshwork_gateway::domain::SERVICE;
use print::{Dropped, Propagation};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::admin::{self, Admin, answered, told, within};
use crate::cli::{CacheArgs, CacheCommand, Caching, Output};
use crate::failure::Failure;

/// Carries out a command of `meshwork cache`.
///
/// # Errors
/// When a service can't be asked, or there is nothing that could be dropped.
pub async fn run(args: CacheArgs) -> Result<(), Failure> {
    let admin = Admin::sign_in(&args.admin).await?;
    carry_out(&admin, args.command, args.admin.output).await
}

async fn carry_out(admin: &Admin, command: CacheCommand, output: Output) -> Result<(), Failure> {
    match command {
        CacheCommand::Stats { service } => stats(admin, service, output).await,
        CacheCommand::Invalidate { key, tag, kind, service } => {
            let what = key.map(What::Key).or(tag.map(What::Tag)).or(kind.map(What::Kind));
            // The command line asks for one of them.
            let what = what.ok_or_else(|| Failure::new("nothing is named", "name it with --key, --tag or --kind"))?;
            invalidate(admin, &what, service, output).await
        }
    }
}

/// Prints what a service has counted, or each.
async fn stats(admin: &Admin, service: Option<Caching>, output: Output) -> Result<(), Failure> {
    let (counted, failed) = gathered(admin, service).await;
    if !counted.is_empty() {
        let unasked: Vec<_> = failed.iter().map(|(service, failure)| (*service, failure.sentence())).collect();
        admin::print(output, &print::stats_json(&counted, &unasked), &print::stats_text(&counted));
    }
    // Something is missing, which a script must notice too.
    unasked(&failed)
}

/// A service that was asked for what it has counted.
type Counted = (Caching, CacheStats);
/// A service that could not be asked, and why.
type Failed = (Caching, Failure);

async fn gathered(admin: &Admin, service: Option<Caching>) -> (Vec<Counted>, Vec<Failed>) {
    let (mut counted, mut failed) = (Vec::new(), Vec::new());
    for service in services(service) {
        let request = to(admin, service, GetCacheStatsRequest {});
        match within(client(admin).get_cache_stats(request)).await {
            Ok(stats) => counted.push((service, stats.into_inner())),
            Err(failure) => failed.push((service, failure)),
        }
    }
    (counted, failed)
}

/// Drops `what` in the service that is named, in that of the key, or in each that knows the tag or kind.
async fn invalidate(admin: &Admin, what: &What, service: Option<Caching>, output: Output) -> Result<(), Failure> {
    let service = match (service, what) {
        (None, What::Key(key)) => Some(of_collection(key)?),
        (service, _) => service,
    };
    let (mut dropped, mut refused, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for service in services(service) {
        let request = to(admin, service, InvalidateCacheRequest { what: Some(what.clone()) });
        match answered(client(admin).invalidate_cache(request)).await {
            Ok(Ok(_)) => dropped.push(Dropped { service, propagation: propagation(admin, service).await }),
            Ok(Err(status)) if has_none(&status) => refused.push((service, told(&status))),
            Ok(Err(status)) => failed.push((service, told(&status))),
            Err(failure) => failed.push((service, failure)),
        }
    }
    if !dropped.is_empty() {
        admin::print(output, &print::dropped_json(&dropped), &print::dropped_text(what, &dropped));
    }
    unasked(&failed)?;
    if dropped.is_empty() {
        return Err(nobody_has_it(&refused));
    }
    Ok(())
}

/// Whether the Redis behind a service, which has just dropped something, has been told.
async fn propagation(admin: &Admin, service: Caching) -> Propagation {
    match within(client(admin).get_cache_stats(to(admin, service, GetCacheStatsRequest {}))).await {
        Ok(stats) => match stats.into_inner().link() {
            Link::Up | Link::None => Propagation::Done,
            Link::Down | Link::CatchingUp => Propagation::Queued,
            Link::Unspecified => Propagation::Unknown,
        },
        Err(failure) => {
            tracing::debug!(service = service.as_str(), %failure, "how a service stands to Redis can't be asked");
            Propagation::Unknown
        }
    }
}

/// Whether a service says that it caches nothing by that name, or nothing at all.
fn has_none(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition)
}

/// The service whose collection a resource name begins with.
fn of_collection(key: &str) -> Result<Caching, Failure> {
    let collection = key.split_once('/').map(|(collection, _)| collection);
    let service = Caching::ALL.into_iter().find(|service| Some(service.as_str()) == collection);
    service.ok_or_else(|| {
        Failure::new("the value of --key is no name of what is cached", "write one such as users/anna or products/lamp")
    })
}

fn services(service: Option<Caching>) -> Vec<Caching> {
    service.map_or_else(|| Caching::ALL.to_vec(), |service| vec![service])
}

fn client(admin: &Admin) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(admin.channel())
}

/// A request that the gateway passes on to a service.
fn to<T>(admin: &Admin, service: Caching, message: T) -> Request<T> {
    let mut request = admin.with(message);
    request.metadata_mut().insert(SERVICE, MetadataValue::from_static(service.as_str()));
    request
}

fn unasked(failed: &[Failed]) -> Result<(), Failure> {
    let Some((_, first)) = failed.first() else { return Ok(()) };
    Err(Failure::new(sentences(failed, "can't be asked"), first.hint()))
}

fn nobody_has_it(refused: &[Failed]) -> Failure {
    Failure::new(
        format!("nothing was dropped: {}", sentences(refused, "refuses")),
        "`meshwork cache stats` shows which kinds each service has",
    )
}

fn sentences(services: &[Failed], verb: &str) -> String {
    let sentences =
        services.iter().map(|(service, failure)| format!("{} {verb}: {}", service.as_str(), failure.sentence()));
    sentences.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
