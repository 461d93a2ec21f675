//! gRFC A17 (§3.3): client health checking.

use super::*;
use crate::client::subchannel::health::{Health as Verdict, watch};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

fn checked(net: &Net) -> Options {
    let health_check =
        HealthCheck { service: "shop".into(), authority: "shop".parse().unwrap(), scheme: http::uri::Scheme::HTTP };
    Options { health_check: Some(health_check), ..net.options() }
}

fn state(subchannel: &Subchannel) -> Connectivity {
    subchannel.state().connectivity
}

#[tokio::test(start_paused = true)]
async fn a17_rule_1_off_unless_asked() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![NOT_SERVING])]));
    let one = net.connect(&[A], net.options());
    until(&one, Connectivity::Ready).await;
    settle().await;
    assert!(net.watches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a17_rule_1_an_empty_name_asks_for_the_whole_server() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let mut options = checked(&net);
    options.health_check.as_mut().unwrap().service = "".into();
    let one = net.connect(&[A], options);
    until(&one, Connectivity::Ready).await;
    assert_eq!(net.watches(), [(0, String::new())]);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_2_watch_starts_at_once_and_it_is_connecting_until_the_first_response() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![])]));
    let one = net.connect(&[A], checked(&net));
    pass_ms(60_000).await;
    assert_eq!(net.watches(), [(0, "shop".to_owned())]);
    assert_eq!(state(&one), Connectivity::Connecting);
    assert_eq!(one.reserve().unwrap_err(), NoSlot::NotReady);
    net.tell(Tell::Status(SERVING));
    settle().await;
    assert_eq!(state(&one), Connectivity::Ready);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_3_only_serving_is_ready_and_it_comes_back_directly() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    for status in [0, NOT_SERVING, SERVICE_UNKNOWN, 77] {
        net.tell(Tell::Status(status));
        settle().await;
        assert_eq!(state(&one), Connectivity::TransientFailure, "{status}");
        assert_eq!(one.reserve().unwrap_err(), NoSlot::NotReady);
        net.tell(Tell::Status(SERVING));
        settle().await;
        assert_eq!(state(&one), Connectivity::Ready);
        ping(one.reserve().unwrap()).await;
    }
    net.tell(Tell::Status(NOT_SERVING));
    settle().await;
    let error = one.state().error.unwrap().to_string();
    assert_eq!(error, format!("{A}: its health service says NOT_SERVING of `shop`"));
}

#[tokio::test(start_paused = true)]
async fn a17_rule_4_unimplemented_is_healthy_and_not_retried() {
    for calls in [Health::TrailersOnly(12), Health::End(vec![], 12)] {
        let net = Net::new();
        net.set(A, healthy(vec![calls]));
        let one = net.connect(&[A], checked(&net));
        until(&one, Connectivity::Ready).await;
        pass_ms(600_000).await;
        assert_eq!(net.watches().len(), 1);
        assert_eq!(state(&one), Connectivity::Ready);
    }
}

#[tokio::test(start_paused = true)]
async fn a17_rule_4_unimplemented_is_logged_as_one_error() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let net = Net::new();
    net.set(A, healthy(vec![Health::TrailersOnly(12)]));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    pass_ms(600_000).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    assert!(log.contains("no health service") && log.contains("shop"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a17_rule_5_any_other_end_is_transient_failure_and_retried_with_backoff() {
    for code in [0, 5, 14] {
        let net = Net::new();
        net.set(A, healthy(vec![Health::TrailersOnly(code), Health::End(vec![], code), Health::Stay(vec![])]));
        let one = net.connect(&[A], checked(&net));
        until(&one, Connectivity::TransientFailure).await;
        pass_ms(999).await;
        assert_eq!(state(&one), Connectivity::TransientFailure);
        pass_ms(3000).await;
        assert_eq!(net.watches().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1000, 2600]);
        // The state goes to CONNECTING when the try begins.
        assert_eq!(state(&one), Connectivity::Connecting);
        assert_eq!(net.dials().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a17_rule_5_a_message_resets_the_backoff_and_the_next_try_is_immediate() {
    let net = Net::new();
    let calls = vec![
        Health::TrailersOnly(14),
        Health::End(vec![NOT_SERVING], 0),
        Health::TrailersOnly(14),
        Health::Stay(vec![SERVING]),
    ];
    net.set(A, healthy(calls));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    let at: Vec<_> = net.watches().into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [0, 1000, 1000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a17_a_server_that_ends_each_stream_after_a_message_is_watched_with_backoff() {
    let net = Net::new();
    net.set(A, healthy((0..100).map(|_| Health::End(vec![SERVING], 0)).collect()));
    let _one = net.connect(&[A], checked(&net));
    pass_ms(3000).await;
    let at: Vec<_> = net.watches().into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [0, 0, 1000, 2600]);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_6_watch_is_cancelled_at_shutdown() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    assert_eq!(net.0.watching.load(Ordering::SeqCst), 1);
    drop(one);
    settle().await;
    assert_eq!((net.0.watching.load(Ordering::SeqCst), net.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a17_rule_6_watch_is_cancelled_at_goaway() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    net.tell(Tell::GoAway);
    settle().await;
    // The one of the new connection; the old connection had nothing else to wait for.
    assert_eq!(one.connection_id(), 2);
    assert_eq!((net.0.watching.load(Ordering::SeqCst), net.open()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a17_rule_6_the_stream_counts_to_the_limit_of_the_peer() {
    let net = Net::new();
    net.set(A, Does::Serve(Server { limit: 2, ..server() }));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    let _slot = one.reserve().unwrap();
    assert_eq!(one.reserve().unwrap_err(), NoSlot::Full);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_7_the_connection_is_kept_while_unhealthy() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let one = net.connect(&[A], checked(&net));
    until(&one, Connectivity::Ready).await;
    let (exchange, body) = call(one.reserve().unwrap());
    net.tell(Tell::Status(NOT_SERVING));
    pass_ms(600_000).await;
    assert_eq!(state(&one), Connectivity::TransientFailure);
    assert_eq!((net.dials().len(), net.open(), one.connection_id()), (1, 1, 1));
    // What was under way goes on.
    drop(body);
    exchange.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a17_a_dropped_watch_lets_its_stream_and_its_connection_go() {
    let net = Net::new();
    net.set(A, healthy(vec![Health::Stay(vec![SERVING])]));
    let options = Arc::new(checked(&net));
    let io = Connector::connect(&net, &at(A)).await.unwrap();
    let (connection, driver) =
        crate::transport::Connection::handshake(io, &options.http2, Arc::default(), None).await.unwrap();
    tokio::spawn(driver);
    let check = options.health_check.clone().unwrap();
    let mut health = watch(connection, check, options, Arc::default());
    use futures_util::StreamExt as _;
    assert_eq!(health.next().await, Some(Verdict::Serving));
    drop(health);
    settle().await;
    assert_eq!((net.0.watching.load(Ordering::SeqCst), net.open()), (0, 0));
}
