//! The shop with its events on NATS JetStream, whose server is killed, frozen, emptied and cut off.

use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::orders::v1::order;
use meshwork_testkit::up::{Token, UNLIMITED, command, text};
use meshwork_testkit::{FaultProxy, Gateway, Nats, Postgres, Up};

use crate::restored::place;
use crate::shop::{PATIENCE, add_product, eventually, get_order, settled, settled_order, stock_at};
use crate::tail::{Tail, assert_shows, demo, ended, lines};

/// How many orders are placed before, during and after a fault.
const ORDERS: usize = 12;
/// How soon after a fault an order must be confirmed: reconnecting has pauses of a few seconds.
const SOON: Duration = Duration::from_secs(15);
/// How long a network swallows everything until clients must have found it out: they ping every 5 seconds, and give up
/// when the third finds two without an answer.
const SWALLOWED: Duration = Duration::from_secs(25);

/// One product that is sold to one customer; all orders that were placed.
pub struct Shop {
    /// Where it is.
    pub gateway: Gateway,
    /// Who takes the orders.
    pub staff: Token,
    /// What is sold.
    pub product: String,
    /// To whom.
    pub customer: String,
    /// What was placed.
    pub orders: Vec<String>,
}

impl Shop {
    /// Puts so many pieces of the product into stock.
    pub async fn open(gateway: Gateway, pieces: i64) -> Self {
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
    pub async fn all_are_confirmed(&self) {
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
    up_with(folder, &["--nats", nats])
}

fn up_with(folder: &std::path::Path, args: &[&str]) -> Up {
    Up::try_start_with(folder, args, UNLIMITED).unwrap_or_else(|problem| panic!("{problem}"))
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

/// A `meshwork demo` that runs beside the test. It is killed when it is dropped.
struct Demo {
    child: Child,
    said: mpsc::Receiver<String>,
}

impl Demo {
    fn start(up: &Up) -> Self {
        let mut command = command(&up.state());
        command.args(["demo", "--target", &format!("http://{}", up.address("gateway"))]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits for a line that begins so, which it returns.
    fn says(&self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.said.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("{beginning:?}: {error}"));
            if line.trim_start().starts_with(beginning) {
                return line.trim().to_owned();
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_on_nats_and_postgres_survives_a_broker_that_is_killed_under_way() {
    let (nats, postgres, folder) = (Nats::start(), Postgres::start(), tempfile::tempdir().unwrap());
    let up = up_with(folder.path(), &["--nats", &nats.url(), "--postgres", &postgres.database()]);
    let mut orders = vec![demo(&up)];
    // Before the order is placed, which needs no broker, and when it was.
    for moment in ["receive 10 pieces", "place an order"] {
        let mut under_way = Demo::start(&up);
        under_way.says(moment);
        nats.kill();
        nats.restart();
        let restarted = Instant::now();
        orders.push(under_way.says("orders/"));
        let is_well = ended(&mut under_way.child).success() && restarted.elapsed() < SOON;
        println!("{moment}: that demo is well: {is_well}, after {:?}", restarted.elapsed());
        if !is_well {
            let next = Instant::now();
            orders.push(demo(&up));
            assert!(next.elapsed() < SOON, "{moment}: the next demo took {:?}", next.elapsed());
        }
    }
    // None is lost, and none is doubled.
    let (channel, staff) = (up.channel(), up.staff().await);
    for name in &orders {
        let order = settled_order(channel.clone(), &staff, name).await;
        assert_eq!(order.state(), order::State::Confirmed, "{name}");
        let id = name.strip_prefix("orders/").unwrap();
        let mails = || {
            let texts = up.mails().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
            texts.filter(|text| text.contains(id)).count()
        };
        eventually("the mail", async || mails() > 0).await;
        assert_eq!(mails(), 1, "one mail tells of {name}");
    }
    let whole = Tail::start(&up.state(), &["--nats", &nats.url(), "--stream", "orders", "--from", "start"]);
    whole.shows_all_of(&orders);
    assert_nothing_is_parked(&up);
    // They are on the servers, and only there.
    for file in ["bus", "products/products.db", "notifications/notifications.db"] {
        assert!(!up.data().join(file).exists(), "{file}");
    }
    up.audit(None);
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
    // Everything was filled in again.
    let whole = Tail::start(&up.state(), &["--nats", &nats.url(), "--stream", "orders", "--from", "start"]);
    whole.shows_all_of(&shop.orders);
    // The one that has read all the time missed nothing in the end.
    live.shows_all_of(&shop.orders);
    up.audit(None);
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
    up.audit(None);
}

/// Whether a client has sent, whole, an event of an order whose answer it waits for. Of a batch that is the last one.
fn is_published(sent: &[u8]) -> bool {
    let begins = |at: &usize| sent[*at..].starts_with(b"HPUB orders.v1.") && (*at == 0 || sent[*at - 1] == b'\n');
    (0..sent.len()).filter(begins).any(|at| {
        let Some(line) = sent[at..].windows(2).position(|pair| pair == b"\r\n") else { return false };
        let head = String::from_utf8_lossy(&sent[at..at + line]).into_owned();
        // The verb, the subject, the place for the answer, the length of the headers and that of all.
        let words: Vec<_> = head.split_ascii_whitespace().collect();
        let [_, _, _, _, length] = words[..] else { return false };
        length.parse().is_ok_and(|length: usize| sent.len() >= at + line + 2 + length + 2)
    })
}

#[test]
fn a_publication_is_known_when_it_was_sent_whole() {
    let whole = b"PING\r\nHPUB orders.v1.order_created.p03 _INBOX.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n";
    assert!(is_published(whole));
    assert!(!is_published(&whole[..whole.len() - 1]));
    // Nobody waits for an answer; another stream; no publication but a mention of one.
    assert!(!is_published(b"HPUB orders.v1.order_created.p03 12 13\r\nNATS/1.0\r\n\r\nx\r\n"));
    assert!(!is_published(b"HPUB users.v1.user_registered.p03 _INBOX.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n"));
    assert!(!is_published(
        b"PUB $JS.API.STREAM.MSG.GET.ORDERS _INBOX.1 38\r\n{\"last_by_subj\":\"orders.v1.*.p03\"}\r\n"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_the_middle_lose_nothing() {
    let nats = Nats::builder().no_advertise().start();
    let (proxy, folder) = (FaultProxy::start(nats.address()).await, tempfile::tempdir().unwrap());
    let up = up_on(&proxy.url("nats"), folder.path());
    let rounds = if crate::full() { 40 } else { 3 };
    let mut shop = Shop::open(up.gateway(), i64::try_from((rounds + 1) * (ORDERS + 1)).unwrap()).await;
    for round in 0..rounds {
        let mut lost = None;
        match round % if crate::full() { 5 } else { 3 } {
            // A publication is stored, and its answer is lost.
            0 => lost = Some(proxy.cut_after_request(is_published)),
            1 => proxy.reset().await,
            2 => proxy.cut().await,
            // Nobody is told until it is over.
            3 => proxy.half_open(),
            _ => proxy.latency(Duration::from_millis(200), Duration::from_millis(100)),
        }
        shop.place(ORDERS).await;
        if let Some(lost) = lost {
            let lost = tokio::time::timeout(PATIENCE, lost).await;
            assert!(matches!(lost, Ok(Ok(()))), "no answer to a publication was lost: {lost:?}");
        }
        proxy.heal().await;
        shop.place(1).await;
    }
    if crate::full() {
        // Nobody is told for so long that pings find it out.
        let connections = proxy.connections();
        proxy.half_open();
        shop.place(ORDERS).await;
        tokio::time::sleep(SWALLOWED).await;
        assert!(proxy.connections() > connections, "no client has given up its connection");
        assert!(shop.is_busy().await);
        proxy.heal().await;
        shop.works_again().await;
    }
    shop.all_are_confirmed().await;
    assert_nothing_is_parked(&up);
    up.audit(None);
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
    up.audit(None);
}
