//! Routes that change while the gateway runs.

use meshwork::server::health::Overall;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::http::client::ask;
use crate::routing::{RoutesFile, routes};
use crate::routing_added::{call, call_soon};
use crate::upstream::Upstream;
use crate::weather::{GET, Reflection, WEATHER, WeatherServer, descriptors};
use crate::world::{World, error, eventually, told};

const ALL_TO_NEXT: &str = r#"
    [[routes]]
    service = "meshwork.orders.v1.OrderService"
    to = [{ upstream = "next" }]
"#;

/// Whether a call goes to `next`; `None` when it goes nowhere.
async fn goes_to_next(world: &World, next: &Upstream) -> Option<bool> {
    let before = (world.orders.calls(), next.calls());
    world.get("anna", "orders/a").await.ok()?;
    let now = (world.orders.calls(), next.calls());
    assert_eq!(now.0 + now.1, before.0 + before.1 + 1);
    Some(now.1 > before.1)
}

async fn wait_until_goes_to_next(world: &World, next: &Upstream, is_next: bool) {
    eventually(async || (goes_to_next(world, next).await? == is_next).then_some(())).await;
}

/// Why calls don't go as the file says.
async fn problem(world: &World) -> String {
    let problem = eventually(async || {
        let report = world.registry.report();
        let check = report.checks.into_iter().find(|check| check.name == "routes").unwrap();
        check.last_problem.filter(|_| report.overall == Overall::Degraded)
    });
    problem.await.sentence
}

#[tokio::test]
async fn good_routes_take_effect_and_bad_ones_leave_those_before() {
    let next = Upstream::start().await;
    let file = RoutesFile::new("");
    let world = World::with_routes(&file.path()).await;
    wait_until_goes_to_next(&world, &next, false).await;
    file.write(&routes(&next, ALL_TO_NEXT));
    wait_until_goes_to_next(&world, &next, true).await;
    eventually(async || (world.registry.report().overall == Overall::Healthy).then_some(())).await;

    file.write(&routes(&next, "[[routes]]\nservices = \"meshwork.orders.v1.OrderService\""));
    let sentence = problem(&world).await;
    assert!(sentence.contains("routes.toml: line ") && sentence.contains("unknown field `services`"), "{sentence}");
    assert_eq!(goes_to_next(&world, &next).await, Some(true));
    assert!(world.registry.is_ready());

    // More likely than not whoever writes it has failed.
    file.write("");
    let emptied = async || problem(&world).await.contains("routes.toml is empty").then_some(());
    eventually(emptied).await;
    assert_eq!(goes_to_next(&world, &next).await, Some(true));

    file.write("# none");
    wait_until_goes_to_next(&world, &next, false).await;
    eventually(async || (world.registry.report().overall == Overall::Healthy).then_some(())).await;
}

#[tokio::test]
async fn calls_in_flight_end_as_they_began_when_their_upstream_is_taken_out() {
    let next = Upstream::start().await;
    let file = RoutesFile::new(&routes(&next, ALL_TO_NEXT));
    let world = World::with_routes(&file.path()).await;
    wait_until_goes_to_next(&world, &next, true).await;
    let before = next.calls();
    let mut stream = eventually(async || {
        world.client().watch_order(world.watch("orders/endless")).await.ok().map(tonic::Response::into_inner)
    })
    .await;
    assert!(stream.message().await.unwrap().is_some());
    let held = tokio::spawn({
        let (mut client, request) = (
            world.client(),
            world.request(
                "anna",
                meshwork_api::meshwork::orders::v1::GetOrderRequest {
                    name: "orders/held".to_owned(),
                    ..Default::default()
                },
            ),
        );
        async move { client.get_order(request).await }
    });
    eventually(async || (next.calls() == before + 2).then_some(())).await;
    file.write("# none");
    wait_until_goes_to_next(&world, &next, false).await;
    for _ in 0..2 {
        assert!(stream.message().await.unwrap().is_some());
    }
    next.orders.released.send(true).unwrap();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn services_come_and_go_with_their_upstream() {
    let server = WeatherServer::start(Reflection::None);
    let file = RoutesFile::new("");
    let world = World::with_routes(&file.path()).await;
    assert_eq!(told(&call(&world, GET, None).await.unwrap_err()), error(Code::Unimplemented, "METHOD_UNKNOWN"));
    file.put("weather.binpb", &descriptors());
    file.write(&format!("[upstreams.weather]\ntarget = \"{}\"\ndescriptors = \"weather.binpb\"", server.target()));
    eventually(async || call_soon(&world, GET, None).await.ok()).await;
    assert_eq!(ask(&world, "GET /v1/weather/Oslo", &[], b"").await.status, 200);
    world.health(WEATHER).await.unwrap();

    // The descriptors are followed, too.
    file.put("weather.binpb", b"nonsense");
    eventually(async || (world.registry.report().overall == Overall::Degraded).then_some(())).await;
    call(&world, GET, None).await.unwrap();

    file.write("# none");
    eventually(async || (call(&world, GET, None).await.err()?.code() == Code::Unimplemented).then_some(())).await;
    assert_eq!(ask(&world, "GET /v1/weather/Oslo", &[], b"").await.status, 404);
    assert_eq!(world.health(WEATHER).await.unwrap_err().code(), Code::NotFound);
    let document = ask(&world, "GET /openapi.json", &[], b"").await.json();
    assert!(document["paths"]["/v1/weather/{city}"].is_null() && document["paths"]["/v1/orders"].is_object());
}

/// Other contracts in a file of the same name.
fn namesake() -> Vec<u8> {
    let mut set = FileDescriptorSet::decode(&*descriptors()).unwrap();
    let file = set.file.iter_mut().find(|file| file.name() == "weather.proto").unwrap();
    file.service[0].name = Some("TidesService".to_owned());
    set.encode_to_vec()
}

#[tokio::test]
async fn contracts_that_do_not_fit_are_taken_as_soon_as_the_routes_let_them() {
    let server = WeatherServer::start(Reflection::V1);
    let file = RoutesFile::new("");
    file.put("tides.binpb", &namesake());
    let weather =
        format!("[upstreams.weather]\ntarget = \"{}\"\naccess = {{ \"{WEATHER}\" = [\"anyone\"] }}\n", server.target());
    let tides = "[upstreams.tides]\ntarget = \"http://127.0.0.1:1\"\ndescriptors = \"tides.binpb\"\n";
    file.write(&format!("{weather}{tides}"));
    let world = World::with_routes(&file.path()).await;
    let sentence = problem(&world).await;
    assert!(sentence.contains("upstreams.weather has another weather.proto than tides"), "{sentence}");
    assert_eq!(told(&call(&world, GET, None).await.unwrap_err()), error(Code::Unavailable, "CONTRACTS_PENDING"));
    // Nobody asks the weather again for minutes.
    file.write(&weather);
    eventually(async || call(&world, GET, None).await.ok()).await;
    eventually(async || (world.registry.report().overall == Overall::Healthy).then_some(())).await;
}
