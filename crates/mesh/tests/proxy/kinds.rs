//! The four kinds of calls, and what of them passes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::uri::PathAndQuery;
use meshwork::deadline::parse_timeout;
use meshwork::server::Server;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::support::{CHAT, FLOOD, HANG, HIDDEN, REFUSE, UPLOAD, World, assert_is_refusal, codec, until};

#[tokio::test(start_paused = true)]
async fn a_call_passes_with_its_metadata_and_what_is_left_of_its_deadline() {
    let world = World::start();
    let mut request = Request::new("said".to_owned());
    request.metadata_mut().insert("x-asked", "why".parse().unwrap());
    request.metadata_mut().insert_bin("x-asked-bin", MetadataValue::from_bytes(b"\x00\xff"));
    request.set_timeout(Duration::from_secs(9));
    let response = world.unary(request).await.unwrap();
    assert_eq!(response.metadata().get("x-answer").unwrap(), "yes");
    assert_eq!(response.into_inner(), "said");
    let head = world.echo.last_head();
    assert_eq!(head.get("x-asked").unwrap(), "why");
    assert_eq!(head.get("x-passed-by").unwrap(), "proxy");
    let metadata = tonic::metadata::MetadataMap::from_headers(head.clone());
    assert_eq!(metadata.get_bin("x-asked-bin").unwrap().to_bytes().unwrap(), b"\x00\xff".as_slice());
    assert_eq!(head.get("te").unwrap(), "trailers");
    let left = parse_timeout(head.get("grpc-timeout").unwrap()).unwrap();
    assert!(Duration::from_secs(8) < left && left <= Duration::from_secs(9), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_pass_message_by_message_in_both_directions() {
    let world = World::start();
    let mut answers = world.stream(HANG).await.unwrap().into_inner();
    for number in ["0", "1", "2"] {
        assert_eq!(answers.message().await.unwrap().unwrap(), number, "of a stream that doesn't end");
    }
    let mut answers = world.stream("").await.unwrap().into_inner();
    let mut count = 0;
    while answers.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 3);

    let messages = Request::new(tokio_stream::iter(["a", "b"].map(str::to_owned)));
    let path = PathAndQuery::from_static(UPLOAD);
    let response = world.grpc().await.client_streaming(messages, path, codec()).await.unwrap();
    assert_eq!(response.metadata().get("x-answer").unwrap(), "yes");
    assert_eq!(response.into_inner(), "2");

    let (say, said) = tokio::sync::mpsc::channel(1);
    let path = PathAndQuery::from_static(CHAT);
    // The first message is there before the call: a server takes it in before the call gets anywhere.
    say.send("first".to_owned()).await.unwrap();
    let request = Request::new(ReceiverStream::new(said));
    let mut answers = world.grpc().await.streaming(request, path, codec()).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap(), "first");
    for message in ["second", "third"] {
        say.send(message.to_owned()).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap(), message);
    }
    drop(say);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn errors_pass_with_their_details_and_metadata_at_once_and_after_messages() {
    let world = World::start();
    assert_is_refusal(&world.unary(Request::new(REFUSE.to_owned())).await.unwrap_err());
    let mut answers = world.stream(REFUSE).await.unwrap().into_inner();
    for number in ["0", "1", "2"] {
        assert_eq!(answers.message().await.unwrap().unwrap(), number);
    }
    assert_is_refusal(&answers.message().await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_method_without_a_route_is_answered_by_the_routes() {
    let world = World::start();
    let status = world.unary_at(HIDDEN, Request::new(String::new())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert_eq!(world.echo.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_lets_go_of_a_call_ends_it_at_the_upstream() {
    let world = World::start();
    let call = world.unary(Request::new(HANG.to_owned()));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    until("the call has ended", || world.echo.calls() == 1 && world.running() == 0).await;
    let mut answers = world.stream(HANG).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert!(world.running() > 0);
    drop(answers);
    until("the stream has ended", || world.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_holds_the_upstream_back() {
    let world = World::start();
    let mut answers = world.stream(FLOOD).await.unwrap().into_inner();
    let full = flood_that_stands_still(&world).await;
    assert!(full < 16 << 10, "{full} KiB are on their way");
    for _ in 0..full {
        answers.message().await.unwrap().unwrap();
    }
    assert!(flood_that_stands_still(&world).await > full, "it goes on with its reader");
}

#[tokio::test(start_paused = true)]
async fn s7_a_proxy_reads_no_more_than_its_window_ahead_of_a_caller_that_does_not_read() {
    // The caller's own window and the pipes are the same for both: the proxy's window is the difference.
    let mut full = [64 << 10, 1 << 20].map(|window| (window, 0));
    for (window, full) in &mut full {
        let world = World::with_windows(Server::builder(), *window, 64 << 10);
        let _answers = world.stream(FLOOD).await.unwrap().into_inner();
        *full = flood_that_stands_still(&world).await;
    }
    let [(_, small), (_, large)] = full;
    assert!(small < 1 << 10, "{small} KiB are on their way");
    assert!(small + 512 < large, "{small} KiB with the small window, {large} KiB with the large one");
}

/// How many KiB the upstream has flooded when it stands still.
async fn flood_that_stands_still(world: &World) -> usize {
    let flooded = || world.echo.flooded.load(Ordering::SeqCst);
    for _ in 0..1_000 {
        let before = flooded();
        tokio::time::sleep(Duration::from_millis(10)).await;
        if flooded() == before {
            return before;
        }
    }
    panic!("{} messages, and no end", flooded())
}
