//! A server that resets streams in the middle of a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use meshwork::Channel;
use tokio::net::TcpListener;
use tonic::Code;

use crate::load::{bounded, explained, policy, stream, unary};
use crate::process::free_address;

/// The HTTP/2 errors, and what gRPC makes of them.
const TABLE: [(Reason, Code); 13] = [
    (Reason::NO_ERROR, Code::Internal),
    (Reason::PROTOCOL_ERROR, Code::Internal),
    (Reason::INTERNAL_ERROR, Code::Internal),
    (Reason::FLOW_CONTROL_ERROR, Code::Internal),
    (Reason::SETTINGS_TIMEOUT, Code::Internal),
    (Reason::FRAME_SIZE_ERROR, Code::Internal),
    (Reason::REFUSED_STREAM, Code::Unavailable),
    (Reason::CANCEL, Code::Cancelled),
    (Reason::COMPRESSION_ERROR, Code::Internal),
    (Reason::CONNECT_ERROR, Code::Internal),
    (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
    (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    (Reason::STREAM_CLOSED, Code::Internal),
];

/// Answers each request with headers and half of a message, and then resets it.
async fn serve(listener: TcpListener, reason: Arc<AtomicU32>, requests: Arc<AtomicUsize>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (reason, requests) = (Arc::clone(&reason), Arc::clone(&requests));
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                requests.fetch_add(1, Ordering::SeqCst);
                let reason = Reason::from(reason.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(Bytes::from_static(b"\0\0\0\0\x64half of it"), false).unwrap();
                    // So that headers and data are sent before the reset.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    body.send_reset(reason);
                });
            }
        });
    }
}

#[test]
fn a_reset_in_the_middle_of_a_message_has_the_code_of_the_table_and_is_not_retried() {
    bounded(async {
        let address = free_address();
        let (reason, requests) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(serve(listener, Arc::clone(&reason), Arc::clone(&requests)));
        // Without its breaker, which would open.
        let policy = policy_without_breaker();
        let channel = Channel::builder().policy(policy).connect(&format!("static:///{address}")).await.unwrap();
        for (calls, (sent, code)) in TABLE.into_iter().enumerate() {
            reason.store(sent.into(), Ordering::SeqCst);
            let status = unary(&channel).await.unwrap_err();
            assert_eq!(status.code(), code, "{sent:?} of a unary call: {}", explained(&status));
            let status = stream(&channel, 1).await.unwrap().message().await.unwrap_err();
            assert_eq!(status.code(), code, "{sent:?} of a stream: {}", explained(&status));
            // Headers commit (gRFC A6), also where the code could be retried.
            assert_eq!(requests.load(Ordering::SeqCst), 2 * (calls + 1), "{sent:?}");
        }
        assert_eq!(channel.endpoints()[0].in_flight, 0);
    });
}

fn policy_without_breaker() -> meshwork::policy::Policy {
    let method = policy().method("/bench.Echo/Unary").as_ref().clone();
    meshwork::policy::Policy::builder().service("bench.Echo", method).build()
}
