//! Everything is killed and stopped while orders flow, and nothing is lost.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use meshwork_api::meshwork::notifications::v1::{Notification, notification};

use crate::crashes::notifications;
use crate::shop::eventually;
use crate::victims::{Fault, VICTIMS, Victim, World};

/// Orders a second.
const RATE: u32 = 25;
/// How long what is left may take after the last fault.
const SETTLE: &str = "30s";
/// How many letters the shop hands over at once, and so how many a fault may have it hand over again.
const UNDER_WAY: usize = 8;

/// Orders a second of a soak, and how long a slice of it is.
const SOAK_RATE: u32 = 50;
const SLICE: u64 = 60;

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

#[tokio::test(flavor = "multi_thread")]
async fn kills_and_freezes_of_everything_while_orders_flow_lose_and_double_nothing() {
    let (orders, kills) = if crate::full() { (5_000_u32, 40_u32) } else { (1_000, 10) };
    let mut world = World::start().await;
    let seconds = u64::from(orders / RATE);
    let mut load = world.load(RATE, seconds);
    load.has_answers(20);
    let (begin, interval) = (Instant::now(), Duration::from_secs(seconds) / kills);
    // Each is killed and, four rounds before or after, frozen.
    let frozen = VICTIMS.into_iter().cycle().skip(4);
    for (round, (victim, other)) in (0..kills).zip(VICTIMS.into_iter().cycle().zip(frozen)) {
        tokio::time::sleep_until((begin + interval * round).into()).await;
        for (victim, fault) in [(victim, Fault::Kill), (other, Fault::Freeze)] {
            let at = begin.elapsed();
            world.fail(victim, fault).await;
            println!("{at:?}: {fault:?} {victim:?}, back after {:?}", begin.elapsed() - at);
        }
    }
    let last_fault = Instant::now();
    let history = load.history().to_owned();
    let report = load.report();
    println!("{report}");
    let created = report["created"].as_u64().unwrap();
    assert!(created * 10 >= u64::from(orders) * 9, "too few orders were taken: {report}");
    let audit = world.audit(&history, SETTLE);
    println!("settled after {:?}, {:?} after the last fault", audit.settled, last_fault.elapsed());
    audit.holds();
    assert_eq!(report["unsettled"], 0, "{report}");
    mails_are_there(&world, usize::try_from(2 * kills).unwrap()).await;
}

/// The value that so many percent of the values don't exceed.
fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort();
    values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

fn seed() -> u64 {
    std::env::var("MESHWORK_SOAK_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// Orders flow and faults come at random, slice by slice, each with an audit at its end.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask soak` runs it, for as long as it is told"]
async fn soak() {
    let minutes: u64 = std::env::var("MESHWORK_SOAK_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let seed = seed();
    println!("{minutes} minutes of {SOAK_RATE} orders/s; MESHWORK_SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::start().await;
    let mut faults = BTreeMap::<(Fault, Victim), usize>::new();
    let (mut orders, mut settled) = (0, Vec::new());
    for slice in 1..=(minutes * 60).div_ceil(SLICE) {
        let mut load = world.load(SOAK_RATE, SLICE);
        load.has_answers(20);
        let end = Instant::now() + Duration::from_secs(SLICE);
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(random.u64(500..5_000))).await;
            let victim = VICTIMS[random.usize(..VICTIMS.len())];
            let fault = if random.bool() { Fault::Kill } else { Fault::Freeze };
            world.fail(victim, fault).await;
            *faults.entry((fault, victim)).or_default() += 1;
        }
        let history = load.history().to_owned();
        let report = load.report();
        orders += report["created"].as_u64().unwrap();
        let audit = world.audit(&history, SETTLE);
        settled.push(audit.settled);
        println!("slice {slice}: {report}; settled after {:?}, violated: {:?}", audit.settled, audit.violated);
        if audit.code != Some(0) {
            println!("{}", audit.printed);
            panic!("slice {slice} of the seed {seed} has violations: {:?}", audit.violated);
        }
    }
    mails_are_there(&world, faults.values().sum()).await;
    println!("orders       {orders}");
    for ((fault, victim), count) in &faults {
        println!("{fault:?}       {count} of {victim:?}");
    }
    println!("settled p99  {:?}", percentile(&mut settled, 99));
    println!("violations   0");
}
