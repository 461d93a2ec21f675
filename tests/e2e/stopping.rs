//! Ends: signals, open streams, and what is left behind.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::orders::v1::WatchOrderRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_testkit::Up;
use meshwork_testkit::up::with;
use tonic::Code;

use crate::shop::{order_request, stocked_product};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_watches_with_unavailable_and_the_process_with_success() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "stopping", 5).await;
    let (_, customer) = up.customer("watcher").await;
    let mut orders = OrderServiceClient::new(up.channel());
    let order = orders.create_order(with(&customer, order_request(&product, 1, ""))).await.unwrap().into_inner();
    let request = WatchOrderRequest { name: order.name, resume_token: String::new() };
    let mut changes = orders.watch_order(with(&customer, request)).await.unwrap().into_inner();
    changes.message().await.unwrap().unwrap();

    let asked = Instant::now();
    up.signal("TERM");
    let end = loop {
        match changes.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if the order were final"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(up.wait().code(), Some(0), "{}", up.log());
    assert!(asked.elapsed() < Duration::from_secs(30), "the stop took {:?}", asked.elapsed());
    let notes = std::fs::read_dir(up.state().join("meshwork")).unwrap().count();
    assert_eq!(notes, 0, "the note for `demo` is gone");
}

#[test]
fn sigint_ends_it_too_and_a_restart_goes_on_with_the_same_account() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let before = std::fs::read(up.data().join("credentials/staff.json")).unwrap();
    up.signal("INT");
    assert_eq!(up.wait().code(), Some(0), "{}", up.log());
    let up = Up::start(folder.path(), &[]);
    assert_eq!(std::fs::read(up.data().join("credentials/staff.json")).unwrap(), before);
}

#[test]
fn silent_connections_do_not_hold_the_stop() {
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let mut half = TcpStream::connect(up.address("ops")).unwrap();
    half.write_all(b"GET /livez HT").unwrap();
    let silent: Vec<_> =
        ["gateway", "users", "orders"].map(|name| TcpStream::connect(up.address(name)).unwrap()).into();
    let asked = Instant::now();
    up.signal("TERM");
    assert_eq!(up.wait().code(), Some(0), "{}", up.log());
    assert!(asked.elapsed() < Duration::from_secs(5), "the stop took {:?}", asked.elapsed());
    drop((half, silent));
}

#[test]
fn a_second_signal_leaves_no_note_behind() {
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let note = up.state().join("meshwork").join(format!("up-{}.json", up.address("gateway").port()));
    assert!(note.is_file());
    // Half a request holds the stop for a second.
    let mut half = TcpStream::connect(up.address("ops")).unwrap();
    half.write_all(b"GET /livez HT").unwrap();
    up.signal("TERM");
    let asked = Instant::now();
    while !up.log().contains("stopping; a second signal") {
        assert!(asked.elapsed() < Duration::from_secs(10), "{}", up.log());
        std::thread::yield_now();
    }
    up.signal("INT");
    assert_eq!(up.wait().code(), Some(130), "{}", up.log());
    assert!(!note.exists(), "the note for `demo` is gone");
}
