//! Contracts of a server that change while it runs: whom methods admit, and what they are held to.

mod bad;
mod concurrent;
mod reflection;
mod support;

use std::sync::Arc;

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{Budgets, ContractSet, MethodSettings, Resource};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use self::support::{Far, METHODS, SHOP, SHOP_SLEEP, SHOP_STREAM, SHOP_UNARY, described, everything, shop};
use crate::clients::{Named, by};
use crate::plans::{UNDESCRIBED, Undescribed};
use crate::support::{LARGE, Running, SLEEP, UNARY, refused, send, stream, unary, until};

fn public_unary() -> AccessTable {
    AccessTable::new().method(UNARY, Access::Public)
}

#[track_caller]
fn code(answer: Result<String, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(start_paused = true)]
async fn a_method_is_refused_until_contracts_admit_it_and_unknown_when_it_has_gone() {
    let far = Far::start(Server::builder().access(public_unary()));
    let channel = far.server.channel();
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unimplemented);
    far.upstream.add(SHOP);
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    far.contracts.set(shop(&Access::Public)).unwrap();
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x");
    assert_eq!(unary(&channel, UNARY, "y").await.unwrap(), "y");
    far.contracts.set(ContractSet::default()).unwrap();
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    far.upstream.remove(SHOP);
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unimplemented);
    assert_eq!(unary(&channel, UNARY, "y").await.unwrap(), "y");
}

#[tokio::test(start_paused = true)]
async fn access_follows_the_contracts_of_the_moment() {
    let far = Far::start(Server::builder().authenticator(Arc::new(Named)).access(public_unary()));
    far.upstream.add(SHOP);
    let channel = far.server.channel();
    for (access, anonymous, customer) in [
        (Access::Public, Code::Ok, Code::Ok),
        (Access::Authenticated, Code::Unauthenticated, Code::Ok),
        (Access::roles(["staff"]), Code::Unauthenticated, Code::PermissionDenied),
        (Access::roles(["customer"]), Code::Unauthenticated, Code::Ok),
        (Access::Public, Code::Ok, Code::Ok),
    ] {
        far.contracts.set(shop(&access)).unwrap();
        assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), anonymous, "{access:?}");
        assert_eq!(code(send(&channel, SHOP_UNARY, by("anna", "x")).await), customer, "{access:?}");
    }
    // Described and not named.
    far.contracts.set(ContractSet { access: AccessTable::new(), ..shop(&Access::Public) }).unwrap();
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    assert_eq!(code(send(&channel, SHOP_UNARY, by("anna", "x")).await), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn without_a_table_of_its_own_a_server_is_open_and_what_is_added_is_not() {
    let far = Far::start(Server::builder());
    far.upstream.add(SHOP);
    let channel = far.server.channel();
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    far.contracts.set(shop(&Access::Authenticated)).unwrap();
    assert_eq!(code(unary(&channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    assert_eq!(unary(&channel, UNARY, "y").await.unwrap(), "y");
    far.contracts.set(shop(&Access::Public)).unwrap();
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_go_on_when_contracts_change() {
    let budgets = Budgets::default();
    let far = Far::start(Server::builder().access(public_unary()).budgets(budgets.clone()));
    far.upstream.add(SHOP);
    far.contracts.set(shop(&Access::Public)).unwrap();
    let channel = far.server.channel();
    let sleeper = channel.clone();
    let sleeping = tokio::spawn(async move { unary(&sleeper, SHOP_SLEEP, "5000").await });
    let mut messages = stream(&channel, SHOP_STREAM, Request::new(String::new())).await.unwrap();
    assert_eq!(messages.message().await.unwrap().unwrap(), "0");
    until("both are there", || far.upstream.echo.running() == 2).await;
    far.contracts.set(ContractSet::default()).unwrap();
    far.upstream.remove(SHOP);
    assert_eq!(code(unary(&channel, SHOP_SLEEP, "1").await), Code::Unimplemented);
    for expected in ["1", "2", "3"] {
        assert_eq!(messages.message().await.unwrap().unwrap(), expected);
    }
    assert_eq!(sleeping.await.unwrap().unwrap(), "");
    drop(messages);
    until("nothing is held", || budgets.in_use(Resource::Streams) == 0 && budgets.in_use(Resource::Calls) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_held_to_what_its_method_was_when_it_began() {
    let budgets = Budgets::default();
    let far = Far::start(Server::builder().access(public_unary()).budgets(budgets.clone()));
    far.upstream.add(SHOP);
    let channel = far.server.channel();
    let in_use = || (budgets.in_use(Resource::Streams), budgets.in_use(Resource::Calls));
    far.contracts.set(shop(&Access::Public)).unwrap();
    let mut first = stream(&channel, SHOP_STREAM, Request::new(String::new())).await.unwrap();
    first.message().await.unwrap().unwrap();
    assert_eq!(in_use(), (1, 0));
    // Without descriptors nothing is known of what it streams.
    far.contracts.set(ContractSet { descriptors: Vec::new(), ..shop(&Access::Public) }).unwrap();
    let mut second = stream(&channel, SHOP_STREAM, Request::new(String::new())).await.unwrap();
    second.message().await.unwrap().unwrap();
    assert_eq!(in_use(), (1, 1));
    far.contracts.set(shop(&Access::Public)).unwrap();
    drop(second);
    until("its place is free", || in_use() == (1, 0)).await;
    // It ends with the server, as streams do.
    far.server.stop();
    let end = async {
        loop {
            if let Err(status) = first.message().await {
                return status;
            }
        }
    };
    assert_eq!(end.await.code(), Code::Unavailable);
    far.server.ended().await;
    assert_eq!(in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_calls_in_flight_holds_over_changes() {
    let settings = MethodSettings::parse(
        r#"{"methodConfig": [{
            "name": [{"service": "far.v1.Shop", "method": "Sleep"}],
            "meshwork": {"maxConcurrentCalls": 2}
        }]}"#,
    );
    let far = Far::start(Server::builder().access(public_unary()).method_settings(settings.unwrap()));
    far.upstream.add(SHOP);
    far.contracts.set(shop(&Access::Public)).unwrap();
    let channel = far.server.channel();
    let calls = [(); 2].map(|()| {
        let channel = channel.clone();
        tokio::spawn(async move { unary(&channel, SHOP_SLEEP, "5000").await })
    });
    until("both have begun", || far.upstream.echo.running() == 2).await;
    let full = (Code::Unavailable, "OVERLOADED".to_owned(), "method".to_owned());
    for _ in 0..3 {
        far.contracts.set(shop(&Access::Public)).unwrap();
        assert_eq!(refused(&unary(&channel, SHOP_SLEEP, "1").await.unwrap_err()), full);
        assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x");
        // Also when it wasn't there in between.
        far.contracts.set(ContractSet::default()).unwrap();
    }
    far.contracts.set(shop(&Access::Public)).unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(unary(&channel, SHOP_SLEEP, "1").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn s9_nothing_that_is_set_opens_closes_or_changes_what_the_server_was_built_with() {
    const OWN: &str = "/own.v1.Own/Unary";
    let budgets = Budgets::default();
    let table = public_unary().method(LARGE, Access::Public).method("/far.v1.Shop/Upload", Access::Authenticated);
    let builder = Server::builder()
        .access(table)
        .budgets(budgets.clone())
        .add_service(Undescribed::default())
        .descriptors(described("own.proto", "own.v1", "Own", &METHODS));
    let far = Far::start(builder);
    far.upstream.add(SHOP);
    far.upstream.add("own.v1.Own");
    let channel = far.server.channel();
    // In files of other names, all of it streams and is open to everybody, or to nobody.
    let streams = METHODS.map(|(name, ..)| (name, true, true));
    let mut set = shop(&Access::Public);
    for (file, package, service) in [
        ("1.proto", "test", "Echo"),
        ("2.proto", "test", "Undescribed"),
        ("3.proto", "own.v1", "Own"),
        ("4.proto", "grpc.health.v1", "Health"),
        ("5.proto", "", "grpc.health.v1.Health"),
    ] {
        set.descriptors.push(described(file, package, service, &streams));
    }
    let nobody = || Access::roles([""; 0]);
    for path in [SLEEP, UNDESCRIBED, OWN] {
        set.access = set.access.method(path, Access::Public);
    }
    for path in [UNARY, LARGE, "/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/Any"] {
        set.access = set.access.method(path, nobody());
    }
    far.contracts.set(set).unwrap();
    assert_eq!(unary(&channel, SHOP_UNARY, "x").await.unwrap(), "x");
    for path in [SLEEP, UNDESCRIBED, OWN, "/far.v1.Shop/Upload"] {
        assert_eq!(code(unary(&channel, path, "1").await), Code::Unauthenticated, "{path}");
    }
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let caller = channel.clone();
    let call = tokio::spawn(async move { unary(&caller, LARGE, "10 5000").await });
    until("it is a call, and no stream", || budgets.in_use(Resource::Calls) == 1).await;
    assert_eq!(budgets.in_use(Resource::Streams), 0);
    assert_eq!(call.await.unwrap().unwrap().len(), 10);
    assert_eq!(far.server.echo.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_set_before_holds_from_the_start_and_for_each_server_that_offers_it() {
    let far = Far::start(Server::builder().access(public_unary()));
    far.upstream.add(SHOP);
    far.contracts.clone().set(shop(&Access::Public)).unwrap();
    let later = Running::start(far.offering(Server::builder().access(public_unary())));
    let (one, other) = (far.server.channel(), later.channel());
    for channel in [&one, &other] {
        assert_eq!(unary(channel, SHOP_UNARY, "x").await.unwrap(), "x");
    }
    far.contracts.set(ContractSet { access: everything(&Access::Authenticated), ..shop(&Access::Public) }).unwrap();
    for channel in [&one, &other] {
        assert_eq!(code(unary(channel, SHOP_UNARY, "x").await), Code::Unauthenticated);
    }
    // One that has ended is no longer asked.
    far.server.abort();
    far.contracts.set(shop(&Access::Public)).unwrap();
    assert_eq!(unary(&other, SHOP_UNARY, "x").await.unwrap(), "x");
}
