//! An API server that refuses, is silent, or is away, on paused time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::api::{Api, resolved, slice, until};

#[tokio::test(start_paused = true)]
async fn a_refusal_says_which_role_is_needed_and_is_overcome_when_it_is_given() {
    let api = Api::new();
    let message =
        "endpointslices.discovery.k8s.io is forbidden: User \"system:serviceaccount:shop:gateway\" cannot list";
    api.refuse(403, message);
    api.refuse(403, message);
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders.shop:grpc");
    let error = resolved(&resolver).await.unwrap_err();
    for part in [
        "403",
        message,
        "a Role in the namespace shop",
        "get, list and watch",
        "endpointslices",
        "discovery.k8s.io",
        "RoleBinding",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    until(&resolver, &["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_may_list_but_not_watch_is_told_and_lists_again_and_again() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    api.refuse(403, "cannot watch");
    api.list("6", &[slice("one", "6", 8080, &["10.0.0.2"])]);
    api.refuse(403, "cannot watch");
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    until(&resolver, &["10.0.0.2:8080"]).await;
    let watches: Vec<_> = api.asked(4).await.iter().map(|request| request.is_watch()).collect();
    assert_eq!(watches, [false, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_token_is_told_and_may_be_known_later() {
    let api = Api::new();
    api.refuse(401, "Unauthorized");
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders.shop:grpc");
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("401") && error.contains("automountServiceAccountToken"), "{error}");
    until(&resolver, &["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_within_a_bound_and_asked_again() {
    let api = Api::new();
    let resolver = api.resolver("orders.shop:grpc");
    let begun = Instant::now();
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("gave no answer within 10s"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    until(&resolver, &["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_does_not_begin_is_asked_for_again() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    // The request for the watch is left without an answer; the next one gets one.
    api.asked(2).await;
    let watch = api.watch();
    let asked = api.asked(3).await;
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "5"));
    let waited = asked[2].at - asked[1].at;
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(12), "{waited:?}");
    watch.modified(&slice("one", "6", 8080, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.2:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_cannot_be_reached_is_told_with_the_cause() {
    let api = Api::new();
    api.unreachable();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders.shop:grpc");
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("nobody is there") && error.contains("NetworkPolicies"), "{error}");
    until(&resolver, &["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_the_last_answer_stays() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let first = api.watch();
    for _ in 0..4 {
        api.unreachable();
        api.refuse(503, "the server is currently unable to handle the request");
    }
    let second = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    sleep(Duration::from_secs(60)).await;
    first.cut();
    let asked = loop {
        assert_eq!(resolved(&resolver).await.unwrap(), ["10.0.0.1:8080"]);
        if api.count() >= 11 {
            break api.asked(11).await;
        }
        sleep(Duration::from_secs(1)).await;
    };
    assert!(
        asked[2..].iter().all(|request| request.is_watch() && request.query("resourceVersion") == "5"),
        "{asked:?}"
    );
    let waits: Vec<_> = asked[2..].windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits.iter().all(|wait| *wait > Duration::from_millis(100)), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(45)), "{waits:?}");
    second.modified(&slice("one", "6", 8080, &["10.0.0.2"]));
    until(&resolver, &["10.0.0.2:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_there_is_not_is_told_and_may_come() {
    let api = Api::new();
    api.list("5", &[]);
    let watch = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("kubernetes.io/service-name=orders in the namespace shop"), "{error}");
    api.asked(2).await;
    let slices = slice("one", "6", 8080, &["10.0.0.1"]);
    watch.added(&slices);
    until(&resolver, &["10.0.0.1:8080"]).await;
    watch.deleted(&slices);
    until(&resolver, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_there_is_not_is_told_with_those_that_there_are() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let watch = api.watch();
    let resolver = api.resolver("orders.shop:8081");
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("orders.shop has no TCP port 8081") && error.contains("grpc (8080)"), "{error}");
    api.asked(2).await;
    watch.modified(&slice("one", "6", 8081, &["10.0.0.1"]));
    until(&resolver, &["10.0.0.1:8081"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_of_something_in_the_way_is_told_in_part() {
    let api = Api::new();
    api.html(502, &format!("<html>bad gateway{}</html>", "x".repeat(100_000)));
    api.html(200, "<html>log in first</html>");
    api.list("", &[]);
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let resolver = api.resolver("orders.shop:grpc");
    let error = resolved(&resolver).await.unwrap_err();
    assert!(error.contains("502") && error.contains("bad gateway") && error.len() < 1000, "{error}");
    until(&resolver, &["10.0.0.1:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_does_not_come_again_and_again() {
    let api = Api::new();
    api.list("5", &[slice("one", "4", 8080, &["10.0.0.1"])]);
    let first = api.watch();
    api.list("7", &[slice("one", "7", 8080, &["10.0.0.2"])]);
    let _second = api.watch();
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    api.asked(2).await;
    first.garbled();
    until(&resolver, &["10.0.0.2:8080"]).await;
    let asked = api.asked(4).await;
    assert!(!asked[2].is_watch(), "{asked:?}");
    assert_eq!(asked[3].query("resourceVersion"), "7");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_an_api_server_does_not_know_yet_is_given_up() {
    for (code, message) in [
        (504, "Timeout: Too large resource version: 95, current: 40"),
        (500, "etcdserver: mvcc: required revision is a future revision"),
    ] {
        let api = Api::new();
        api.list("95", &[slice("one", "94", 8080, &["10.0.0.1"])]);
        api.refuse(code, message);
        api.list("40", &[slice("one", "39", 8080, &["10.0.0.2"])]);
        let _watch = api.watch();
        let resolver = api.resolver("orders.shop:grpc");
        until(&resolver, &["10.0.0.1:8080"]).await;
        until(&resolver, &["10.0.0.2:8080"]).await;
        assert_eq!(api.asked(4).await[3].query("resourceVersion"), "40");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_does_not_end_is_cut_off() {
    let api = Api::new();
    for page in 0..200 {
        api.page("5", &format!("page-{page}"), &[slice("one", "4", 8080, &["10.0.0.1"])]);
    }
    let resolver = api.resolver("orders.shop:grpc");
    until(&resolver, &["10.0.0.1:8080"]).await;
    let asked = api.asked(65).await;
    assert!(asked[..64].iter().all(|request| !request.is_watch()));
    assert_eq!((asked[64].is_watch(), asked[64].query("resourceVersion")), (true, "5"));
}
