//! What staff is told of a cache, and drops of it.

use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::cache_service_server::CacheService as _;
use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::admin::v1::invalidate_cache_request::What;
use meshwork_cache::{Loaded, Wanted};
use meshwork_chassis::cache::CacheGrpc;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::world::{Failed, TAGS, Thing, in_process, long};

const DOMAIN: &str = "tests.meshwork.dev";

fn asked(what: What) -> Request<pb::InvalidateCacheRequest> {
    Request::new(pb::InvalidateCacheRequest { what: Some(what) })
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let found = status.get_details_bad_request().unwrap().field_violations;
    found.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn staff_is_told_what_is_cached_and_drops_it_by_key_tag_and_kind() {
    let tiers = in_process();
    let cache = tiers.cache::<Thing, Failed>(long());
    let grpc = CacheGrpc::new(Some(tiers), "users", DOMAIN).tags(TAGS);
    let read = async || {
        let load = || async { Ok(Loaded { value: Some(Thing(1)), version: 1, position: None, keep: true }) };
        cache.read("anna", TAGS, Wanted::Recent, load).await.unwrap().unwrap();
    };
    let stats = async || grpc.get_cache_stats(Request::new(pb::GetCacheStatsRequest {})).await.unwrap().into_inner();
    for (loads, what) in [
        (1, What::Key("users/anna".to_owned())),
        (2, What::Tag("shelves".to_owned())),
        (3, What::Kind("users".to_owned())),
    ] {
        read().await;
        read().await;
        let told = stats().await;
        assert_eq!((told.service.as_str(), told.enabled, told.link()), ("users", true, Link::None));
        assert_eq!((told.kinds[0].kind.as_str(), told.kinds[0].loads), ("users", loads), "{what:?}");
        assert!(!told.kinds[0].misses.is_empty(), "the reasons are told");
        grpc.invalidate_cache(asked(what)).await.unwrap();
    }
    read().await;
    assert_eq!(stats().await.kinds[0].loads, 4);
}

#[tokio::test]
async fn what_a_service_does_not_cache_is_refused_by_its_field() {
    let tiers = in_process();
    let _cache = tiers.cache::<Thing, Failed>(long());
    let grpc = CacheGrpc::new(Some(tiers.clone()), "users", DOMAIN).tags(TAGS);
    for (what, field) in [
        (What::Key(String::new()), "key"),
        (What::Key("anna".to_owned()), "key"),
        (What::Key("users/".to_owned()), "key"),
        (What::Key("users/anna/x".to_owned()), "key"),
        (What::Key("products/lamp".to_owned()), "key"),
        (What::Tag("kind:users".to_owned()), "tag"),
        (What::Tag(String::new()), "tag"),
        (What::Kind("products".to_owned()), "kind"),
    ] {
        let refused = grpc.invalidate_cache(asked(what.clone())).await.unwrap_err();
        assert_eq!(fields(&refused), [field], "{what:?}");
    }
    let refused = grpc.invalidate_cache(Request::new(pb::InvalidateCacheRequest { what: None })).await.unwrap_err();
    assert_eq!(fields(&refused), ["what"]);
    let without_tags = CacheGrpc::new(Some(tiers), "users", DOMAIN);
    let refused = without_tags.invalidate_cache(asked(What::Tag("shelves".to_owned()))).await.unwrap_err();
    assert_eq!(fields(&refused), ["tag"]);
}

#[tokio::test]
async fn a_disabled_cache_says_so() {
    let grpc = CacheGrpc::new(None, "users", DOMAIN);
    let told = grpc.get_cache_stats(Request::new(pb::GetCacheStatsRequest {})).await.unwrap().into_inner();
    assert_eq!((told.enabled, told.link(), told.kinds), (false, Link::None, vec![]));
    let refused = grpc.invalidate_cache(asked(What::Kind("users".to_owned()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CACHE_DISABLED");
}
