//! The shop with its events on NATS JetStream, whose server is killed, frozen, emptied and cut off.

use std::time::{Duration, Instant};

use meshwork_api::meshwork::orders::v1::order;
use meshwork_testkit::up::{Token, UNLIMITED, text};
use meshwork_testkit::{FaultProxy, Gateway, Nats, Up};

use crate::processes::Processes;
use crate::restored::place;
use crate::shop::{add_product, eventually, get_order, settled, settled_order, stock_at};
use crate::tail::{Tail, assert_shows, demo};

/// How many orders are placed before, during and after a fault.
const ORDERS: usize = 12;
/// How soon after a fault an order must be confirmed: reconnecting has pauses of a few seconds.
const SOON: Duration = Duration::from_secs(30);

/// One product that is sold to one customer; all orders that were placed.
struct Shop {
    gateway: Gateway,
    staff: Token,
    product: String,
    customer: String,
    orders: Vec<String>,
}

impl Shop {
    async fn open(gateway: Gateway, pieces: i64) -> Self {
        let staff = gateway.staff().await;
        let product = add_product(gateway.channel(), &staff, "carried", pieces).await;
        let customer = gateway.sign_up("early").await;
        Self { gateway, staff, product, customer, orders: Vec::new() }
    }

    /// Places orders, which needs no event bus.
    async fn place(&mut self, count: usize) {
        for _ in 0..count {
            self.orders.push(place(&self.gateway, &self.staff, &self.customer, &self.product).await);
        }
    }

    /// Whether an order has been placed that nobody has confirmed yet.
    async fn is_busy(&self) -> bool {
        let Some(last) = self.orders.last() else { return false };
        !settled(&get_order(self.gateway.channel(), &self.staff, last).await)
    }

    /// Waits until all orders are confirmed, and sees that their pieces are where they belong.
    async fn all_are_confirmed(&self) {
        for name in &self.orders {
            let order = settled_order(self.gateway.channel(), &self.staff, name).await;
            assert_eq!(order.state(), order::State::Confirmed, "{name}");
        }
        let stock = stock_at(self.gateway.channel(), &self.staff, &self.product).await;
        let placed = i64::try_from(self.orders.len()).unwrap();
        assert_eq!((stock.allocated, stock.held), (placed, 0));
        assert_eq!(stock.available, stock.received - placed);
    }

    /// An order that is placed now is confirmed soon.
    async fn works_again(&mut self) {
        let begin = Instant::now();
        self.place(1).await;
        settled_order(self.gateway.channel(), &self.staff, self.orders.last().unwrap()).await;
        assert!(begin.elapsed() < SOON, "an order took {:?} after the fault", begin.elapsed());
    }
}

fn up_on(nats: &str, folder: &std::path::Path) -> Up {
    Up::try_start_with(folder, &["--nats", nats], UNLIMITED).unwrap_or_else(|problem| panic!("{problem}"))
}

fn assert_nothing_is_parked(up: &Up) {
    let target = format!("http://{}", up.address("gateway"));
    let listed = up.run(["deadletters", "list", "--target", &target]);
    assert!(listed.status.success() && text(&listed.stdout).contains("nothing is parked"), "{}", text(&listed.stdout));
}

#[test]
fn the_demo_runs_on_nats_and_a_tail_shows_its_events() {
    let (nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    let up = up_on(&nats.url(), folder.path());
    let place = format!("NATS, {}", nats.address());
    assert_eq!(up.output().lines().filter(|line| line.starts_with("event bus ") && line.ends_with(&place)).count(), 1);
    let live = Tail::start(&up.state(), &["--nats", &nats.url()]);
    let order = demo(&up);
    assert_shows(&live, &order);
    // They are there, and only there.
    let whole = Tail::start(&up.state(), &["--nats", &nats.url(), "--stream", "orders", "--from", "start"]);
    assert_shows(&whole, &order);
    assert!(!up.data().join("bus").exists());
    for stream in ["ORDERS", "PRODUCTS", "USERS"] {
        let info = nats.api(&format!("STREAM.INFO.{stream}"), "");
        assert!(info["state"]["messages"].as_u64().is_some_and(|messages| messages > 0), "{stream}: {info}");
    }
    assert_nothing_is_parked(&up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_frozen_or_emptied_under_way_loses_no_order() {
    let (nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    let up = up_on(&nats.url(), folder.path());
    let live = Tail::start(&up.state(), &["--nats", &nats.url(), "--stream", "orders"]);
    let rounds = if crate::full() { 5 } else { 1 };
    let orders = i64::try_from(rounds * 3 * (3 * ORDERS + 1)).unwrap();
    let mut shop = Shop::open(up.gateway(), orders).await;
    for round in 0..rounds {
        for fault in ["kill", "freeze", "empty"] {
            println!("round {round}: {fault}");
            shop.place(ORDERS).await;
            match fault {
                "freeze" => nats.freeze(),
                _ => nats.kill(),
            }
            // Orders are taken meanwhile.
            shop.place(ORDERS).await;
            match fault {
                "freeze" => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    nats.thaw();
                }
                "empty" => {
                    nats.delete_store();
                    nats.restart();
                }
                _ => nats.restart(),
            }
            shop.works_again().await;
            shop.place(ORDERS).await;
            shop.all_are_confirmed().await;
        }
    }
    assert_nothing_is_parked(&up);
    // Everything was filled in again: the first order's events too.
    let (first, last) = (shop.orders[0].clone(), shop.orders.last().unwrap().clone());
    let whole = Tail::start(&up.state(), &["--nats", &nats.url(), "--stream", "orders", "--from", "start"]);
    whole.event(&first, "order_created");
    whole.event(&first, "order_confirmed");
    // The one that has read all the time missed nothing in the end.
    live.event(&last, "order_confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_killed_while_events_flow_handle_each_once() {
    let (nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    let url = nats.url();
    let settings: Vec<_> = UNLIMITED.iter().copied().chain([("MESHWORK_NATS_URL", url.as_str())]).collect();
    let mut processes = Processes::new(folder.path(), &settings);
    processes.start_all();
    let kills = if crate::full() { 24 } else { 4 };
    let mut shop = Shop::open(processes.gateway(), i64::try_from(kills * ORDERS).unwrap()).await;
    for kill in 0..kills {
        let victim = ["products", "orders"][kill % 2];
        shop.place(ORDERS).await;
        println!("kill {kill}: {victim}, under way: {}", shop.is_busy().await);
        processes.kill(victim);
        processes.start(victim);
        processes.wait_for(victim);
        let method = if victim == "orders" {
            "meshwork.orders.v1.OrderService"
        } else {
            "meshwork.products.v1.InventoryService"
        };
        processes.wait_for_service("gateway", method);
    }
    shop.all_are_confirmed().await;
    let listed = processes.run(&["deadletters", "list"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["dead_letters"], serde_json::json!([]));
    // One letter for each order that is confirmed, and one of welcome.
    let mails = processes.data().join("notifications/mail");
    let count = || {
        std::fs::read_dir(&mails).map_or(0, |folder| {
            folder
                .filter(|entry| {
                    entry
                        .as_ref()
                        .is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "eml"))
                })
                .count()
        })
    };
    eventually("the letters", async || count() == shop.orders.len() + 1).await;
    assert!(!processes.data().join("bus").exists());
}

/// Orders that wait in the folder's bus when the shop moves to a NATS, and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_moves_to_nats_and_back_loses_nothing() {
    let (nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    let url = nats.url();
    let mut up = Up::start(folder.path(), UNLIMITED);
    let mut shop = Shop::open(up.gateway(), i64::try_from(3 * ORDERS).unwrap()).await;
    for to in [Some(&url), None, Some(&url)] {
        shop.place(ORDERS).await;
        // In the middle of what follows from them.
        up.kill();
        up = match to {
            Some(url) => up_on(url, folder.path()),
            None => Up::start(folder.path(), UNLIMITED),
        };
        (shop.gateway, shop.staff) = (up.gateway(), up.staff().await);
        shop.all_are_confirmed().await;
    }
    assert_nothing_is_parked(&up);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_the_middle_lose_nothing() {
    let nats = Nats::builder().no_advertise().start();
    let (proxy, folder) = (FaultProxy::start(nats.address()).await, tempfile::tempdir().unwrap());
    let up = up_on(&proxy.url("nats"), folder.path());
    let rounds = if crate::full() { 40 } else { 3 };
    let mut shop = Shop::open(up.gateway(), i64::try_from(rounds * (ORDERS + 1)).unwrap()).await;
    for round in 0..rounds {
        match round % if crate::full() { 5 } else { 3 } {
            // A publication is stored, and its answer is lost.
            0 => drop(
                proxy.cut_after_request(|sent| sent.windows(b"orders.v1.".len()).any(|part| part == b"orders.v1.")),
            ),
            1 => proxy.reset().await,
            2 => proxy.cut().await,
            // Nobody is told: pings find it out.
            3 => proxy.half_open(),
            _ => proxy.latency(Duration::from_millis(200), Duration::from_millis(100)),
        }
        shop.place(ORDERS).await;
        proxy.heal().await;
        shop.place(1).await;
    }
    shop.all_are_confirmed().await;
    assert_nothing_is_parked(&up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_starts_without_its_broker_and_works_when_that_comes() {
    let (nats, folder) = (Nats::start(), tempfile::tempdir().unwrap());
    nats.stop();
    // The bus is no service's own: without it they serve, degraded.
    let up = up_on(&nats.url(), folder.path());
    let mut shop = Shop::open(up.gateway(), 2).await;
    shop.place(1).await;
    assert!(shop.is_busy().await);
    nats.restart();
    shop.works_again().await;
    shop.all_are_confirmed().await;
}
