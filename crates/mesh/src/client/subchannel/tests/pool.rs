//! gRFC A105 (§3.4): more connections when streams run out.

use super::*;

fn options(net: &Net, max_connections: usize) -> Options {
    Options { max_connections, ..net.options() }
}

fn small(limit: u32) -> Does {
    Does::Serve(Server { limit, ..server() })
}

#[tokio::test(start_paused = true)]
async fn a105_one_connection_unless_said() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    let _slot = one.reserve().unwrap();
    assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
    pass_ms(60_000).await;
    assert_eq!(net.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn c19_a105_another_connection_only_when_a_call_waits_and_all_are_full_and_it_is_no_news_of_the_server() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 3));
    until(&one, Connectivity::Ready).await;
    let _first = one.reserve().unwrap();
    pass_ms(1000).await;
    // Full, and nobody waits.
    assert_eq!(net.dials().len(), 1);
    assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
    let _second = place(&one).await;
    assert_eq!((net.dials().len(), one.connection_id()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a105_no_other_connection_when_room_came_back_meanwhile() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 3));
    until(&one, Connectivity::Ready).await;
    let slot = one.reserve().unwrap();
    assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
    drop(slot);
    pass_ms(1000).await;
    assert_eq!(net.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a105_no_more_than_the_maximum_and_never_more_than_ten() {
    for (max, is) in [(2, 2), (50, 10)] {
        let net = Net::new();
        net.set(A, small(1));
        let one = net.connect(&[A], options(&net, max));
        until(&one, Connectivity::Ready).await;
        let mut slots = Vec::new();
        for _ in 0..30 {
            slots.extend(one.reserve());
            settle().await;
        }
        assert_eq!((slots.len(), net.dials().len()), (is, is));
    }
}

#[tokio::test(start_paused = true)]
async fn a105_no_other_try_while_one_is_in_flight() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 5));
    until(&one, Connectivity::Ready).await;
    net.set(A, Does::Hang);
    let _slot = one.reserve().unwrap();
    for _ in 0..100 {
        assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
        pass_ms(100).await;
    }
    assert_eq!(net.dials().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a105_the_oldest_connection_with_room_is_picked_first() {
    let net = Net::new();
    net.set(A, small(2));
    let one = net.connect(&[A], options(&net, 2));
    until(&one, Connectivity::Ready).await;
    let oldest = [one.reserve().unwrap(), one.reserve().unwrap()];
    assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
    let younger = place(&one).await;
    drop(oldest);
    let usable = one.shared.usable.load_full();
    let _next = [one.reserve().unwrap(), one.reserve().unwrap()];
    assert_eq!([usable.connections[0].active_streams(), usable.connections[1].active_streams()], [2, 1]);
    drop(younger);
}

#[tokio::test(start_paused = true)]
async fn a105_a_failed_try_waits_for_its_backoff_and_is_repeated_while_all_are_full() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 2));
    until(&one, Connectivity::Ready).await;
    net.set(A, Does::Refuse);
    let _slot = one.reserve().unwrap();
    for _ in 0..30 {
        assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
        pass_ms(100).await;
    }
    assert_eq!(net.times(), [0, 0, 1000, 2600]);
    assert_eq!(one.state().connectivity, Connectivity::Ready);
}

#[tokio::test(start_paused = true)]
async fn a105_a_failed_try_is_repeated_for_a_call_that_waits_and_does_not_ask_again() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 2));
    until(&one, Connectivity::Ready).await;
    net.set(A, Does::Refuse);
    let _slot = one.reserve().unwrap();
    let waiting = one.clone();
    let waiting = tokio::spawn(async move { place(&waiting).await });
    pass_ms(500).await;
    net.set(A, small(1));
    let _second = tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("a place in time").unwrap();
    assert_eq!(net.times(), [0, 0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn a105_the_loss_of_one_of_several_is_no_change_of_state() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], options(&net, 2));
    until(&one, Connectivity::Ready).await;
    let _slot = one.reserve().unwrap();
    let _ = one.reserve();
    drop(place(&one).await);
    let generation = one.state().generation;
    net.tell(Tell::Close);
    settle().await;
    assert_eq!(one.state().generation, generation);
    assert_eq!((net.open(), net.dials().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_a_place_when_there_is_a_connection_and_when_a_stream_ends() {
    let net = Net::new();
    net.set(A, small(1));
    let one = net.connect(&[A], net.options());
    let slot = place(&one).await;
    let mut waits = tokio_test::task::spawn(place(&one));
    assert!(waits.poll().is_pending());
    drop(slot);
    assert!(waits.is_woken() && waits.poll().is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_waits_for_room_is_forgotten() {
    let net = Net::new();
    net.set(A, small(2));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    let calls = (0..8).map(|_| {
        let one = one.clone();
        tokio::spawn(async move {
            for _ in 0..2000 {
                let slot = place(&one).await;
                tokio::task::yield_now().await;
                drop(slot);
            }
        })
    });
    let all = futures_util::future::join_all(calls);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("all calls to be served");
}
