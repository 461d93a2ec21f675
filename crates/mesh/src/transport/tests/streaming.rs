//! Bodies on their way out and in.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_long_upload_waits_for_a_server_that_does_not_read() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let (exchange, mut upload, respond) = pair.send(body).await;
    let sent = tokio::spawn(async move {
        for taken in 0..1000_usize {
            if timeout(HOUR / 2, sender.send(Ok(Frame::data(Bytes::from(vec![0; 16 << 10]))))).await.is_err() {
                return (taken, sender);
            }
        }
        (1000, sender)
    });
    let (taken, sender) = pair.during(sent).await.unwrap();
    // A window of 64 KiB, and a little on its way to it.
    assert!(taken < 12, "{taken} messages were taken");
    drop(sender);
    let mut read = 0;
    let reads = async {
        while let Some(bytes) = upload.data().await {
            let bytes = bytes.unwrap();
            read += bytes.len();
            upload.flow_control().release_capacity(bytes.len()).unwrap();
        }
    };
    pair.during(reads).await;
    assert_eq!(read, taken * (16 << 10));
    answer(respond);
    pair.during(exchange).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_may_answer_while_the_upload_goes_on() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let (exchange, mut upload, mut respond) = pair.send(body).await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    for turn in 0..3_u8 {
        sender.send(Ok(Frame::data(Bytes::from(vec![turn])))).await.unwrap();
        assert_eq!(pair.during(upload.data()).await.unwrap().unwrap(), [turn][..]);
        stream.send_data(Bytes::from(vec![turn]), false).unwrap();
        assert_eq!(pair.during(frame(&mut body)).await.unwrap().unwrap().into_data().unwrap(), [turn][..]);
    }
    // The end of the response ends the upload.
    stream.send_trailers(trailers(0)).unwrap();
    while pair.during(frame(&mut body)).await.is_some() {}
    pair.during(sender.closed()).await;
}

#[tokio::test(start_paused = true)]
async fn the_task_of_an_upload_ends_with_its_exchange_or_response() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let (exchange, _upload, _respond) = pair.send(body).await;
    drop(exchange);
    pair.during(sender.closed()).await;

    let (body, sender) = streamed();
    let (exchange, _upload, mut respond) = pair.send(body).await;
    let _stream = respond.send_response(headers(), false).unwrap();
    drop(pair.during(exchange).await.unwrap());
    pair.during(sender.closed()).await;
    assert_eq!(pair.connection.active_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_pause_do_not_use_up_the_window_of_the_connection() {
    let mut pair = pair_with(&Http2Options::default(), 2000).await;
    let mut paused = Vec::new();
    for _ in 0..1000 {
        let (exchange, mut respond) = pair.call().await;
        let mut stream = respond.send_response(headers(), false).unwrap();
        stream.send_data(Bytes::from(vec![0; 12 << 10]), false).unwrap();
        let mut body = pair.during(exchange).await.unwrap().into_body();
        let data = pair.during(frame(&mut body)).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data.len(), 12 << 10);
        paused.push((body, stream));
    }
    let (exchange, respond) = pair.call().await;
    answer(respond);
    let mut body = pair.during(exchange).await.unwrap().into_body();
    assert_eq!(pair.during(frame(&mut body)).await.unwrap().unwrap().into_data().unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn callers_that_read_nothing_do_not_stop_the_other_streams() {
    let mut pair = pair_with(&Http2Options::default(), 2000).await;
    let mut paused = Vec::new();
    for _ in 0..20 {
        let (exchange, mut respond) = pair.call().await;
        let mut stream = respond.send_response(headers(), false).unwrap();
        stream.send_data(Bytes::from(vec![0; 2 << 20]), false).unwrap();
        let body = pair.during(exchange).await.unwrap().into_body();
        pair.pass(Duration::from_secs(1)).await;
        paused.push((body, stream));
    }
    let (exchange, respond) = pair.call().await;
    answer(respond);
    let mut body = pair.during(exchange).await.unwrap().into_body();
    assert_eq!(pair.during(frame(&mut body)).await.unwrap().unwrap().into_data().unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn c15_what_callers_do_not_read_is_bounded_for_the_connection() {
    const WINDOW: usize = 160 << 10;
    assert_eq!(Http2Options::default().connection_window, 256 << 20);
    let options = Http2Options { stream_window: 64 << 10, connection_window: WINDOW as u32, ..Http2Options::default() };
    let mut pair = pair_with(&options, 100).await;
    let mut unread = Vec::new();
    let mut sent = 0;
    for _ in 0..10 {
        let (exchange, mut respond) = pair.call().await;
        let mut stream = respond.send_response(headers(), false).unwrap();
        let body = pair.during(exchange).await.unwrap().into_body();
        stream.reserve_capacity(1 << 20);
        pair.settle().await;
        let room = stream.capacity();
        if room > 0 {
            stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
        }
        sent += room;
        pair.settle().await;
        unread.push((body, stream));
    }
    assert!(sent > WINDOW / 2 && sent <= WINDOW, "{sent} bytes were sent to callers that read none");
    // Who reads makes room for all.
    let (body, _) = &mut unread[0];
    let mut read = 0;
    while read < 64 << 10 {
        read += pair.during(frame(body)).await.unwrap().unwrap().into_data().unwrap().len();
    }
    pair.settle().await;
    assert!(unread.iter().any(|(_, stream)| stream.capacity() > 0));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_http_2_does_not_have_is_taken_as_the_largest() {
    let options = Http2Options { stream_window: u32::MAX, connection_window: u32::MAX, ..Http2Options::default() };
    let mut pair = pair_with(&options, 100).await;
    let (exchange, respond) = pair.call().await;
    answer(respond);
    pair.during(exchange).await.unwrap();
}
