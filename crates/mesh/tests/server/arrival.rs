//! What a request must be before a call goes on: there, and whole.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use meshwork::server::{Budgets, CallerLimits, Limits, Resource};
use meshwork::{Channel, Server};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::support::{Running, SLEEP, STREAM, UNARY, UPLOAD, calls, unary, until};

/// Sends the pieces of a call's body; dropped, the body is at its end.
type Pieces = mpsc::Sender<Result<Frame<Bytes>, Status>>;

/// A call whose body comes in pieces.
fn call(channel: &Channel, path: &str, encoding: Option<&'static str>) -> (Pieces, JoinHandle<Result<Bytes, Status>>) {
    let (pieces, frames) = mpsc::channel(8);
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(ReceiverStream::new(frames))))
        .unwrap();
    if let Some(encoding) = encoding {
        request.headers_mut().insert("grpc-encoding", encoding.parse().unwrap());
    }
    let mut channel = channel.clone();
    let answer = tokio::spawn(async move {
        let response = channel.call(request).await?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        let body = response.into_body().collect().await?;
        match body.trailers().and_then(Status::from_header_map) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(body.to_bytes()),
        }
    });
    (pieces, answer)
}

async fn piece(pieces: &Pieces, bytes: &[u8]) {
    pieces.send(Ok(Frame::data(Bytes::copy_from_slice(bytes)))).await.unwrap();
}

/// A message with a text in field 1.
fn message(text: &str) -> Vec<u8> {
    let mut message = vec![10, u8::try_from(text.len()).unwrap()];
    message.extend(text.as_bytes());
    framed(0, &message)
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed
}

fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn s17_a_request_that_does_not_come_holds_nothing_and_ends_after_its_time() {
    let limit = calls(1);
    let server = Running::start(Server::builder().budgets(limit.clone()));
    let channel = server.channel();
    let half = &message("half")[..7];
    let whole = message("x");
    for (path, sent) in [
        (UNARY, &[][..]),
        (UNARY, &whole[..5]),
        (UNARY, half),
        // Whole, but its end is withheld, and more could come.
        (UNARY, &whole),
        (STREAM, &[]),
        (STREAM, &whole),
        (UPLOAD, &[]),
        (UPLOAD, half),
    ] {
        let begin = Instant::now();
        let (pieces, answer) = call(&channel, path, None);
        if !sent.is_empty() {
            piece(&pieces, sent).await;
        }
        sleep(Duration::from_millis(9_000)).await;
        assert_eq!((limit.in_use(Resource::Calls), server.echo.running()), (0, 0), "{path}, {sent:?}");
        assert_eq!(unary(&channel, UNARY, "another").await.unwrap(), "another", "its place is free");
        let status = answer.await.unwrap().unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "REQUEST_TIMED_OUT"));
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{path}, {sent:?}: {took:?}");
        drop(pieces);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_goes_on_at_its_first_and_may_take_its_time_then() {
    let server = Running::start(Server::builder());
    let (pieces, answer) = call(&server.channel(), UPLOAD, None);
    piece(&pieces, &message("first")[..3]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.echo.running(), 0);
    piece(&pieces, &message("first")[3..]).await;
    until("the handler runs", || server.echo.running() == 1).await;
    sleep(Duration::from_secs(60)).await;
    piece(&pieces, &message("second")).await;
    drop(pieces);
    assert_eq!(answer.await.unwrap().unwrap(), message("2"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_in_pieces_is_put_together() {
    let server = Running::start(Server::builder());
    let channel = server.channel();
    for size in 1..9 {
        let (pieces, answer) = call(&channel, UNARY, None);
        for part in message("in pieces").chunks(size) {
            piece(&pieces, part).await;
            sleep(Duration::from_millis(50)).await;
        }
        drop(pieces);
        assert_eq!(answer.await.unwrap().unwrap(), message("in pieces"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_of_the_method_is_the_callers_fault() {
    let server = Running::start(Server::builder());
    let channel = server.channel();
    let two = [message("one"), message("two")].concat();
    let malformed: [(&str, Option<&'static str>, Vec<u8>, Code); 9] = [
        // As gRPC's document on status codes has it.
        ("nothing", None, Vec::new(), Code::Unimplemented),
        ("two messages", None, two, Code::Unimplemented),
        ("the end in a prefix", None, vec![0, 0, 0], Code::InvalidArgument),
        ("the end in a message", None, message("cut")[..7].to_vec(), Code::InvalidArgument),
        ("a wrong flag", None, framed(7, b""), Code::InvalidArgument),
        ("text", None, b"GET / HTTP/1.1".to_vec(), Code::InvalidArgument),
        ("no protobuf", None, framed(0, &[255; 20]), Code::InvalidArgument),
        ("another type", None, framed(0, &[8, 1]), Code::InvalidArgument),
        // As gRPC's document on compression has it.
        ("compressed, and nobody knows how", None, framed(1, b"x"), Code::Internal),
    ];
    for (what, encoding, sent, code) in malformed {
        for cut in [sent.len(), 2] {
            let (pieces, answer) = call(&channel, UNARY, encoding);
            for part in sent.chunks(cut.max(1)) {
                // It may have been refused already.
                let _ = pieces.send(Ok(Frame::data(Bytes::copy_from_slice(part)))).await;
                sleep(Duration::from_millis(1)).await;
            }
            drop(pieces);
            let status = answer.await.unwrap().unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (code, "MALFORMED_REQUEST"), "{what}: {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_messages_on_their_way_are_bounded_and_given_back() {
    const KIB: usize = 1 << 10;
    let bytes = Limits::default().get(Resource::ArrivingBytes);
    let bytes = CallerLimits { per_address: 256 * KIB, total: 144 * KIB, ..bytes };
    let budgets = Budgets::new(Limits::default().with(Resource::ArrivingBytes, bytes));
    let server = Running::start(Server::builder().budgets(budgets));
    let channel = server.channel();
    // Who has no address has nothing of its own: all is what everybody shares.
    let withheld = async |count: usize| {
        let mut calls = Vec::new();
        for _ in 0..count {
            let (pieces, answer) = call(&channel, SLEEP, None);
            piece(&pieces, &framed(0, &vec![0; 80 * KIB])[..32 * KIB]).await;
            calls.push((pieces, answer));
        }
        sleep(Duration::from_millis(500)).await;
        calls
    };
    let calls = withheld(10).await;
    let refused = calls.iter().filter(|(_, answer)| answer.is_finished()).count();
    assert_eq!(refused, 6, "four times 32 KiB fit");
    for (_, answer) in calls {
        if answer.is_finished() {
            let status = answer.await.unwrap().unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_BYTES"));
        } else {
            answer.abort();
        }
    }
    sleep(Duration::from_millis(500)).await;
    let calls = withheld(4).await;
    assert!(calls.iter().all(|(_, answer)| !answer.is_finished()), "all was given back");
}

/// Each holds its headers and its stream, and its caller could open more of them than the server has memory for.
#[tokio::test(start_paused = true)]
async fn calls_whose_message_does_not_come_count_by_their_headers() {
    const KIB: usize = 1 << 10;
    let bytes = CallerLimits { total: 64 * KIB, ..CallerLimits::default() };
    let budgets = Budgets::new(Limits::default().with(Resource::ArrivingBytes, bytes));
    let server = Running::start(Server::builder().budgets(budgets.clone()));
    let channel = server.channel();
    let calls: Vec<_> = (0..100).map(|_| call(&channel, SLEEP, None)).collect();
    sleep(Duration::from_millis(500)).await;
    let waiting = calls.iter().filter(|(_, answer)| !answer.is_finished()).count();
    assert!((5..=32).contains(&waiting), "{waiting} calls wait");
    assert!(budgets.in_use(Resource::ArrivingBytes) <= 64 * KIB);
    drop(calls);
    until("nothing waits", || budgets.in_use(Resource::ArrivingBytes) == 0).await;
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn its_time_can_be_set_and_a_deadline_comes_first() {
    let server =
        Running::start(Server::builder().first_message_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(1)));
    let begin = Instant::now();
    let (_pieces, answer) = call(&server.channel(), UNARY, None);
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(begin.elapsed() < Duration::from_millis(1500));
}
