//! gRFC A61 and connection backoff (§3.9).

use super::*;
use crate::client::subchannel::slots::interleave;

fn state(subchannel: &Subchannel) -> Connectivity {
    subchannel.state().connectivity
}

#[tokio::test(start_paused = true)]
async fn a61_it_starts_idle_and_connects_only_when_asked() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let one = net.spawn(&[A], net.options());
    pass_ms(10_000).await;
    assert_eq!(state(&one), Connectivity::Idle);
    assert!(net.dials().is_empty());
    assert_eq!(one.reserve().unwrap_err(), NoSlot::NotReady);
    until(&one, Connectivity::Ready).await;
    ping(one.reserve().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn ready_only_after_the_settings_of_the_peer() {
    let net = Net::new();
    net.set(A, Does::Freeze);
    let one = net.connect(&[A], net.options());
    pass_ms(19_990).await;
    assert_eq!(state(&one), Connectivity::Connecting);
    pass_ms(20).await;
    let failed = one.state();
    assert_eq!(failed.connectivity, Connectivity::TransientFailure);
    let error = failed.error.unwrap().to_string();
    assert!(error.contains(A) && error.contains("20s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a61_the_timer_starts_the_next_address_without_cancelling_the_one_before() {
    let net = Net::new();
    net.set(A, Does::ServeAfter(Duration::from_millis(600), server()));
    net.set(B, Does::Hang);
    net.set(C, Does::Hang);
    let one = net.connect(&[A, B, C], net.options());
    until(&one, Connectivity::Ready).await;
    assert_eq!(net.dials(), [(0, A.to_owned()), (250, B.to_owned()), (500, C.to_owned())]);
    assert_eq!(net.now(), 600);
}

#[tokio::test(start_paused = true)]
async fn a61_the_delay_is_clamped_to_100_ms_and_2_s() {
    for (asked, is) in [(1, 100), (100, 100), (2000, 2000), (60_000, 2000)] {
        let net = Net::new();
        net.set(A, Does::Hang);
        net.set(B, Does::Hang);
        let options = Options { happy_eyeballs_delay: Duration::from_millis(asked), ..net.options() };
        let _one = net.connect(&[A, B], options);
        pass_ms(5000).await;
        assert_eq!(net.times(), [0, is]);
    }
}

#[tokio::test(start_paused = true)]
async fn a61_a_failure_starts_the_next_address_at_once() {
    let net = Net::new();
    net.set(A, Does::Refuse);
    net.set(B, Does::RefuseAfter(Duration::from_millis(30)));
    net.set(C, Does::Serve(server()));
    let one = net.connect(&[A, B, C], net.options());
    until(&one, Connectivity::Ready).await;
    assert_eq!(net.times(), [0, 0, 30]);
}

#[tokio::test(start_paused = true)]
async fn a61_the_failure_of_an_older_address_does_not_hurry_the_next() {
    let net = Net::new();
    net.set(A, Does::RefuseAfter(Duration::from_millis(300)));
    net.set(B, Does::Hang);
    net.set(C, Does::Hang);
    let _one = net.connect(&[A, B, C], net.options());
    pass_ms(1000).await;
    assert_eq!(net.times(), [0, 250, 500]);
}

#[tokio::test(start_paused = true)]
async fn a61_the_first_ready_wins_and_cancels_the_others() {
    let net = Net::new();
    net.set(A, Does::Hang);
    net.set(B, Does::Serve(server()));
    let one = net.connect(&[A, B], net.options());
    until(&one, Connectivity::Ready).await;
    settle().await;
    assert_eq!(net.0.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(net.open(), 1);
    pass_ms(600_000).await;
    assert_eq!(net.dials().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a61_the_end_of_the_first_pass_is_transient_failure_until_ready() {
    let net = Net::new();
    net.set(A, Does::Refuse);
    net.set(B, Does::RefuseAfter(Duration::from_millis(50)));
    let one = net.connect(&[A, B], net.options());
    settle().await;
    assert_eq!(state(&one), Connectivity::Connecting);
    pass_ms(60).await;
    let failed = one.state();
    assert_eq!(failed.connectivity, Connectivity::TransientFailure);
    let error = failed.error.unwrap();
    assert_eq!(error.to_string(), format!("{A}: connection refused; {B}: connection refused"));
    net.set(A, Does::Hang);
    let mut states = one.watch();
    states.mark_unchanged();
    // A is being tried, and yet it is no other state.
    pass_ms(1500).await;
    assert_eq!(net.dials().iter().filter(|(_, to)| to == A).count(), 2);
    assert_eq!(state(&one), Connectivity::TransientFailure);
    net.set(B, Does::Serve(server()));
    until(&one, Connectivity::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a61_after_the_pass_each_address_retries_when_its_own_backoff_ends() {
    let net = Net::new();
    net.set(A, Does::Refuse);
    net.set(B, Does::RefuseAfter(Duration::from_millis(200)));
    let _one = net.connect(&[A, B], net.options());
    pass_ms(2700).await;
    // The backoff counts from the start of a try: 1 s, then 1.6 s.
    assert_eq!(
        net.dials()[2..],
        [(1000, A.to_owned()), (1000, B.to_owned()), (2600, A.to_owned()), (2600, B.to_owned())]
    );
}

#[tokio::test(start_paused = true)]
async fn a61_a_new_resolution_is_worth_it_each_time_that_the_failures_reach_the_number_of_addresses() {
    let net = Net::new();
    let one = net.connect(&[A, B], net.options());
    until(&one, Connectivity::TransientFailure).await;
    settle().await;
    let first = one.state().generation;
    pass_ms(900).await;
    assert_eq!(one.state().generation, first);
    pass_ms(200).await;
    assert_eq!(one.state().generation, first + 1);
    pass_ms(1600).await;
    assert_eq!(one.state().generation, first + 2);
}

#[tokio::test(start_paused = true)]
async fn a61_families_take_turns_beginning_with_the_first() {
    let list = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1", "[::1]:1"];
    let mixed = interleave(list.iter().map(|one| at(one).into()).collect());
    let mixed: Vec<_> = mixed.iter().map(ToString::to_string).collect();
    assert_eq!(mixed, ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
}

#[tokio::test(start_paused = true)]
async fn a61_a_ready_address_that_is_in_the_new_list_keeps_its_connection() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    one.update_addresses(vec![at(B).into(), at(A).into()]);
    pass_ms(5000).await;
    assert_eq!(net.dials().len(), 1);
    assert_eq!(one.connection_id(), 1);
    ping(one.reserve().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a61_a_ready_address_that_left_the_list_is_replaced_and_its_streams_finish() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    net.set(B, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    let (exchange, body) = call(one.reserve().unwrap());
    settle().await;
    one.update_addresses(vec![at(B).into()]);
    pass_ms(100).await;
    assert_eq!((state(&one), one.connection_id(), net.open()), (Connectivity::Ready, 2, 2));
    drop(body);
    assert_eq!(exchange.await.unwrap().headers()["grpc-status"], "0");
    settle().await;
    assert_eq!(net.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a61_a_new_list_adopts_who_is_connecting_and_skips_who_is_in_backoff() {
    let net = Net::new();
    net.set(A, Does::Refuse);
    net.set(B, Does::ServeAfter(Duration::from_millis(400), server()));
    let one = net.connect(&[A, B], net.options());
    pass_ms(100).await;
    one.update_addresses(vec![at(A).into(), at(B).into(), at(C).into()]);
    until(&one, Connectivity::Ready).await;
    // A waits, B goes on, C follows after the delay.
    assert_eq!(net.dials(), [(0, A.to_owned()), (0, B.to_owned()), (350, C.to_owned())]);
    assert_eq!(net.now(), 400);
}

#[tokio::test(start_paused = true)]
async fn a61_the_same_list_again_keeps_no_address_from_its_turn() {
    let net = Net::new();
    net.set(A, Does::Hang);
    net.set(B, Does::Serve(server()));
    let one = net.connect(&[A, B], net.options());
    for _ in 0..10 {
        pass_ms(50).await;
        one.update_addresses(vec![at(A).into(), at(B).into()]);
    }
    until(&one, Connectivity::Ready).await;
    assert_eq!(net.dials(), [(0, A.to_owned()), (250, B.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a61_the_same_list_again_is_no_failure() {
    let net = Net::new();
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::TransientFailure).await;
    settle().await;
    let generation = one.state().generation;
    for _ in 0..10 {
        one.update_addresses(vec![at(A).into()]);
        settle().await;
    }
    assert_eq!(one.state().generation, generation);
}

#[tokio::test(start_paused = true)]
async fn a61_a_try_of_an_address_that_left_the_list_is_given_up() {
    let net = Net::new();
    net.set(A, Does::Hang);
    net.set(B, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    settle().await;
    one.update_addresses(vec![at(B).into()]);
    until(&one, Connectivity::Ready).await;
    settle().await;
    assert_eq!(net.0.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn backoff_is_1_s_times_1_6_to_120_s() {
    let net = Net::new();
    let _one = net.connect(&[A], net.options());
    pass_ms(1_000_000).await;
    let times = net.times();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() > 12);
    let mut expected = 1000.0_f64;
    for wait in waits {
        assert!((wait as f64 - expected).abs() <= 2.0, "{wait} is not {expected}");
        expected = (expected * 1.6).min(120_000.0);
    }
}

#[test]
fn backoff_jitter_is_20_percent_to_either_side_from_the_injected_source_and_after_the_cap() {
    let backoff = Backoff::default();
    let draw = |seed| {
        let random = Random::seeded(seed);
        (0..1000).map(|_| backoff.wait(50, &random).as_secs_f64()).collect::<Vec<_>>()
    };
    let delays = draw(7);
    assert_eq!(delays, draw(7));
    assert_ne!(delays, draw(8));
    let (least, most) = delays.iter().fold((f64::MAX, 0_f64), |(a, b), one| (a.min(*one), b.max(*one)));
    assert!((96.0..97.0).contains(&least) && most > 143.0 && most < 144.0, "{least} {most}");
}

#[test]
fn trap_10_a_backoff_never_overflows() {
    let random = Random::seeded(1);
    for backoff in [
        Backoff::default(),
        Backoff { multiplier: f64::MAX, jitter: 0.0, ..Backoff::default() },
        Backoff { initial: Duration::ZERO, jitter: 0.0, ..Backoff::default() },
        Backoff { max: Duration::MAX, ..Backoff::default() },
    ] {
        for failures in [0, 1, 1000, u32::MAX] {
            let delay = backoff.wait(failures, &random);
            assert!(delay.as_secs_f64() <= backoff.max.as_secs_f64() * 1.2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_is_reset_by_a_connection() {
    let net = Net::new();
    let one = net.connect(&[A], net.options());
    pass_ms(5000).await;
    let before = net.dials().len();
    net.set(A, Does::Serve(server()));
    until(&one, Connectivity::Ready).await;
    pass_ms(5000).await;
    net.set(A, Does::Refuse);
    net.tell(Tell::Close);
    settle().await;
    let at = net.now();
    pass_ms(1100).await;
    assert_eq!(net.times()[before + 1..], [at, at + 1000]);
}

#[tokio::test(start_paused = true)]
async fn connect_timeout_covers_a_connector_that_hangs() {
    let net = Net::new();
    net.set(A, Does::Hang);
    let one = net.connect(&[A], Options { connect_timeout: Duration::from_secs(3), ..net.options() });
    until(&one, Connectivity::TransientFailure).await;
    assert_eq!(net.now(), 3000);
    assert_eq!(net.0.dropped.load(Ordering::SeqCst), 1);
}
