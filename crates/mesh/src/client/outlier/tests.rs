//! Tests of outlier detection, rule by rule and against a model.

use std::net::SocketAddr;

use proptest::prelude::*;
use tonic::Code;

use super::*;
use crate::outcome::Outcome;
use crate::policy::{FailurePercentageEjection, SuccessRateEjection};

fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|index| key(&[Address::from(SocketAddr::from(([10, 0, 0, index as u8], 80)))])).collect()
}

fn by_percentage() -> OutlierDetection {
    let rule = FailurePercentageEjection { minimum_hosts: 1, request_volume: 1, ..Default::default() };
    OutlierDetection { failure_percentage: Some(rule), ..Default::default() }
}

fn detector(config: OutlierDetection, count: usize, now: Instant) -> (OutlierDetector, Vec<Key>) {
    let keys = keys(count);
    let mut detector = OutlierDetector::new(Some(config), now);
    detector.set_endpoints(&keys);
    (detector, keys)
}

fn calls(detector: &OutlierDetector, key: &Key, ok: u32, failed: u32) {
    let counter = detector.counter(key).unwrap();
    (0..ok).for_each(|_| counter.record(Outcome::Status(Code::Ok)));
    (0..failed).for_each(|_| counter.record(Outcome::Status(Code::Unavailable)));
}

fn ejected(detector: &OutlierDetector, keys: &[Key]) -> Vec<bool> {
    keys.iter().map(|key| detector.is_ejected(key)).collect()
}

const TEN: Duration = Duration::from_secs(10);

#[test]
fn a50_rule_1_the_defaults_are_those_of_the_document() {
    let config = OutlierDetection::default();
    assert_eq!((config.interval, config.base_ejection_time), (TEN, 3 * TEN));
    assert_eq!((config.max_ejection_time, config.max_ejection_percent), (30 * TEN, 10));
    let rate = SuccessRateEjection::default();
    assert_eq!((rate.stdev_factor, rate.enforcement_percentage), (1900, 100));
    assert_eq!((rate.minimum_hosts, rate.request_volume), (5, 100));
    let share = FailurePercentageEjection::default();
    assert_eq!((share.threshold, share.enforcement_percentage), (85, 100));
    assert_eq!((share.minimum_hosts, share.request_volume), (5, 50));
}

#[test]
fn a50_rule_1_without_an_algorithm_nothing_is_counted_and_nothing_ticks() {
    let now = Instant::now();
    let (mut detector, keys) = detector(OutlierDetection::default(), 1, now);
    assert_eq!(detector.next_tick(), None);
    calls(&detector, &keys[0], 0, 100);
    assert_eq!(detector.counter(&keys[0]).unwrap().take(), (0, 0));
    assert_eq!(detector.tick(now, &Random::seeded(1)), []);
}

#[test]
fn a50_rule_2_the_key_is_the_set_of_addresses() {
    let [a, b] = [1, 2].map(|host| Address::from(SocketAddr::from(([10, 0, 0, host], 80))));
    let now = Instant::now();
    let mut detector = OutlierDetector::new(Some(by_percentage()), now);
    detector.set_endpoints(&[key(&[b.clone(), a.clone()])]);
    let counter = detector.counter(&[b.clone(), a.clone()]).unwrap();
    detector.set_endpoints(&[key(&[a.clone(), b.clone()])]);
    assert!(Arc::ptr_eq(&counter, &detector.counter(&[a, b]).unwrap()));
}

#[test]
fn a50_rule_3_the_counts_of_an_interval_are_used_once() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 2, now);
    assert_eq!(detector.next_tick(), Some(now + TEN));
    calls(&detector, &keys[0], 1, 0);
    detector.tick(now + TEN, &Random::seeded(1));
    assert_eq!(detector.next_tick(), Some(now + 2 * TEN));
    calls(&detector, &keys[0], 0, 1);
    detector.tick(now + 2 * TEN, &Random::seeded(1));
    assert_eq!(ejected(&detector, &keys), [true, false]);
}

#[test]
fn a50_rule_3_the_time_grows_with_each_ejection_and_taking_back_does_not_lower_the_multiplier() {
    let mut now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 1, now);
    let random = Random::seeded(1);
    for multiplier in 1..=3_u32 {
        calls(&detector, &keys[0], 0, 1);
        detector.tick(now, &random);
        assert!(detector.is_ejected(&keys[0]));
        // Not at the end of its time, only after it.
        detector.tick(now + 3 * TEN * multiplier, &random);
        assert!(detector.is_ejected(&keys[0]));
        now += 3 * TEN * multiplier + Duration::from_nanos(1);
        assert!(matches!(detector.tick(now, &random)[..], [Change::Unejected { .. }]));
        assert_eq!(detector.entries[0].multiplier, multiplier);
    }
    detector.tick(now + TEN, &random);
    assert_eq!(detector.entries[0].multiplier, 2);
}

#[test]
fn a50_rule_3_no_ejection_is_longer_than_the_maximum() {
    let mut config = by_percentage();
    assert_eq!(ejection_time(&config, 11), 30 * TEN);
    assert_eq!(ejection_time(&config, u32::MAX), 30 * TEN);
    config.max_ejection_time = TEN;
    assert_eq!(ejection_time(&config, 4), 3 * TEN);
    config.base_ejection_time = Duration::MAX;
    assert_eq!(ejection_time(&config, 4), Duration::MAX);
}

#[test]
fn a50_rule_4_success_rate_compares_with_mean_and_population_deviation() {
    let config = OutlierDetection { success_rate: Some(SuccessRateEjection::default()), ..Default::default() };
    let now = Instant::now();
    let random = Random::seeded(1);
    let (mut detector, keys) = detector(config, 5, now);
    // Four at 1.0 and one at 0.5: mean 0.9, population deviation 0.2, threshold 0.52; with the sample's deviation 0.4752.
    keys[1..].iter().for_each(|key| calls(&detector, key, 100, 0));
    calls(&detector, &keys[0], 50, 50);
    detector.tick(now, &random);
    assert_eq!(ejected(&detector, &keys), [true, false, false, false, false]);
}

#[test]
fn a50_rule_4_too_few_hosts_with_enough_calls_stop_it() {
    let config = OutlierDetection { success_rate: Some(SuccessRateEjection::default()), ..Default::default() };
    let now = Instant::now();
    let (mut detector, keys) = detector(config, 5, now);
    keys[1..4].iter().for_each(|key| calls(&detector, key, 100, 0));
    calls(&detector, &keys[4], 99, 0);
    calls(&detector, &keys[0], 0, 100);
    assert_eq!(detector.tick(now, &Random::seeded(1)), []);
}

#[test]
fn a50_rule_5_the_percentage_must_be_above_the_threshold_by_any_fraction() {
    let now = Instant::now();
    let config = OutlierDetection { max_ejection_percent: 100, ..by_percentage() };
    let (mut detector, keys) = detector(config, 2, now);
    calls(&detector, &keys[0], 15, 85);
    calls(&detector, &keys[1], 29, 171);
    detector.tick(now, &Random::seeded(1));
    assert_eq!(ejected(&detector, &keys), [false, true]);
}

#[test]
fn a50_rule_5_a_percentage_at_the_threshold_is_not_above_it_by_rounding() {
    let now = Instant::now();
    let mut config = OutlierDetection { max_ejection_percent: 100, ..by_percentage() };
    config.failure_percentage.as_mut().unwrap().threshold = 28;
    let (mut detector, keys) = detector(config, 1, now);
    calls(&detector, &keys[0], 18, 7);
    assert_eq!(detector.tick(now, &Random::seeded(1)), []);
}

#[test]
fn a50_rule_6_the_first_host_is_ejected_even_at_ten_percent() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 5, now);
    keys.iter().for_each(|key| calls(&detector, key, 0, 1));
    let changes = detector.tick(now, &Random::seeded(1));
    assert_eq!(ejected(&detector, &keys), [true, false, false, false, false]);
    // gRFC A91: those that the cap kept are told too.
    let overflow =
        |change: &&Change| matches!(change, Change::Unenforced { reason: Unenforced::MaxEjectionOverflow, .. });
    assert_eq!(changes.iter().filter(overflow).count(), 4);
}

#[test]
fn a50_rule_6_a_maximum_of_zero_never_ejects() {
    let now = Instant::now();
    let (mut detector, keys) = detector(OutlierDetection { max_ejection_percent: 0, ..by_percentage() }, 5, now);
    keys.iter().for_each(|key| calls(&detector, key, 0, 1));
    detector.tick(now, &Random::seeded(1));
    assert_eq!(ejected(&detector, &keys), [false; 5]);
}

#[test]
fn a50_rule_7_an_ejected_endpoint_stays_ejected_over_a_new_list() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 2, now);
    calls(&detector, &keys[0], 0, 1);
    detector.tick(now, &Random::seeded(1));
    detector.set_endpoints(&keys[..1]);
    assert!(detector.is_ejected(&keys[0]));
}

#[test]
fn a50_an_interval_of_zero_is_never_without_a_pause() {
    let now = Instant::now();
    let (mut detector, _) = detector(OutlierDetection { interval: Duration::ZERO, ..by_percentage() }, 1, now);
    for _ in 0..2 {
        let before = detector.next_tick().unwrap();
        detector.tick(before, &Random::seeded(1));
        assert_eq!(detector.next_tick().unwrap() - before, Duration::from_millis(1));
    }
}

#[test]
fn a50_rule_8_a_new_interval_counts_from_the_start_of_the_one_that_runs() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 1, now);
    calls(&detector, &keys[0], 0, 1);
    let shorter = OutlierDetection { interval: TEN / 2, ..by_percentage() };
    detector.update(Some(shorter), now + Duration::from_secs(8));
    assert_eq!(detector.next_tick(), Some(now + TEN / 2));
    detector.tick(now + Duration::from_secs(8), &Random::seeded(1));
    assert!(detector.is_ejected(&keys[0]), "the counts go on");
}

#[test]
fn a50_rule_8_unset_algorithms_take_all_back_and_starting_again_counts_from_zero() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 1, now);
    calls(&detector, &keys[0], 0, 1);
    detector.tick(now, &Random::seeded(1));
    calls(&detector, &keys[0], 0, 7);
    assert!(matches!(detector.update(None, now)[..], [Change::Unejected { .. }]));
    assert_eq!((detector.next_tick(), detector.entries[0].multiplier), (None, 0));
    detector.update(Some(by_percentage()), now + TEN);
    assert_eq!(detector.next_tick(), Some(now + 2 * TEN));
    assert_eq!(detector.counter(&keys[0]).unwrap().take(), (0, 0));
}

#[test]
fn a50_rule_9_a_removed_address_is_forgotten_and_cancelled_calls_are_not_counted() {
    let now = Instant::now();
    let (mut detector, keys) = detector(by_percentage(), 1, now);
    detector.counter(&keys[0]).unwrap().record(Outcome::Cancelled);
    assert_eq!(detector.tick(now, &Random::seeded(1)), []);
    calls(&detector, &keys[0], 0, 1);
    detector.tick(now, &Random::seeded(1));
    detector.set_endpoints(&[]);
    detector.set_endpoints(&keys);
    assert!(!detector.is_ejected(&keys[0]));
}

#[test]
fn a91_chance_that_keeps_an_outlier_is_told() {
    let now = Instant::now();
    let mut config = by_percentage();
    config.failure_percentage.as_mut().unwrap().enforcement_percentage = 0;
    let (mut detector, keys) = detector(config, 1, now);
    calls(&detector, &keys[0], 0, 1);
    let changes = detector.tick(now, &Random::seeded(1));
    assert!(matches!(changes[..], [Change::Unenforced { reason: Unenforced::EnforcementPercentage, .. }]));
}

/// The algorithm as the document writes it.
#[derive(Clone, Default)]
struct Host {
    ok: u32,
    failed: u32,
    at: Option<u64>,
    multiplier: u32,
}

fn model(hosts: &mut [Host], config: &OutlierDetection, now: u64, random: &Random) {
    let total = hosts.len() as f64;
    let share = |hosts: &[Host]| 100.0 * hosts.iter().filter(|host| host.at.is_some()).count() as f64 / total;
    let enough = |host: &Host, volume: u32| host.ok + host.failed >= volume;
    let cap = f64::from(config.max_ejection_percent);
    if let Some(rule) = config.success_rate {
        let rates: Vec<f64> = hosts
            .iter()
            .filter(|host| enough(host, rule.request_volume))
            .map(|host| f64::from(host.ok) / f64::from(host.ok + host.failed))
            .collect();
        if rates.len() >= rule.minimum_hosts as usize && !rates.is_empty() {
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            let stdev = (rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / rates.len() as f64).sqrt();
            for index in 0..hosts.len() {
                if share(hosts) >= cap {
                    break;
                }
                let host = &hosts[index];
                if !enough(host, rule.request_volume) {
                    continue;
                }
                let rate = f64::from(host.ok) / f64::from(host.ok + host.failed);
                if rate < mean - stdev * (f64::from(rule.stdev_factor) / 1000.0)
                    && (random.below(100) as u32) < rule.enforcement_percentage
                {
                    hosts[index].at = Some(now);
                    hosts[index].multiplier += 1;
                }
            }
        }
    }
    if let Some(rule) = config.failure_percentage {
        let many = hosts.iter().filter(|host| enough(host, rule.request_volume)).count();
        for index in 0..hosts.len() {
            if many < rule.minimum_hosts as usize || share(hosts) >= cap {
                break;
            }
            let host = &hosts[index];
            if enough(host, rule.request_volume)
                && 100.0 * f64::from(host.failed) / f64::from(host.ok + host.failed) > f64::from(rule.threshold)
                && (random.below(100) as u32) < rule.enforcement_percentage
            {
                hosts[index].at = Some(now);
                hosts[index].multiplier += 1;
            }
        }
    }
    for host in hosts {
        match host.at {
            None if host.multiplier > 0 => host.multiplier -= 1,
            None => {}
            Some(at) => {
                let base = config.base_ejection_time.as_secs();
                if now > at + (base * u64::from(host.multiplier)).min(base.max(config.max_ejection_time.as_secs())) {
                    host.at = None;
                }
            }
        }
        (host.ok, host.failed) = (0, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn a50_it_does_what_a_naive_model_does(
        seed in any::<u64>(),
        rate in proptest::option::of((0_u32..3000, 0_u32..=100, 0_u32..6, 1_u32..12)),
        share in proptest::option::of((0_u32..=100, 0_u32..=100, 0_u32..6, 1_u32..12)),
        cap in 0_u32..=100,
        ticks in proptest::collection::vec(proptest::collection::vec((0_u32..30, 0_u32..30), 7), 1..12),
    ) {
        let success_rate = rate.map(|(stdev_factor, enforcement_percentage, minimum_hosts, request_volume)| {
            SuccessRateEjection { stdev_factor, enforcement_percentage, minimum_hosts, request_volume }
        });
        let failure_percentage = share.map(|(threshold, enforcement_percentage, minimum_hosts, request_volume)| {
            FailurePercentageEjection { threshold, enforcement_percentage, minimum_hosts, request_volume }
        });
        let config = OutlierDetection {
            base_ejection_time: TEN, max_ejection_time: 4 * TEN, max_ejection_percent: cap,
            success_rate, failure_percentage, ..Default::default()
        };
        let start = Instant::now();
        let (mut detector, keys) = detector(config.clone(), 7, start);
        let mut hosts = vec![Host::default(); 7];
        let (ours, theirs) = (Random::seeded(seed), Random::seeded(seed));
        for (tick, counts) in ticks.into_iter().enumerate() {
            for (index, (ok, failed)) in counts.into_iter().enumerate() {
                calls(&detector, &keys[index], ok, failed);
                (hosts[index].ok, hosts[index].failed) = (ok, failed);
            }
            let now = 10 * (tick as u64 + 1);
            detector.tick(start + Duration::from_secs(now), &ours);
            model(&mut hosts, &config, now, &theirs);
            for (entry, host) in detector.entries.iter().zip(&hosts) {
                let at = host.at.map(|at| start + Duration::from_secs(at));
                prop_assert_eq!((entry.ejected_at, entry.multiplier), (at, host.multiplier));
            }
        }
    }
}
