//! Statuses and requests that go wrong on their way, seen through a whole channel.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use meshwork::Channel;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::support::{Does, Net, PATH, call, ms};

/// A body that brings a message and then fails, as soon as both are taken.
fn failing(number: usize) -> Body {
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(async move {
        // Nobody takes them any more when the call has ended.
        let _ = sender.send(Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 1, 7])))).await;
        let _ = sender.send(Err(Status::data_loss(format!("file {number} ended early")))).await;
    });
    Body::new(StreamBody::new(ReceiverStream::new(frames)))
}

async fn with_failing_body(mut channel: Channel, number: usize) -> Status {
    let request = http::Request::post(PATH).body(failing(number)).unwrap();
    match channel.call(request).await {
        Err(status) => status,
        Ok(response) => response.into_body().collect().await.unwrap_err(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_of_many_callers_at_once_each_sees_its_own_error() {
    for does in [Does::Hang, Does::Answer, Does::Stream(ms(1))] {
        let net = Net::new();
        let _a = net.serve("a", does.clone());
        let channel = net.channel(&format!("transport-bodies-{does:?}"), "{}", &["a"]);
        let callers: Vec<_> = (0..200).map(|number| tokio::spawn(with_failing_body(channel.clone(), number))).collect();
        for (number, caller) in callers.into_iter().enumerate() {
            let status = caller.await.unwrap();
            let expected = format!("file {number} ended early");
            assert_eq!((status.code(), status.message()), (Code::DataLoss, expected.as_str()), "{does:?}");
        }
    }
}

/// A server that answers each call with NOT_FOUND and this message, as it is.
fn serve_not_found(net: &Net, name: &str, message: &'static [u8]) {
    let mut listener = net.memory.listen(name).unwrap();
    tokio::spawn(async move {
        while let Some(io) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(io).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    let response = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "5")
                        .header("grpc-message", http::HeaderValue::from_bytes(message).unwrap());
                    let _ = respond.send_response(response.body(()).unwrap(), true);
                }
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn c22_a_status_keeps_its_code_whatever_its_message_is() {
    let messages: [(&[u8], &str); 3] =
        [(b"caf%E9", "caf\u{fffd}"), (b"caf\xe9", "caf\u{fffd}"), (b"caf%C3%A9", "caf\u{e9}")];
    for (number, (message, expected)) in messages.into_iter().enumerate() {
        let net = Net::new();
        serve_not_found(&net, "a", message);
        let channel = net.channel(&format!("transport-message-{number}"), "{}", &["a"]);
        let status = call(&channel).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, expected));
    }
}
