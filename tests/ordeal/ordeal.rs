//! Everything is killed and stopped while orders flow, and nothing is lost.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use meshwork_api::meshwork::notifications::v1::{Notification, notification};
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{ListOrdersRequest, Order};
use meshwork_testkit::up::{Token, with};
use tonic::transport::Channel;

use crate::shop::{eventually, notifications, settled};
use crate::victims::{Fault, VICTIMS, Victim, World};

/// Orders a second.
const RATE: u32 = 24;
/// For how long orders are placed at most; the last fault ends it.
const SECONDS: u64 = 1800;
/// How many orders there are before the first fault.
const BEGIN: usize = 20;
/// How long an order may take from the last fault, or from its creation if that was later.
const BOUND: Duration = Duration::from_secs(30);
/// How long the audit looks again at what is left.
const SETTLE: &str = "30s";
/// How many orders that took longer are named.
const NAMED: usize = 20;
/// How many letters the shop hands over at once, and so how many a fault may have it hand over again.
const UNDER_WAY: usize = 8;

/// Orders a second of a soak.
const SOAK_RATE: u32 = 50;

/// Holds the mails against what the shop says of its letters: each has come, under its own id, and again only where a fault
/// had it handed over again.
async fn mails_are_there(world: &World, faults: usize) {
    let gateway = world.processes.gateway();
    let (channel, staff) = (gateway.channel(), gateway.staff().await);
    let is_sent = |letter: &Notification| letter.state() == notification::State::Sent;
    eventually("all letters", async || notifications(&channel, &staff).await.iter().all(is_sent)).await;
    let id = |name: &str| format!("<{}@meshwork.local>", name.strip_prefix("notifications/").unwrap());
    let sent: HashSet<_> = notifications(&channel, &staff).await.iter().map(|letter| id(&letter.name)).collect();
    let mails = world.smtp.mails();
    let came: HashSet<_> = mails.iter().map(|mail| mail.message_id.clone()).collect();
    assert!(!came.is_empty(), "no mail has come");
    let (lost, unknown) = (sent.difference(&came).count(), came.difference(&sent).count());
    assert_eq!((lost, unknown), (0, 0), "letters that never came, and mails of no letter");
    let repeats = mails.len() - came.len();
    assert!(repeats <= faults * UNDER_WAY, "{repeats} mails came again after {faults} faults");
}

/// All orders.
async fn all_orders(channel: &Channel, staff: &Token) -> Vec<Order> {
    let mut client = OrderServiceClient::new(channel.clone());
    let (mut orders, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { page_size: 200, page_token, ..ListOrdersRequest::default() };
        let page = client.list_orders(with(staff, request)).await.unwrap().into_inner();
        orders.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return orders;
        }
    }
}

/// When the saga had nothing left to do for an order, by the times of its events; none while it has.
fn settled_at(order: &Order) -> Option<SystemTime> {
    // Nothing comes after a rejection or a cancellation.
    let time = order.allocate_time.or(order.update_time);
    settled(order).then(|| SystemTime::try_from(time.unwrap()).unwrap())
}

/// Every order has ended within [`BOUND`] of the last fault, or of its creation.
async fn all_ended_in_time(world: &World, last_fault: SystemTime) {
    let gateway = world.processes.gateway();
    let orders = all_orders(&gateway.channel(), &gateway.staff().await).await;
    let (mut longest, mut late) = (Duration::ZERO, Vec::new());
    for order in &orders {
        let created = SystemTime::try_from(order.create_time.unwrap()).unwrap();
        match settled_at(order) {
            Some(at) => {
                let took = at.duration_since(created.max(last_fault)).unwrap_or_default();
                longest = longest.max(took);
                if took > BOUND {
                    let whole = at.duration_since(created).unwrap_or_default();
                    late.push(format!("{} took {took:.1?}, and {whole:.1?} in all", order.name));
                }
            }
            None => late.push(format!("{} is still {:?}", order.name, order.state())),
        }
    }
    println!("the last of {} orders ended {longest:.1?} after the last fault, or its creation", orders.len());
    let (count, named) = (late.len(), late.iter().take(NAMED).collect::<Vec<_>>());
    assert!(
        late.is_empty(),
        "{count} of {} orders took longer than {BOUND:?} from the last fault or their creation: {named:#?}",
        orders.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_freezes_of_everything_while_orders_flow_lose_and_double_nothing() {
    let (orders, kills) =
        if std::env::var_os("MESHWORK_TEST_FULL").is_some() { (5_000_usize, 40_usize) } else { (1_000, 10) };
    let mut world = World::start().await;
    let mut load = world.load(RATE, SECONDS);
    let begin = Instant::now();
    // Each is killed and, four rounds before or after, frozen. All orders have come when the last round begins.
    let frozen = VICTIMS.into_iter().cycle().skip(4);
    for (round, (victim, other)) in (0..kills).zip(VICTIMS.into_iter().cycle().zip(frozen)) {
        load.has_created(BEGIN + (orders - BEGIN) * round / (kills - 1));
        for (victim, fault) in [(victim, Fault::Kill), (other, Fault::Freeze)] {
            let at = begin.elapsed();
            world.fail(victim, fault).await;
            println!("{at:?}: {fault:?} {victim:?}, back after {:?}", begin.elapsed() - at);
        }
    }
    let last_fault = SystemTime::now();
    load.interrupt();
    let history = load.history().to_owned();
    let report = load.report();
    println!("{report}");
    assert!(report["created"].as_u64() >= u64::try_from(orders).ok(), "too few orders were taken: {report}");
    let audit = world.audit(&history, SETTLE);
    println!("settled after {:?}, {:?} after the last fault", audit.settled, last_fault.elapsed().unwrap());
    all_ended_in_time(&world, last_fault).await;
    audit.holds();
    mails_are_there(&world, 2 * kills).await;
}

fn seed() -> u64 {
    std::env::var("MESHWORK_SOAK_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// After how many minutes of a soak the shop is judged: one, each time twice as many, and all.
fn judgements(minutes: u64) -> Vec<u64> {
    let doubled = std::iter::successors(Some(1), |minute| Some(minute * 2));
    doubled.take_while(|minute| *minute < minutes).chain([minutes]).collect()
}

/// Orders flow and faults come at random, until the shop is judged; and again, each time for longer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask soak` runs it, for as long as it is told"]
async fn soak() {
    let minutes: u64 = std::env::var("MESHWORK_SOAK_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let seed = seed();
    println!("{minutes} minutes of {SOAK_RATE} orders/s; MESHWORK_SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::start().await;
    let mut faults = BTreeMap::<(Fault, Victim), usize>::new();
    let (mut orders, mut settled, mut confirmed_p99) = (0, Duration::ZERO, 0.0_f64);
    let (mut minute, mut problem) = (0, None);
    for judged in judgements(minutes) {
        let seconds = 60 * (judged - minute);
        let mut load = world.load(SOAK_RATE, seconds);
        load.has_answers(20);
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.u64(500..5_000))).await;
            let victim = VICTIMS[random.usize(..VICTIMS.len())];
            let fault = if random.bool() { Fault::Kill } else { Fault::Freeze };
            world.fail(victim, fault).await;
            *faults.entry((fault, victim)).or_default() += 1;
        }
        minute = judged;
        let history = load.history().to_owned();
        let report = load.report();
        orders += report["created"].as_u64().unwrap();
        confirmed_p99 = confirmed_p99.max(report["created_to_confirmed_ms"]["p99"].as_f64().unwrap());
        let audit = world.audit(&history, SETTLE);
        settled = settled.max(audit.settled);
        println!("{minute} minutes: {report}; settled after {:?}, violated: {:?}", audit.settled, audit.violated);
        problem = match audit.code {
            Some(0) => None,
            Some(1) => Some(format!("violated: {}", audit.violated.join(", "))),
            code => Some(format!("not judged: the audit could not tell, its exit code is {code:?}")),
        };
        if problem.is_some() {
            println!("{}", audit.printed);
            break;
        }
    }
    if problem.is_none() {
        mails_are_there(&world, faults.values().sum()).await;
    }
    println!("minutes      {minute}");
    println!("orders       {orders}");
    for ((fault, victim), count) in &faults {
        println!("{fault:?}       {count} of {victim:?}");
    }
    println!("confirmed    p99 {confirmed_p99} ms at most");
    println!("settled      after {settled:?} at most");
    println!("invariants   {}", problem.as_deref().unwrap_or("hold"));
    assert_eq!(problem, None, "after {minute} minutes of the seed {seed}");
}
