//! What becomes of a connection: loss, GOAWAY, idleness, the end.

use super::*;
use crate::observe::Observers;
use crate::transport::Http2Options;

fn state(subchannel: &Subchannel) -> Connectivity {
    subchannel.state().connectivity
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_at_once() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    pass_ms(5000).await;
    net.tell(Tell::Close);
    settle().await;
    assert_eq!(state(&one), Connectivity::Ready);
    assert_eq!(net.times(), [0, 5000]);
    assert_eq!(one.connection_id(), 2);
}

#[tokio::test(start_paused = true)]
async fn goaway_makes_a_new_connection_at_once_and_streams_finish_on_the_old() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    let (exchange, body) = call(one.reserve().unwrap());
    settle().await;
    net.tell(Tell::GoAway);
    settle().await;
    assert_eq!((state(&one), net.open(), one.connection_id()), (Connectivity::Ready, 2, 2));
    ping(one.reserve().unwrap()).await;
    drop(body);
    assert_eq!(exchange.await.unwrap().headers()["grpc-status"], "0");
    settle().await;
    assert_eq!(net.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drops_each_connection_gets_them_with_backoff() {
    let net = Net::new();
    // SETTINGS, then GOAWAY with NO_ERROR.
    net.set(A, Does::Say(settings(), goaway(0, b"")));
    let _one = net.connect(&[A], net.options());
    pass_ms(20_000).await;
    let dials = net.times();
    assert!(dials.len() < 10 && dials.len() > 3, "{dials:?}");
    // The first loss is forgiven.
    assert_eq!(dials[..4], [0, 10, 1010, 2610]);
}

#[tokio::test(start_paused = true)]
async fn a8_goaway_with_too_many_pings_doubles_the_interval_of_keepalive() {
    let net = Net::new();
    net.set(A, Does::Say(settings(), goaway(11, b"too_many_pings")));
    let one = net.connect(&[A], net.options());
    pass_ms(500).await;
    assert_eq!(one.shared.calmed.load(Ordering::Relaxed), 2);
    let http2 = Http2Options { keep_alive_interval: Some(Duration::from_secs(10)), ..Http2Options::default() };
    let options = Arc::new(Options { http2, ..net.options() });
    let task = Task::new("test".into(), Vec::new(), options, Arc::clone(&one.shared));
    assert_eq!(task.http2().keep_alive_interval, Some(Duration::from_secs(40)));
    one.shared.calmed.store(u32::MAX, Ordering::Relaxed);
    assert!(task.http2().keep_alive_interval > Some(Duration::from_secs(1 << 32)));
}

#[tokio::test(start_paused = true)]
async fn a8_goaway_for_another_reason_leaves_the_interval() {
    let net = Net::new();
    net.set(A, Does::Say(settings(), goaway(11, b"slow down")));
    let one = net.connect(&[A], net.options());
    pass_ms(500).await;
    assert_eq!(one.shared.calmed.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_call_asks_for_another() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let idle_timeout = Some(Duration::from_secs(30));
    let one = net.connect(&[A], Options { idle_timeout, ..net.options() });
    until(&one, Connectivity::Ready).await;
    let (exchange, body) = call(one.reserve().unwrap());
    pass_ms(300_000).await;
    // A stream is open.
    assert_eq!(state(&one), Connectivity::Ready);
    drop(body);
    exchange.await.unwrap();
    pass_ms(61_000).await;
    assert_eq!((state(&one), net.open()), (Connectivity::Idle, 0));
    pass_ms(600_000).await;
    assert_eq!(net.dials().len(), 1);
    assert_eq!(one.reserve().unwrap_err(), NoSlot::NotReady);
    until(&one, Connectivity::Ready).await;
    ping(one.reserve().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn calls_now_and_then_keep_a_connection_from_being_idle() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let idle_timeout = Some(Duration::from_secs(30));
    let one = net.connect(&[A], Options { idle_timeout, ..net.options() });
    until(&one, Connectivity::Ready).await;
    for _ in 0..20 {
        pass_ms(25_000).await;
        ping(one.reserve().unwrap()).await;
    }
    assert_eq!(net.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_health_does_not_keep_a_connection_from_being_idle() {
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let health_check =
        HealthCheck { service: "".into(), authority: "shop".parse().unwrap(), scheme: http::uri::Scheme::HTTP };
    let options =
        Options { idle_timeout: Some(Duration::from_secs(30)), health_check: Some(health_check), ..net.options() };
    let one = net.connect(&[A], options);
    until(&one, Connectivity::Ready).await;
    pass_ms(31_000).await;
    assert_eq!((state(&one), net.open()), (Connectivity::Idle, 0));
}

#[tokio::test(start_paused = true)]
async fn trap_5_nothing_is_left_when_the_last_handle_drops() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    net.set(B, Does::Hang);
    net.set(C, Does::Refuse);
    for address in [A, B, C] {
        let one = net.connect(&[address], net.options());
        let other = one.clone();
        let mut states = one.watch();
        settle().await;
        drop(one);
        settle().await;
        assert_ne!(other.state().connectivity, Connectivity::Shutdown);
        drop(other);
        settle().await;
        assert_eq!(states.borrow_and_update().connectivity, Connectivity::Shutdown);
        assert!(states.changed().await.is_err());
        assert_eq!((tasks(), net.open()), (before, 0), "{address}");
    }
    assert_eq!(net.0.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn open_streams_finish_after_the_last_handle_dropped() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let net = Net::new();
    net.set(A, Does::Serve(server()));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    let (exchange, body) = call(one.reserve().unwrap());
    drop(one);
    pass_ms(1000).await;
    drop(body);
    assert_eq!(exchange.await.unwrap().headers()["grpc-status"], "0");
    settle().await;
    assert_eq!((tasks(), net.open()), (before, 0));
}

#[tokio::test(start_paused = true)]
async fn observers_are_told_of_each_state() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let observers = Observers::new(move |event: &crate::observe::Event<'_>| {
        if let crate::observe::Event::EndpointChanged { endpoint, state, error } = event {
            told.lock().unwrap().push((endpoint.to_string(), *state, error.map(str::to_owned)));
        }
    });
    let net = Net::new();
    net.set(A, Does::RefuseAfter(Duration::from_millis(5)));
    let one = net.connect(&[A], Options { observers, ..net.options() });
    pass_ms(10).await;
    net.set(A, Does::Serve(server()));
    until(&one, Connectivity::Ready).await;
    let seen = seen.lock().unwrap();
    let states: Vec<_> = seen.iter().map(|(_, state, _)| *state).collect();
    assert_eq!(states, [Connectivity::Connecting, Connectivity::TransientFailure, Connectivity::Ready]);
    assert_eq!(seen[1], ("test".to_owned(), states[1], Some(format!("{A}: connection refused"))));
}

/// The SETTINGS of a server, and its ACK of ours.
fn settings() -> Bytes {
    let mut bytes = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
    bytes.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
    bytes.into()
}

/// GOAWAY with this code and these words.
fn goaway(code: u8, data: &[u8]) -> Bytes {
    let mut bytes = vec![0, 0, 8 + data.len() as u8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, code];
    bytes.extend_from_slice(data);
    bytes.into()
}
