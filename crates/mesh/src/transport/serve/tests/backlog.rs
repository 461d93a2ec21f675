//! A client with large windows that does not read its socket.

use super::raw::{call, hello, read_answers, streams, write};
use super::*;

const CHUNK: usize = 4 << 10;
const CHUNKS: usize = 50;
const CALLS: u32 = 32;
const BOUND: usize = 64 << 10;
const PIPE: usize = 1 << 10;
const LARGE: u32 = 1 << 30;

/// Answers of many chunks; `taken` is how many bytes of them all were asked for.
fn long(taken: &Arc<AtomicUsize>) -> impl Fn() -> Answer + Send + 'static + use<> {
    let taken = Arc::clone(taken);
    move || {
        let taken = Arc::clone(&taken);
        let frames = (0..CHUNKS).map(move |_| {
            taken.fetch_add(CHUNK, Ordering::SeqCst);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; CHUNK])))
        });
        http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    }
}

/// The client's side of a connection on which answers were asked for and nothing is read.
async fn unread(options: ServeOptions, taken: &Arc<AtomicUsize>) -> (DuplexStream, impl Sized) {
    let (mut here, there) = duplex(PIPE);
    let server = serve(there, options, at_once(long(taken), &Arc::default()));
    let calls: Vec<_> = streams(CALLS).map(call).collect();
    write(&mut here, &[hello(LARGE), calls.concat()]).await;
    for _ in 0..20 {
        settle().await;
    }
    (here, server)
}

fn bounded() -> ServeOptions {
    ServeOptions { unwritten: BOUND, linger: HOUR, ..options() }
}

#[tokio::test(start_paused = true)]
async fn s7_what_a_client_does_not_read_is_bounded_whatever_its_windows() {
    let taken = Arc::default();
    let (mut here, _server) = unread(bounded(), &taken).await;
    // Each answer looks one chunk ahead; another is in the pipe and in the writer.
    let calls = usize::try_from(CALLS).unwrap();
    let most = BOUND + CHUNK + 2 * CHUNK * calls + 2 * CHUNK + PIPE;
    let found = taken.load(Ordering::SeqCst);
    assert!((BOUND / 2..=most).contains(&found), "{found} bytes");

    // Another connection doesn't notice.
    let mut other = pair(at_once(|| message("hello"), &Arc::default())).await;
    assert_eq!(read(other.call().await.await.unwrap().into_body()).await.0, b"hello");

    // And nothing is lost.
    let answers = read_answers(&mut here, calls).await;
    assert_eq!(answers.len(), calls);
    assert!(answers.values().all(|bytes| *bytes == CHUNK * CHUNKS), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn s7_answers_that_wait_for_a_socket_end_after_the_stall_limit() {
    let taken = Arc::default();
    let (_here, _server) = unread(bounded(), &taken).await;
    // The test, the handler, and an answer each.
    assert!(Arc::strong_count(&taken) > 2);
    tokio::time::sleep(STALL.mul_f64(1.1)).await;
    settle().await;
    assert_eq!(Arc::strong_count(&taken), 2);
}

#[tokio::test(start_paused = true)]
async fn s7_a_connection_whose_client_makes_no_room_ends() {
    let taken = Arc::default();
    let (mut here, there) = duplex(PIPE);
    let (_shut_down, server) = serve(there, options(), at_once(long(&taken), &Arc::default()));
    write(&mut here, &[hello(LARGE), call(1)]).await;
    let begun = tokio::time::Instant::now();
    assert!(timeout(HOUR, server).await.unwrap().unwrap().is_err());
    assert_eq!(begun.elapsed().as_secs(), options().linger.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_the_bound_passes() {
    let options = ServeOptions { unwritten: 1, ..options() };
    let body = || message(vec![7_u8; 1 << 20]);
    let mut pair = pair_with(&h2::client::Builder::new(), options, at_once(body, &Arc::default())).await;
    for _ in 0..2 {
        let (bytes, trailers) = read(pair.call().await.await.unwrap().into_body()).await;
        assert_eq!(bytes.len(), 1 << 20);
        assert_eq!(code(&trailers.unwrap()), Some("0"));
    }
}

#[tokio::test(start_paused = true)]
async fn resets_of_what_is_not_written_make_room() {
    let taken = Arc::default();
    let (mut here, _server) = unread(bounded(), &taken).await;
    let mut resets: Vec<_> =
        streams(CALLS).map(|stream| raw::frame(raw::RST_STREAM, 0, stream, &8_u32.to_be_bytes())).collect();
    let next = 2 * CALLS + 1;
    resets.push(call(next));
    write(&mut here, &resets).await;
    let mut bytes = 0;
    while bytes < CHUNK * CHUNKS {
        let frame = raw::read(&mut here).await.unwrap();
        bytes += if frame.kind == raw::DATA && frame.stream == next { frame.payload.len() } else { 0 };
    }
}
