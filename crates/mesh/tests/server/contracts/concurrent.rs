//! Contracts change while calls go on, on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{Budgets, ContractSet, MethodSettings, Resource};
use meshwork::{Channel, Server};
use tonic::Code;

use super::support::{Far, METHODS, SHOP, SHOP_SLEEP, SHOP_UNARY, SHOP_UPLOAD, described, everything, shop};
use crate::support::{UNARY, unary, until};

/// How often they change.
const CHANGES: usize = 150;

/// In one of the sets, and not in the other.
const SOMETIMES: &str = "/far.v1.Aside/Unary";

/// Open to nobody in both.
const NEVER: &str = "/far.v1.Shop/Never";

/// The shop, with other services before or behind it: each method has another place among the plans then.
fn crowded(package: &str, with_aside: bool) -> ContractSet {
    let mut set = shop(&Access::Public);
    let methods: Vec<_> = (0..40).map(|at| format!("M{at}")).collect();
    let methods: Vec<_> = methods.iter().map(|name| (name.as_str(), true, true)).collect();
    set.descriptors.push(described("crowd.proto", package, "Crowd", &methods));
    set.access = everything(&Access::Public).method(NEVER, Access::roles(["nobody"]));
    if with_aside {
        set.descriptors.push(described("aside.proto", "far.v1", "Aside", &METHODS));
        set.access = set.access.method(SOMETIMES, Access::Public);
    }
    set
}

/// Calls until it is `over`: how many calls there were.
async fn call_all(channel: Channel, over: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !over.load(Ordering::SeqCst) {
        count += 1;
        let said = count.to_string();
        assert_eq!(unary(&channel, SHOP_UNARY, said.as_str()).await.unwrap(), said);
        assert_eq!(unary(&channel, UNARY, said.as_str()).await.unwrap(), said);
        // A request that were taken for one of a method with one message would wait for its end.
        assert_eq!(unary(&channel, SHOP_UPLOAD, said.as_str()).await.unwrap(), "1");
        assert_eq!(unary(&channel, NEVER, "x").await.unwrap_err().code(), Code::Unauthenticated);
        if let Err(status) = unary(&channel, SOMETIMES, said.as_str()).await {
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        }
        if let Err(status) = unary(&channel, SHOP_SLEEP, "1").await {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_sees_something_of_one_set_and_something_of_another() {
    let settings = MethodSettings::parse(
        r#"{"methodConfig": [{
            "name": [{"service": "far.v1.Shop", "method": "Sleep"}],
            "meshwork": {"maxConcurrentCalls": 2}
        }]}"#,
    );
    let table = AccessTable::new().method(UNARY, Access::Public);
    let budgets = Budgets::default();
    let builder = Server::builder().access(table).budgets(budgets.clone()).method_settings(settings.unwrap());
    let far = Far::start(builder);
    far.upstream.add(SHOP);
    far.upstream.add("far.v1.Aside");
    let sets = [crowded("a.v1", true), crowded("z.v1", false)];
    far.contracts.set(sets[0].clone()).unwrap();
    let over = Arc::<AtomicBool>::default();
    let callers: Vec<_> = (0..6).map(|_| tokio::spawn(call_all(far.server.channel(), Arc::clone(&over)))).collect();
    let (contracts, changed) = (far.contracts.clone(), Arc::clone(&over));
    let changes = tokio::task::spawn_blocking(move || {
        for set in sets.iter().cycle().take(CHANGES) {
            contracts.set(set.clone()).unwrap();
            std::thread::yield_now();
        }
        changed.store(true, Ordering::SeqCst);
    });
    changes.await.unwrap();
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    assert!((1..=2).contains(&far.upstream.most_sleeping()), "{}", far.upstream.most_sleeping());
    until("nothing is held", || [Resource::Calls, Resource::Streams].iter().all(|held| budgets.in_use(*held) == 0))
        .await;
}
