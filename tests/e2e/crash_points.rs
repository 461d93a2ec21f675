//! The process ends at each place between two side effects, while orders flow.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use meshwork_testkit::up::{UNLIMITED, command, text};
use meshwork_testkit::{Mongo, Nats, Postgres, Up};
use nix::sys::signal::Signal;

use crate::proof::{Audit, Load};

/// Orders a second.
const RATE: u32 = 12;
/// For how long orders are placed at most; the end of the last crash ends it.
const SECONDS: u64 = 600;
/// How long the shop may take to settle: letters that were under way at a crash are sent again once their lease is over.
const SETTLE: &str = "60s";
/// How long what a process said at its end may take to be written down.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Settings under which what waits is asked for within seconds.
const SAGA: [(&str, &str); 4] = [
    ("MESHWORK_ORDERS__RESERVATION_TIMEOUT", "2s"),
    ("MESHWORK_ORDERS__WATCHDOG_INTERVAL", "200ms"),
    ("MESHWORK_PRODUCTS__SWEEP_INTERVAL", "200ms"),
    ("MESHWORK_NOTIFICATIONS__LEASE", "20s"),
];
/// Settings under which hardly a hold lives until its order is confirmed.
const SHORT_HOLDS: [(&str, &str); 2] =
    [("MESHWORK_PRODUCTS__RESERVATION_TTL", "10ms"), ("MESHWORK_PRODUCTS__SWEEP_INTERVAL", "10ms")];
/// Settings under which every order waits too long.
const IMPATIENT: [(&str, &str); 2] =
    [("MESHWORK_ORDERS__RESERVATION_TIMEOUT", "10ms"), ("MESHWORK_ORDERS__WATCHDOG_INTERVAL", "10ms")];

/// Which stores hold what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stores {
    Embedded,
    Servers,
}

impl Stores {
    /// Whether the way to a crash point leads over them.
    fn reach(self, point: &str) -> bool {
        let (adapter, _) = point.split_once("::").unwrap();
        match adapter {
            "event_log" | "jetstream" | "postgres" => self == Stores::Servers,
            // What is left of it beside servers commits too rarely.
            "event_store" | "bus" | "sqlite" => self == Stores::Embedded,
            _ => true,
        }
    }
}

/// A shop at a port that stays, and the load that it bears.
struct Shop<'a> {
    folder: &'a Path,
    port: String,
    settings: Vec<(&'a str, &'a str)>,
    load: Load,
}

impl Shop<'_> {
    fn spawn(&self, more: &[(&str, &str)]) -> Up {
        let settings: Vec<_> = self.settings.iter().chain(more).copied().collect();
        Up::spawn_with(self.folder, &["--port", &self.port], &settings)
    }

    /// Has a process end at a crash point.
    fn crash_at(&mut self, point: &str, hit: u32) {
        let begin = Instant::now();
        let armed = format!("{point}:{hit}");
        println!("{armed}");
        let mut settings = vec![("MESHWORK_CRASH_POINT", armed.as_str())];
        match point {
            "sweep::due" | "sweep::expired" => settings.extend(SHORT_HOLDS),
            "watchdog::asked" => settings.extend(IMPATIENT),
            _ => {}
        }
        let said = format!("crash point {point}\n");
        let mut up = self.spawn(&settings);
        let before = up.log().matches(&said).count();
        // How far the relay has come is noted now and then, and at the end.
        if point == "relay::noted" {
            assert!(up.ready_by(begin + Duration::from_secs(60)), "{}", up.log());
            self.load.has_answers(self.load.answered() + 3);
            up.signal("TERM");
        }
        let status = up.wait();
        let log = up.log();
        let last: Vec<_> = log.lines().rev().take(10).collect();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{point} was not met: {status}, {last:#?}");
        while up.log().matches(&said).count() == before {
            assert!(begin.elapsed() < Duration::from_secs(60) + LAST_WORDS, "{point} was not the end");
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("met after {:?}", begin.elapsed());
    }
}

/// All crash points, as the binary lists them.
fn points() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let listed = command(folder.path()).env("MESHWORK_CRASH_POINT", "list").output().unwrap();
    let points: Vec<_> = text(&listed.stdout).lines().map(str::to_owned).collect();
    assert!(points.len() > 20, "is the binary built with its feature `ablation`? {}", text(&listed.stderr));
    points
}

/// Puts points at which events are in hand between others: an event that is in hand at one crash after the other would be
/// taken for their cause, and parked.
fn spread(points: Vec<String>) -> Vec<String> {
    let in_hand = ["consumer::", "products::", "outbox::"];
    let (in_hand, others): (Vec<_>, Vec<_>) =
        points.into_iter().partition(|point| in_hand.iter().any(|part| point.starts_with(part)));
    let mut in_hand = in_hand.into_iter();
    others.into_iter().flat_map(|other| [Some(other), in_hand.next()]).flatten().collect()
}

/// Crashes at every point that can be met, each at some of its hits, and judges what is left. `started` is called once the
/// shop has started for the first time.
fn crash_at_all(stores: Stores, servers: &[(&str, &str)], hits: &[u32], started: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let settings: Vec<_> = UNLIMITED.iter().chain(&SAGA).chain(servers).copied().collect();
    let target = format!("http://127.0.0.1:{port}");
    let mut up = Up::try_start_with(folder.path(), &["--port", &port], &settings).unwrap();
    started();
    let credentials = up.data().join("credentials/staff.json");
    let more = ["--cancel", "15", "--ship", "20", "--short", "10"];
    let mut load = Load::start(folder.path(), &target, &credentials, (RATE, SECONDS), &more);
    load.has_answers(1);
    assert!(up.stop().success(), "{}", up.log());
    drop(up);

    let mut shop = Shop { folder: folder.path(), port, settings, load };
    let met = spread(points().into_iter().filter(|point| stores.reach(point)).collect());
    for hit in hits {
        for point in &met {
            let hit = match point.split_once("::") {
                // How far the relays have come is noted rarely.
                _ if point == "relay::noted" => 1,
                // All services share what commits.
                Some(("sqlite" | "postgres", _)) => hit * 13,
                _ => *hit,
            };
            shop.crash_at(point, hit);
        }
    }
    let mut up = shop.spawn(&[]);
    assert!(up.ready_by(Instant::now() + Duration::from_secs(60)), "{}", up.log());
    shop.load.interrupt();
    let history = shop.load.history().to_owned();
    let report = shop.load.report();
    println!("{} crashes: {report}", met.len() * hits.len());
    Audit::of_up(&up, Some(&history), SETTLE).holds();
}

#[test]
fn crashes_between_any_two_side_effects_lose_and_double_nothing() {
    let hits: &[u32] = if crate::full() { &[3, 8, 20] } else { &[3] };
    crash_at_all(Stores::Embedded, &[], hits, || {});
}

#[test]
fn crashes_between_any_two_side_effects_on_servers_lose_and_double_nothing() {
    if !crate::full() {
        return;
    }
    let (nats, mongo, postgres) = (Nats::start(), Mongo::start(), Postgres::start());
    let (url, database) = (nats.url(), mongo.database());
    let [products, lists, letters] = [(); 3].map(|()| postgres.database());
    let servers = [
        ("MESHWORK_NATS_URL", url.as_str()),
        ("MESHWORK_ORDERS__MONGO__URI", mongo.uri()),
        ("MESHWORK_ORDERS__MONGO__DATABASE", database.as_str()),
        ("MESHWORK_PRODUCTS__POSTGRES__URL", products.as_str()),
        ("MESHWORK_ORDERS__POSTGRES__URL", lists.as_str()),
        ("MESHWORK_NOTIFICATIONS__POSTGRES__URL", letters.as_str()),
    ];
    crash_at_all(Stores::Servers, &servers, &[3, 8], || mongo.index(&database));
}

#[test]
fn a_crash_point_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = command(folder.path()).arg("config").env("MESHWORK_CRASH_POINT", "relay::reed:1").output().unwrap();
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("relay::reed") && said.contains("MESHWORK_CRASH_POINT=list"), "{said}");
}
