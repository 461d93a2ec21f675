//! Routes by a file: by headers, by weight, and with copies for others.

use std::path::PathBuf;

use meshwork_api::meshwork::orders::v1::{CreateOrderRequest, GetOrderRequest};
use tempfile::TempDir;
use tonic::Code;

use crate::upstream::Upstream;
use crate::world::{World, error, eventually, told, with_token};

/// A file of routes.
pub struct RoutesFile {
    folder: TempDir,
}

impl RoutesFile {
    /// A file with this text.
    pub fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("routes.toml")
    }

    /// Puts another text in its place, as a whole.
    pub fn write(&self, text: &str) {
        self.put("routes.toml", text.as_bytes());
    }

    /// Puts a file beside it.
    pub fn put(&self, name: &str, content: &[u8]) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, self.folder.path().join(name)).unwrap();
    }
}

/// Routes of the orders service, with the upstream `next`.
pub fn routes(next: &Upstream, routes: &str) -> String {
    format!("[upstreams.next]\ntarget = \"{}\"\n{routes}", next.target())
}

/// Two orders services: calls go to the one, and by `text` to the other, `next`.
async fn world(text: &str) -> (World, Upstream, RoutesFile) {
    let next = Upstream::start().await;
    let file = RoutesFile::new(&routes(&next, text));
    let world = World::with_routes(&file.path()).await;
    // A channel connects when it is first followed; the first call would find it so or not.
    world
        .wait_for_health(crate::upstream::ORDERS, tonic_health::pb::health_check_response::ServingStatus::Serving)
        .await;
    for upstream in [&world.orders, &next] {
        upstream.orders.seen.lock().unwrap().clear();
    }
    (world, next, file)
}

/// Asks for an order with a header, once the upstreams are there.
async fn get(world: &World, user: &str, header: Option<(&'static str, &str)>) {
    eventually(async || {
        let mut request = world.request(user, GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
        if let Some((name, value)) = header {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        match world.get_with(request).await {
            Ok(_) => Some(()),
            Err(status) if status.code() == Code::Unavailable => None,
            Err(status) => panic!("{status:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_goes_by_the_first_route_whose_headers_it_has() {
    let (world, next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        headers = { x-canary = "never" }
        to = [{ upstream = "orders" }]

        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        method = "GetOrder"
        headers = { x-canary = { present = true }, x-user = { prefix = "beta-" } }
        to = [{ upstream = "next" }]

        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        headers = { x-canary = "always" }
        to = [{ upstream = "next" }]
        "#,
    )
    .await;
    for (header, is_next) in [
        (None, false),
        (Some(("x-canary", "always")), true),
        (Some(("x-canary", "Always")), false),
        (Some(("x-canary", "never")), false),
    ] {
        let before = (world.orders.calls(), next.calls());
        get(&world, "anna", header).await;
        let now = (before.0 + usize::from(!is_next), before.1 + usize::from(is_next));
        assert_eq!((world.orders.calls(), next.calls()), now, "{header:?}");
    }
    // All headers of a route must be there.
    let message = || GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() };
    for (user, canary, is_next) in [("beta-1", Some("x"), true), ("alpha", Some("x"), false), ("beta-1", None, false)] {
        let mut request = world.request("anna", message());
        request.metadata_mut().insert("x-user", user.parse().unwrap());
        if let Some(canary) = canary {
            request.metadata_mut().insert("x-canary", canary.parse().unwrap());
        }
        let before = next.calls();
        world.get_with(request).await.unwrap();
        assert_eq!(next.calls() - before, usize::from(is_next), "{user} {canary:?}");
    }
}

#[tokio::test]
async fn callers_stay_where_their_share_has_sent_them() {
    let (world, next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        to = [{ upstream = "orders", weight = 3 }, { upstream = "next", weight = 1 }]
        sticky = "caller"
        "#,
    )
    .await;
    let mut canaries = Vec::new();
    for at in 0..80 {
        let user = format!("user-{at}");
        let mut gone = Vec::new();
        for _ in 0..2 {
            let before = next.calls();
            get(&world, &user, None).await;
            gone.push(next.calls() > before);
        }
        assert_eq!(gone[0], gone[1], "{user}");
        canaries.extend(gone[0].then_some(user));
    }
    // By the SHA-256 of their names, which is the same each time.
    assert!((10..=30).contains(&canaries.len()), "{} of 80 users", canaries.len());
}

#[tokio::test]
async fn by_chance_both_get_calls_and_who_has_no_weight_gets_none() {
    let (world, next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        method = "GetOrder"
        headers = { x-all = "next" }
        to = [{ upstream = "orders", weight = 0 }, { upstream = "next", weight = 1 }]

        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        to = [{ upstream = "orders" }, { upstream = "next" }]
        "#,
    )
    .await;
    // That one of them gets nothing of a hundred calls happens once in 2^99 times.
    for _ in 0..100 {
        get(&world, "anna", None).await;
    }
    assert_eq!(world.orders.calls() + next.calls(), 100);
    assert!(world.orders.calls() > 0 && next.calls() > 0);
    let before = world.orders.calls();
    for _ in 0..20 {
        get(&world, "anna", Some(("x-all", "next"))).await;
    }
    assert_eq!(world.orders.calls(), before);
}

#[tokio::test]
async fn a_mirror_gets_copies_of_what_reads_without_the_callers_token() {
    let (world, next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        mirror = [{ upstream = "next" }]
        "#,
    )
    .await;
    // Of what changes something there is no copy, and it is the last that the mirror would get.
    let create = world.request("anna", CreateOrderRequest::default());
    assert_eq!(world.client().create_order(create).await.unwrap_err().code(), Code::Unimplemented);
    let copy = eventually(async || {
        get(&world, "anna", Some(("x-asked", "why"))).await;
        next.orders.seen.lock().unwrap().iter().find(|copy| copy.get("x-asked").is_some()).cloned()
    })
    .await;
    assert!(copy.get("authorization").is_none(), "{copy:?}");
    let original = world.orders.orders.seen.lock().unwrap()[0].clone();
    assert!(original.get("authorization").is_some());
    assert_eq!(world.orders.orders.created.lock().unwrap().len(), 1);
    assert!(next.orders.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_mirror_gets_what_its_settings_say() {
    let (world, next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        mirror = [{ upstream = "next", percent = 100, keep_authorization = true, side_effects = true }]
        "#,
    )
    .await;
    eventually(async || {
        let create = world.request("anna", CreateOrderRequest::default());
        assert_eq!(world.client().create_order(create).await.unwrap_err().code(), Code::Unimplemented);
        (!next.orders.created.lock().unwrap().is_empty()).then_some(())
    })
    .await;
    assert!(next.orders.created.lock().unwrap()[0].get("authorization").is_some());
}

#[tokio::test]
async fn a_canary_that_is_down_fails_its_own_calls_alone_and_with_a_time_to_retry() {
    let (world, mut next, _file) = world(
        r#"
        [[routes]]
        service = "meshwork.orders.v1.OrderService"
        headers = { x-canary = "always" }
        to = [{ upstream = "next" }]
        "#,
    )
    .await;
    get(&world, "anna", Some(("x-canary", "always"))).await;
    next.kill();
    let status = eventually(async || {
        let mut request = with_token(
            &world.issuer.token("anna", "customer"),
            GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() },
        );
        request.metadata_mut().insert("x-canary", "always".parse().unwrap());
        world.get_with(request).await.err()
    })
    .await;
    assert_eq!(told(&status), error(Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert_eq!(details.error_info().unwrap().metadata["upstream"], "next");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    world.get("anna", "orders/a").await.unwrap();
    assert!(world.registry.is_ready());
}
