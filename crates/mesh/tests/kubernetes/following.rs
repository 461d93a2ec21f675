//! Lists and watches, on paused time.

use std::time::Duration;

use meshwork::resolve::Resolver as _;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, resolved, slice, until};

/// Longer than a watch must last to count as one that works.
const A_WHILE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_service_is_listed_in_its_namespace_and_watched_from_there() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1", "-10.0.0.2"])]);
    let _watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    assert_eq!(api.count(), 0, "nothing is asked before the first resolution");
    assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080"]);
    let asked = api.asked(2).await;
    for request in &asked {
        assert_eq!(request.path, "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
        assert_eq!(request.query("labelSelector"), "kubernetes.io%2Fservice-name%3Dorders");
    }
    assert_eq!((asked[0].is_watch(), asked[0].query("limit"), asked[0].query("resourceVersion")), (false, "16", ""));
    assert_eq!((asked[1].is_watch(), asked[1].query("resourceVersion")), (true, "5"));
    assert_eq!(asked[1].query("allowWatchBookmarks"), "true");
    let seconds: u32 = asked[1].query("timeoutSeconds").parse().unwrap();
    assert!((180..240).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn without_a_namespace_it_is_that_of_the_client() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders:8080");
    assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080"]);
    assert_eq!(api.asked(1).await[0].path, "/apis/discovery.k8s.io/v1/namespaces/own/endpointslices");
}

#[tokio::test(start_paused = true)]
async fn a_list_may_come_in_pages() {
    let api = Api::new();
    api.page("5", "more", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    api.page("5", "", &[slice("two", "3", 8080, &["10.0.0.2"])]);
    let resolver = api.resolver("orders.shop:grpc");
    assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let asked = api.asked(3).await;
    assert_eq!((asked[0].query("continue"), asked[1].query("continue")), ("", "more"));
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "5"));
}

#[tokio::test(start_paused = true)]
async fn what_is_added_changed_and_removed_is_told_as_it_happens() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    watch.added(&slice("two", "6", 8081, &["-10.0.0.2"]));
    watch.modified(&slice("two", "7", 8081, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.1:8080", "10.0.0.2:8081"]).await;
    watch.modified(&slice("one", "8", 8080, &["-10.0.0.1", "10.0.0.3"]));
    until(&resolver, &["10.0.0.2:8081", "10.0.0.3:8080"]).await;
    watch.deleted(&slice("two", "9", 8081, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.3:8080"]).await;
    watch.modified(&slice("one", "10", 8080, &[]));
    until(&resolver, &[]).await;
    assert_eq!(api.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_is_not_told() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    watch.bookmark("6");
    watch.modified(&slice("one", "7", 8080, &["10.0.0.1", "-10.0.0.2"]));
    assert!(timeout(Duration::from_secs(100), resolver.changed()).await.is_err());
    watch.modified(&slice("one", "8", 8080, &["10.0.0.1", "10.0.0.2"]));
    until(&resolver, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_goes_on_from_the_last_version_without_a_list() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let first = api.watch();
    let second = api.watch();
    let third = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    first.modified(&slice("one", "7", 8080, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.2:8080"]).await;
    first.cut();
    let asked = api.asked(3).await;
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "7"));
    assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.2:8080"], "what was known stays");
    second.bookmark("9");
    sleep(A_WHILE).await;
    second.cut();
    let asked = api.asked(4).await;
    assert_eq!((asked[3].is_watch(), asked[3].query("resourceVersion")), (true, "9"));
    third.modified(&slice("one", "10", 8080, &["10.0.0.3"]));
    until(&resolver, &["10.0.0.3:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_when_it_should_is_followed_by_the_next_at_once() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let first = api.watch();
    let _second = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    first.bookmark("8");
    sleep(Duration::from_secs(170)).await;
    let ended = Instant::now();
    drop(first);
    let asked = api.asked(3).await;
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "8"));
    assert_eq!(asked[2].at, ended);
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_a_half_open_connection_is_given_up_within_minutes() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let silent = api.watch();
    let second = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    let begun = api.asked(2).await[1].at;
    let asked = api.asked(3).await;
    silent.given_up().await;
    let waited = asked[2].at - begun;
    assert!(waited > Duration::from_secs(180) && waited <= Duration::from_secs(250), "{waited:?}");
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "5"));
    second.modified(&slice("one", "6", 8080, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.2:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_leads_to_a_list_at_once() {
    for as_event in [true, false] {
        let api = Api::new();
        api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
        let first = api.watch();
        let gone = as_event.then(|| api.watch());
        if gone.is_none() {
            api.refuse(410, "too old resource version: 5 (90)");
        }
        api.list("95", &[slice("two", "94", 8080, &["10.0.0.2"])]);
        let last = api.watch();
        let resolver = api.resolver("orders.shop:grpc");
        until(&resolver, &["10.0.0.1:8080"]).await;
        api.asked(2).await;
        sleep(A_WHILE).await;
        drop(first);
        let began = api.asked(3).await[2].at;
        if let Some(gone) = gone {
            gone.error(410, "too old resource version: 5 (90)");
        }
        until(&resolver, &["10.0.0.2:8080"]).await;
        let asked = api.asked(5).await;
        assert_eq!((asked[3].is_watch(), asked[3].query("resourceVersion"), asked[3].at), (false, "", began));
        assert_eq!((asked[4].is_watch(), asked[4].query("resourceVersion")), (true, "95"));
        last.modified(&slice("two", "96", 8080, &["10.0.0.3"]));
        until(&resolver, &["10.0.0.3:8080"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_too_old_each_time_are_no_reason_to_ask_without_end() {
    let api = Api::new();
    for _ in 0..100 {
        api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
        api.refuse(410, "too old resource version");
    }
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    sleep(Duration::from_secs(120)).await;
    let count = api.count();
    assert!((10..=40).contains(&count), "{count} requests in two minutes");
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_asked_for_ever_more_seldom() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    for _ in 0..100 {
        drop(api.watch());
    }
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    sleep(Duration::from_secs(120)).await;
    let count = api.count();
    assert!((6..=25).contains(&count), "{count} requests in two minutes");
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_the_resolver() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    drop(resolver);
    watch.given_up().await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(api.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn several_resolutions_share_one_watch() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let _watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    let (one, other) = tokio::join!(resolved(&resolver), resolved(&resolver));
    assert_eq!(one, other);
    resolved(&resolver).await.unwrap();
    sleep(A_WHILE).await;
    assert_eq!(api.count(), 2);
}

/// Real time, because runtimes have no clock in common; it only bounds the waiting.
#[test]
fn c2_the_watch_goes_on_with_the_next_resolution_when_its_runtime_has_ended() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let _interrupted = api.watch();
    // Of the client.
    let other = runtime();
    let resolver = other.block_on(async { api.resolver("orders.shop:grpc") });
    let first = runtime();
    first.block_on(async {
        assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080"]);
        api.asked(2).await;
    });
    drop(first);
    let watch = api.watch();
    let next = runtime();
    next.block_on(async {
        assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080"]);
        let asked = api.asked(3).await;
        assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "5"));
        watch.added(&slice("two", "6", 8080, &["10.0.0.2"]));
        until(&resolver, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
    });
}
