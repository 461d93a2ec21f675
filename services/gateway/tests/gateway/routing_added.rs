//! Upstreams that the gateway wasn't built with, by a file of descriptors and by reflection.

use ::http::uri::PathAndQuery;
use meshwork_chassis::CancellationToken;
use meshwork_chassis::Health;
use meshwork_gateway::Config;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::http::client::{ask, ask_as_anna};
use crate::routing::RoutesFile;
use crate::weather::{ERASE, GET, REPORT, Reflection, SYNC, WATCH, WEATHER, Weather, WeatherServer, descriptors};
use crate::world::{World, error, eventually, told};

/// Calls a method of the weather, as somebody of a role or without a token.
pub async fn call(world: &World, path: &'static str, role: Option<&str>) -> Result<Weather, Status> {
    let mut client = Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    let weather = Weather { city: "Oslo".to_owned(), sky: String::new() };
    let request =
        role.map_or_else(|| Request::new(weather.clone()), |role| world.request_of("anna", role, weather.clone()));
    let codec = ProstCodec::<Weather, Weather>::default();
    Ok(client.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// As [`call`], once the upstream is there.
pub async fn call_soon(world: &World, path: &'static str, role: Option<&str>) -> Result<Weather, Status> {
    eventually(async || match call(world, path, role).await {
        Err(status) if status.code() == Code::Unavailable => None,
        other => Some(other),
    })
    .await
}

#[track_caller]
fn assert_is_sunny(answer: Result<Weather, Status>) {
    assert_eq!(answer.unwrap(), Weather { city: "Oslo".to_owned(), sky: "sunny".to_owned() });
}

#[track_caller]
fn assert_failed<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) {
    assert_eq!(told(&answer.unwrap_err()), error(code, reason));
}

/// What reflection names.
async fn listed(world: &World) -> Vec<String> {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    list.service.into_iter().map(|service| service.name).collect()
}

/// A gateway with the weather by a file of descriptors.
async fn by_file(server: &WeatherServer, more: &str) -> (World, RoutesFile) {
    let file = RoutesFile::new("");
    file.put("weather.binpb", &descriptors());
    let target = server.target();
    file.write(&format!("[upstreams.weather]\ntarget = \"{target}\"\ndescriptors = \"weather.binpb\"\n{more}"));
    (World::with_routes(&file.path()).await, file)
}

#[tokio::test]
async fn a_service_by_a_file_is_called_as_its_options_say() {
    let server = WeatherServer::start(Reflection::None);
    let (world, _file) = by_file(&server, "").await;
    world.wait_for_health(WEATHER, ServingStatus::Serving).await;
    assert_is_sunny(call_soon(&world, GET, None).await);
    assert_is_sunny(call(&world, GET, Some("customer")).await);
    let seen = server.asked.lock().unwrap().pop().unwrap();
    assert!(seen.get("authorization").is_some() && seen.get("meshwork-client-address").is_some(), "{seen:?}");
    assert_failed(call(&world, REPORT, None).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    assert_failed(call(&world, REPORT, Some("customer")).await, Code::PermissionDenied, "NOT_ALLOWED");
    assert_is_sunny(call(&world, REPORT, Some("staff")).await);
    for role in ["customer", "staff", "service"] {
        // What is for services alone is for nobody here, unless the routes say it.
        for path in [ERASE, SYNC] {
            assert_failed(call(&world, path, Some(role)).await, Code::PermissionDenied, "NOT_ALLOWED");
        }
    }
    let listed = listed(&world).await;
    for service in [WEATHER, "meshwork.orders.v1.OrderService"] {
        assert!(listed.iter().any(|name| name == service), "{service}: {listed:?}");
    }
}

#[tokio::test]
async fn the_file_of_routes_says_more_exactly_who_may_call() {
    let server = WeatherServer::start(Reflection::None);
    let access =
        format!("access = {{ \"{WEATHER}/GetWeather\" = [\"staff\"], \"{WEATHER}/EraseWeather\" = [\"customer\"] }}");
    let (world, _file) = by_file(&server, &access).await;
    assert_failed(call(&world, GET, Some("customer")).await, Code::PermissionDenied, "NOT_ALLOWED");
    assert_is_sunny(call_soon(&world, GET, Some("staff")).await);
    assert_is_sunny(call(&world, ERASE, Some("customer")).await);
    assert_failed(call(&world, ERASE, Some("staff")).await, Code::PermissionDenied, "NOT_ALLOWED");
}

#[tokio::test]
async fn a_service_by_a_file_is_called_by_json_by_connect_and_in_a_stream() {
    let server = WeatherServer::start(Reflection::None);
    let (world, _file) = by_file(&server, "").await;
    assert_is_sunny(call_soon(&world, GET, None).await);
    let answer = ask(&world, "GET /v1/weather/Oslo", &[], b"").await;
    assert_eq!((answer.status, answer.json()["sky"].as_str()), (200, Some("sunny")), "{answer:?}");
    let json = [("content-type", "application/json")];
    let answer = ask(&world, "POST /weather.v1.WeatherService/GetWeather", &json, br#"{"city": "Oslo"}"#).await;
    assert_eq!((answer.status, answer.json()["sky"].as_str()), (200, Some("sunny")), "{answer:?}");
    let answer = ask_as_anna(&world, "GET /v1/weather/Oslo:watch", &[], b"").await;
    assert_eq!(String::from_utf8(answer.body).unwrap().matches("sunny").count(), 3);
    assert_eq!(ask(&world, "POST /v1/weather", &json, b"{}").await.status, 401);
    // What the shop's own paths say stays theirs.
    let before = world.orders.calls();
    assert_eq!(ask_as_anna(&world, "GET /v1/orders/weather", &[], b"").await.status, 200);
    assert_eq!(world.orders.calls(), before + 1);

    let document = ask(&world, "GET /openapi.json", &[], b"").await.json();
    let operation = &document["paths"]["/v1/weather/{city}"]["get"];
    assert_eq!(operation["summary"], "Tells the weather of a city");
    assert_eq!(operation["x-callers"], serde_json::json!(["ANYONE"]));
    assert!(document["paths"]["/v1/orders"].is_object());

    let mut client = Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<Weather, Weather>::default();
    let request = world.request("anna", Weather::default());
    let stream = client.server_streaming(request, PathAndQuery::from_static(WATCH), codec).await.unwrap();
    assert_eq!(stream.into_inner().map(Result::unwrap).collect::<Vec<_>>().await.len(), 3);
}

#[tokio::test]
async fn a_service_by_reflection_is_open_by_the_file_of_routes_alone() {
    for reflection in [Reflection::V1, Reflection::V1Alpha] {
        let mut server = WeatherServer::stopped(reflection);
        let file = RoutesFile::new(&format!(
            "[upstreams.weather]\ntarget = \"{}\"\naccess = {{ \"{WEATHER}/ReportWeather\" = [\"signed_in\"] }}\n\
             http_paths = [\"/v1/weather\"]",
            server.target()
        ));
        let world = World::with_routes(&file.path()).await;
        assert_failed(call(&world, REPORT, Some("customer")).await, Code::Unavailable, "CONTRACTS_PENDING");
        assert_eq!(world.health(WEATHER).await.unwrap(), ServingStatus::NotServing);
        assert!(world.registry.is_ready());
        server.restart();
        assert_is_sunny(call_soon(&world, REPORT, Some("customer")).await);
        world.wait_for_health(WEATHER, ServingStatus::Serving).await;
        // Its options say that everybody may.
        assert_failed(call(&world, GET, Some("staff")).await, Code::PermissionDenied, "NOT_ALLOWED");
        assert_failed(call(&world, REPORT, None).await, Code::Unauthenticated, "NOT_SIGNED_IN");
        assert!(listed(&world).await.iter().any(|name| name == WEATHER));
        let json = [("content-type", "application/json")];
        let answer = ask_as_anna(&world, "POST /v1/weather", &json, br#"{"city": "Oslo"}"#).await;
        assert_eq!((answer.status, answer.json()["sky"].as_str()), (200, Some("sunny")), "{answer:?}");
    }
}

#[tokio::test]
async fn paths_by_reflection_are_those_that_the_file_of_routes_permits() {
    let server = WeatherServer::start(Reflection::V1);
    let json = [("content-type", "application/json")];
    let paths = async |http_paths: &str| {
        let file = RoutesFile::new(&format!(
            "[upstreams.weather]\ntarget = \"{}\"\naccess = {{ \"{WEATHER}\" = [\"anyone\"] }}\n{http_paths}",
            server.target()
        ));
        let world = World::with_routes(&file.path()).await;
        // What is no gRPC goes by new contracts before the health is told.
        world.wait_for_health(WEATHER, ServingStatus::Serving).await;
        assert_is_sunny(call_soon(&world, GET, None).await);
        let connect = "POST /weather.v1.WeatherService/GetWeather";
        assert_eq!(ask(&world, connect, &json, br#"{"city": "Oslo"}"#).await.status, 200);
        let get = ask(&world, "GET /v1/weather/Oslo", &[], b"").await.status;
        let report = ask(&world, "POST /v1/weather", &json, br#"{"city": "Oslo"}"#).await.status;
        let document = ask(&world, "GET /openapi.json", &[], b"").await.json();
        let paths = document["paths"].as_object().unwrap().keys().filter(|path| path.contains("weather"));
        (get, report, paths.cloned().collect::<Vec<_>>())
    };
    assert_eq!(paths("").await, (404, 404, Vec::new()));
    assert_eq!(paths("http_paths = [\"/weather/\"]").await, (404, 404, Vec::new()));
    // Those of the shop aren't for others to have, whatever the file permits.
    for all in ["http_paths = [\"/\"]", "http_paths = [\"/v1/weather\", \"/v1/orders\"]"] {
        let (get, report, mut paths) = paths(all).await;
        paths.sort();
        let expected = ["/v1/weather", "/v1/weather/{city}", "/v1/weather/{city}:watch"];
        assert_eq!((get, report, paths), (200, 200, expected.map(str::to_owned).to_vec()), "{all}");
    }
}

/// What a gateway with these routes says instead of serving.
async fn refused(file: &RoutesFile) -> String {
    let config = Config {
        listen: meshwork_chassis::config::Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        routes: file.path(),
        ..Config::default()
    };
    let served = meshwork_gateway::serve(config, Health::new(), CancellationToken::new());
    let refused = tokio::time::timeout(crate::world::BOUND, served).await.expect("it ends in time").unwrap_err();
    assert!(refused.hint.contains("`gateway.routes`"), "{refused:?}");
    refused.sentence
}

#[tokio::test]
async fn routes_that_cannot_be_used_stop_the_start() {
    let file = RoutesFile::new("[upstreams.weather]\ntarget = \"http://127.0.0.1:1\"\ndescriptors = \"no.binpb\"");
    let sentence = refused(&file).await;
    assert!(sentence.contains("routes.toml: upstreams.weather.descriptors names "), "{sentence}");
    file.put("no.binpb", b"nonsense");
    assert!(refused(&file).await.contains("is no encoded FileDescriptorSet"));
    file.write("[[routes]]\nservice = \"meshwork.orders.v1.OrderService\"\nto = [{ upstream = \"next\" }]");
    let sentence = refused(&file).await;
    assert!(sentence.contains("routes.toml: routes[0].to names the upstream next; there are users, "), "{sentence}");
    // The shop's own services are not for others to have.
    file.write(
        "[upstreams.next]\ntarget = \"http://127.0.0.1:1\"\n\
         access = { \"meshwork.orders.v1.OrderService\" = [\"anyone\"] }",
    );
    let sentence = refused(&file).await;
    assert!(
        sentence.contains("routes.toml: upstreams.next offers meshwork.orders.v1.OrderService, which"),
        "{sentence}"
    );
}
