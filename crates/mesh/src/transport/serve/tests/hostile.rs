//! Clients that mean no good.

use tokio::io::AsyncReadExt as _;

use super::raw::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM, SETTINGS, call, frame, hello,
    read_answers, read_goaways, streams, window, write,
};
use super::*;

const LARGE: u32 = 1 << 30;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Answers, and counts the calls.
fn counted(calls: &Arc<AtomicUsize>) -> impl Fn(Request<RequestBody>) -> Answering + Send + 'static + use<> {
    let calls = Arc::clone(calls);
    let answer = at_once(|| message("hello"), &Arc::default());
    move |request| {
        calls.fetch_add(1, Ordering::SeqCst);
        answer(request)
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_reset_before_their_turn_are_not_run() {
    let calls = Arc::default();
    let (mut here, there) = duplex(64 << 10);
    let _server = serve(there, options(), counted(&calls));
    let mut frames = vec![hello(LARGE)];
    for stream in streams(90) {
        frames.extend([call(stream), frame(RST_STREAM, 0, stream, &CANCEL)]);
    }
    frames.push(call(181));
    write(&mut here, &frames).await;
    let answers = read_answers(&mut here, 1).await;
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [(181, 5)]);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn more_resets_at_once_than_calls_are_allowed_end_the_connection() {
    let calls = Arc::default();
    let (mut here, there) = duplex(1 << 20);
    let (_shut_down, server) = serve(there, options(), counted(&calls));
    let mut frames = vec![hello(LARGE)];
    for stream in streams(1000) {
        frames.extend([call(stream), frame(RST_STREAM, 0, stream, &CANCEL)]);
    }
    write(&mut here, &frames).await;
    assert_eq!(read_goaways(&mut here).await.last(), Some(&ENHANCE_YOUR_CALM));
    drop(here);
    assert!(timeout(HOUR, server).await.unwrap().unwrap().is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_in_one_read_are_all_answered() {
    let calls = Arc::default();
    let (mut here, there) = duplex(1 << 20);
    let _server = serve(there, ServeOptions { max_concurrent_streams: 1024, ..options() }, counted(&calls));
    let frames: Vec<_> = std::iter::once(hello(LARGE)).chain(streams(1000).map(call)).collect();
    write(&mut here, &frames).await;
    let answers = read_answers(&mut here, 1000).await;
    assert!(answers.len() == 1000 && answers.values().all(|bytes| *bytes == 5));
    assert_eq!(calls.load(Ordering::SeqCst), 1000);
}

/// Once `h2` has them, bytes that no window lets through would stay for good.
#[tokio::test(start_paused = true)]
async fn s7_a_window_that_is_taken_back_from_bytes_on_their_way_ends_the_connection() {
    let (mut here, there) = duplex(1 << 10);
    let answer = at_once(|| message("x".repeat(40_000)), &Arc::default());
    let (_shut_down, server) = serve(there, options(), answer);
    let close = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    write(&mut here, &[hello(LARGE), call(1)]).await;
    // The first of it is read, so that the connection writes, and then the client takes its window back.
    let mut some = [0; 2000];
    here.read_exact(&mut some).await.unwrap();
    write(&mut here, &[close]).await;
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = here.read_to_end(&mut rest).await;
        rest.len()
    });
    assert!(timeout(HOUR, server).await.unwrap().unwrap().is_err());
    assert!(reading.await.unwrap() < 40_000, "it was let through");
}

/// The room that requests have on a connection is for all its calls.
#[tokio::test(start_paused = true)]
async fn open_calls_hold_no_room_of_requests_that_were_read() {
    let (here, there) = duplex(1 << 20);
    let _server = serve(there, ServeOptions { max_concurrent_streams: 400, ..options() }, |request| {
        Box::pin(async move {
            let whole = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(whole.len(), 4095);
            std::future::pending().await
        })
    });
    let (client, connection) = h2::client::handshake(here).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut open = Vec::new();
    for _ in 0..300 {
        let request = Request::post("http://server/a.B/C").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.reserve_capacity(4095);
        while body.capacity() < 4095 {
            let more = std::future::poll_fn(|cx| body.poll_capacity(cx));
            timeout(Duration::from_secs(10), more).await.expect("there is no room left").unwrap().unwrap();
        }
        body.send_data(Bytes::from(vec![0; 4095]), true).unwrap();
        open.push((answer, body));
        client = client.ready().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s7_of_twice_as_many_calls_as_there_may_be_those_that_are_admitted_are_answered() {
    const MOST: u32 = 1024;
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let (mut here, there) = duplex(1 << 20);
    let calls = Arc::default();
    let options = ServeOptions { max_concurrent_streams: MOST, ..options() };
    let _server = serve(there, options, counted(&calls));
    let mut frames = vec![hello(LARGE)];
    for stream in streams(2 * MOST) {
        frames.push(frame(HEADERS, END_HEADERS, stream, &[0x83, 0x86, 0x84]));
        frames.push(frame(DATA, END_STREAM, stream, &[0; 5]));
    }
    // Nothing of the server's is read before all that is sent.
    write(&mut here, &frames).await;
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < 2 * MOST {
        let frame = raw::read(&mut here).await.expect("the connection ends before the answers");
        assert_ne!(frame.kind, GOAWAY);
        answered += u32::from(matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0);
        refused += u32::from(frame.kind == RST_STREAM && frame.payload == REFUSED_STREAM);
    }
    assert!(answered >= MOST && refused > 0, "{answered} answered, {refused} refused");
    assert_eq!(calls.load(Ordering::SeqCst), usize::try_from(answered).unwrap());
}

/// `h2` goes over all streams for each of them.
#[tokio::test(start_paused = true)]
async fn settings_without_end_end_the_connection() {
    let (mut here, there) = duplex(1 << 20);
    let (_shut_down, server) = serve(there, options(), counted(&Arc::default()));
    // SETTINGS_INITIAL_WINDOW_SIZE
    let change = |window: u8| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, window]);
    write(&mut here, &[hello(LARGE), call(1), change(0).repeat(50), change(10).repeat(40)]).await;
    read_answers(&mut here, 1).await;
    write(&mut here, &[change(0).repeat(50)]).await;
    assert!(timeout(HOUR, server).await.unwrap().unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pushes_is_in_error() {
    let (mut here, there) = duplex(64 << 10);
    let _server = serve(there, options(), counted(&Arc::default()));
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82, 0x86, 0x84]);
    let headers = frame(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84]);
    write(&mut here, &[hello(LARGE), headers, promise]).await;
    assert_eq!(read_goaways(&mut here).await, [PROTOCOL_ERROR]);
}

#[tokio::test(start_paused = true)]
async fn s7_without_a_window_an_answer_ends_after_the_stall_limit() {
    let (mut here, there) = duplex(64 << 10);
    let state = Arc::default();
    let _server = serve(there, options(), at_once(|| message("hello"), &state));
    write(&mut here, &[hello(0), call(1)]).await;
    let begun = tokio::time::Instant::now();
    let answers = read_answers(&mut here, 1).await;
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [(1, 0)]);
    assert_eq!(begun.elapsed().as_secs(), STALL.as_secs());
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn windows_that_shrink_below_nothing_hold_up_an_answer_until_they_open() {
    let (mut here, there) = duplex(64 << 10);
    let _server = serve(there, options(), at_once(|| message(vec![7_u8; 5000]), &Arc::default()));
    write(&mut here, &[hello(1000), call(1)]).await;
    settle().await;
    write(&mut here, &[window(0)]).await;
    settle().await;
    write(&mut here, &[window(LARGE)]).await;
    assert_eq!(read_answers(&mut here, 1).await.into_iter().collect::<Vec<_>>(), [(1, 5000)]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_open_outlast_the_goaway_of_their_client() {
    let (mut here, there) = duplex(64 << 10);
    let (body, sender) = streamed();
    let (_shut_down, server) = serve(there, options(), once(body, Arc::default()));
    write(&mut here, &[hello(LARGE), call(1)]).await;
    settle().await;
    write(&mut here, &[frame(GOAWAY, 0, 0, &[0; 8])]).await;
    settle().await;
    sender.send(Frame::data(Bytes::from_static(b"last"))).unwrap();
    drop(sender);
    assert_eq!(read_answers(&mut here, 1).await.into_iter().collect::<Vec<_>>(), [(1, 4)]);
    read_goaways(&mut here).await;
    drop(here);
    assert!(timeout(HOUR, server).await.unwrap().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn trailers_that_do_not_end_a_request_reset_it_alone() {
    let calls = Arc::default();
    let (mut here, there) = duplex(64 << 10);
    let _server = serve(there, options(), counted(&calls));
    let open = frame(HEADERS, END_HEADERS, 1, &[0x83, 0x86, 0x84]);
    // `x: y`, without END_STREAM.
    let trailers = frame(HEADERS, END_HEADERS, 1, &[0, 1, b'x', 1, b'y']);
    write(&mut here, &[hello(LARGE), open, trailers, call(3)]).await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let frame = raw::read(&mut here).await.unwrap();
        if frame.kind == RST_STREAM || (frame.kind == HEADERS && frame.flags & END_STREAM != 0) {
            ended.push((frame.stream, frame.kind));
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [(1, RST_STREAM), (3, HEADERS)]);
}
