//! `meshwork.admin.v1.CacheService`: what a service remembers, for staff.

use std::collections::BTreeMap;
use std::time::Duration;

use meshwork::errors::bounded;
use meshwork_aip::Violations;
use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::cache_service_server::CacheService;
use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::invalidate_cache_request::What;
use meshwork_api::{ProductName, UserName};
use meshwork_cache::{KindStats, LinkState, Miss, Stats, Tiers};
use tonic::{Code, Request, Response, Status};

use crate::Principal;
use crate::errors::ErrorKind;

/// The service caches nothing.
pub const CACHE_DISABLED: ErrorKind = ErrorKind::new(
    "CACHE_DISABLED",
    Code::FailedPrecondition,
    "The service caches nothing, by its setting `cache.enabled`: there is nothing to be dropped.",
);

/// The errors of the methods that a service with a cache has.
pub const CACHE_ERRORS: &[&ErrorKind] = &[&CACHE_DISABLED];

/// The most bytes of what is told of the link's problem.
const MAX_PROBLEM: usize = 400;

/// Tells what this instance of a service has cached, and drops it.
pub struct CacheGrpc {
    tiers: Option<Tiers>,
    service: &'static str,
    domain: &'static str,
    tags: &'static [&'static str],
}

/// What is to be dropped, checked.
enum Dropped {
    Key(&'static str, String),
    Tag(&'static str),
    Kind(&'static str),
}

impl CacheGrpc {
    /// The cache of `service`, `None` when it is disabled; `domain` is that of the service's errors.
    pub fn new(tiers: Option<Tiers>, service: &'static str, domain: &'static str) -> Self {
        Self { tiers, service, domain, tags: &[] }
    }

    /// Its entries have these tags.
    #[must_use]
    pub fn tags(self, tags: &'static [&'static str]) -> Self {
        Self { tags, ..self }
    }

    /// What a request wants to be dropped.
    fn checked(&self, tiers: &Tiers, what: Option<What>, violations: &mut Violations) -> Option<Dropped> {
        let kinds = tiers.kinds();
        match what {
            None => {
                violations.add("what", "must be one of key, tag and kind");
                None
            }
            Some(What::Key(name)) => {
                let resource = resource(&name).filter(|(kind, _)| kinds.contains(kind));
                if resource.is_none() {
                    let right =
                        "must be the name of something that this service caches, such as users/anna or products/lamp";
                    violations.add("key", right);
                }
                resource.map(|(kind, key)| Dropped::Key(kind, key))
            }
            Some(What::Tag(tag)) => known(self.tags, &tag, "tag", violations).map(Dropped::Tag),
            Some(What::Kind(kind)) => known(&kinds, &kind, "kind", violations).map(Dropped::Kind),
        }
    }
}

/// The kind and the key of a resource, by its name.
fn resource(name: &str) -> Option<(&'static str, String)> {
    if let Ok(user) = name.parse::<UserName>() {
        return Some(("users", user.id().to_owned()));
    }
    name.parse::<ProductName>().ok().map(|product| ("products", product.id().to_owned()))
}

/// That of the `all` which is `wanted`.
fn known(all: &[&'static str], wanted: &str, field: &'static str, violations: &mut Violations) -> Option<&'static str> {
    let found = all.iter().copied().find(|known| *known == wanted);
    if found.is_none() {
        match all {
            [] => violations.add(field, format_args!("must be left out: this service has no {field}s")),
            all => violations.add(field, format_args!("must be one of {}", all.join(", "))),
        }
    }
    found
}

#[tonic::async_trait]
impl CacheService for CacheGrpc {
    async fn get_cache_stats(&self, _: Request<pb::GetCacheStatsRequest>) -> Result<Response<pb::CacheStats>, Status> {
        let service = self.service.to_owned();
        Ok(Response::new(match &self.tiers {
            Some(tiers) => stats(service, tiers.stats()),
            None => pb::CacheStats { service, link: Link::None.into(), ..pb::CacheStats::default() },
        }))
    }

    async fn invalidate_cache(
        &self,
        request: Request<pb::InvalidateCacheRequest>,
    ) -> Result<Response<pb::InvalidateCacheResponse>, Status> {
        let by = Principal::of(&request).key();
        let Some(tiers) = &self.tiers else {
            let sentence = format!("the service {} caches nothing", self.service);
            return Err(CACHE_DISABLED.status(self.domain, sentence, &[("service", self.service)]));
        };
        let mut violations = Violations::new();
        let dropped = self.checked(tiers, request.into_inner().what, &mut violations);
        violations.finish(self.domain)?;
        match dropped {
            Some(Dropped::Key(kind, key)) => {
                tracing::info!(by, kind, key, "an entry of the cache is dropped");
                tiers.invalidate(kind, &key, None).await;
            }
            Some(Dropped::Tag(tag)) => {
                tracing::info!(by, tag, "what has a tag is dropped from the cache");
                tiers.invalidate_tag(tag, None).await;
            }
            Some(Dropped::Kind(kind)) => {
                tracing::info!(by, kind, "a kind is dropped from the cache");
                tiers.invalidate_kind(kind).await;
            }
            // It was refused.
            None => {}
        }
        Ok(Response::new(pb::InvalidateCacheResponse {}))
    }
}

fn stats(service: String, stats: Stats) -> pb::CacheStats {
    let Stats { link, tracking, problem, outages, queued, kinds } = stats;
    let link = match link {
        None => Link::None,
        Some(LinkState::Down) => Link::Down,
        Some(LinkState::CatchingUp) => Link::CatchingUp,
        Some(LinkState::Up) => Link::Up,
    };
    pb::CacheStats {
        service,
        enabled: true,
        link: link.into(),
        tracking,
        problem: problem.map(|problem| bounded(problem, MAX_PROBLEM)).unwrap_or_default(),
        outages: count(outages),
        queued_invalidations: i64::try_from(queued).unwrap_or(i64::MAX),
        kinds: kinds.into_iter().map(kind).collect(),
    }
}

fn kind(kind: KindStats) -> pb::KindStats {
    let misses: BTreeMap<_, _> =
        kind.misses.into_iter().map(|(why, misses)| (word(why).to_owned(), count(misses))).collect();
    pb::KindStats {
        kind: kind.kind,
        local_hits: count(kind.local_hits),
        remote_hits: count(kind.remote_hits),
        misses,
        loads: count(kind.loads),
        failed_loads: count(kind.failed_loads),
        load_time: duration(kind.load_time),
        coalesced: count(kind.coalesced),
        stale: count(kind.stale),
        refreshes: count(kind.refreshes),
        negatives: count(kind.negatives),
        oversized: count(kind.oversized),
        refused_fills: count(kind.refused_fills),
        puts: count(kind.puts),
        invalidations: count(kind.invalidations),
        local_entries: count(kind.local_entries),
        local_bytes: count(kind.local_bytes),
        oldest_hit: duration(kind.oldest_hit),
    }
}

/// A reason for misses, as callers read it.
fn word(why: Miss) -> &'static str {
    match why {
        Miss::Absent => "absent",
        Miss::Expired => "expired",
        Miss::Invalidated => "invalidated",
        Miss::Tombstone => "tombstone",
        Miss::NotFresh => "not_fresh",
        Miss::Undecodable => "undecodable",
        Miss::Bypassed => "bypassed",
        Miss::Uncacheable => "uncacheable",
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}
