//! A server that answers calls after they were cancelled, frame by frame.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use meshwork::Channel;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::Code;

use crate::load::{bounded, explained, unary, until};
use crate::process::free_address;

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// END_HEADERS and END_STREAM.
const WHOLE: u8 = 5;
/// `:status: 200`, `content-type: application/grpc`, `grpc-status: 5`, for HPACK.
const NOT_FOUND: &[u8] = b"\x88\x00\x0ccontent-type\x10application/grpc\x00\x0bgrpc-status\x015";
/// More than the streams that `h2` resets by itself before it ends a connection.
const CALLS: usize = 1_500;

#[derive(Default)]
struct Peer {
    connections: AtomicUsize,
    requests: AtomicUsize,
    late: Notify,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Answers nothing until it is told; then all at once, and what comes after that as it comes.
async fn serve(listener: TcpListener, peer: Arc<Peer>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        peer.connections.fetch_add(1, Ordering::SeqCst);
        let (mut reader, mut writer) = socket.into_split();
        let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel::<u32>();
        let told = Arc::clone(&peer);
        tokio::spawn(async move {
            writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
            writer.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
            told.late.notified().await;
            while let Some(stream) = answered.recv().await {
                writer.write_all(&frame(HEADERS, WHOLE, stream, NOT_FOUND)).await?;
            }
            std::io::Result::Ok(())
        });
        let peer = Arc::clone(&peer);
        tokio::spawn(async move {
            reader.read_exact(&mut [0; PREFACE]).await?;
            loop {
                let mut head = [0; 9];
                reader.read_exact(&mut head).await?;
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                reader.read_exact(&mut vec![0; length]).await?;
                if head[3] == HEADERS {
                    let _ = answers.send(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
                    peer.requests.fetch_add(1, Ordering::SeqCst);
                }
            }
            #[allow(unreachable_code, reason = "names the type of the errors")]
            std::io::Result::Ok(())
        });
    }
}

#[test]
fn late_answers_to_cancelled_calls_are_not_the_end_of_the_connection() {
    bounded(async {
        let address = free_address();
        let peer = Arc::new(Peer::default());
        tokio::spawn(serve(TcpListener::bind(address).await.unwrap(), Arc::clone(&peer)));
        let channel = Channel::connect(&format!("static:///{address}")).await.unwrap();
        for calls in 1..=CALLS {
            let mut call = std::pin::pin!(unary(&channel));
            // Cancelled when the server has it.
            poll_fn(|cx| {
                assert!(call.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            while peer.requests.load(Ordering::SeqCst) < calls {
                tokio::task::yield_now().await;
            }
        }
        // For so long, `h2` passes over what comes on streams that were reset.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        peer.late.notify_one();
        let status = unary(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{}", explained(&status));
        until("the calls are over", || channel.endpoints()[0].in_flight == 0).await;
        assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
    });
}
