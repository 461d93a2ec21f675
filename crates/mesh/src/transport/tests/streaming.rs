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
async fn an_error_of_the_callers_own_body_reaches_the_caller_and_resets_the_stream() {
    for late in [false, true] {
        let mut pair = pair().await;
        let (body, sender) = streamed();
        if !late {
            sender.send(Err(Status::aborted("mine"))).await.unwrap();
        }
        let slot = pair.connection.reserve().unwrap();
        let exchange = tokio::spawn(slot.send(request(), body).unwrap());
        let (_, mut respond) = pair.server.accept().await.unwrap().unwrap();
        if late {
            pair.settle().await;
            sender.send(Err(Status::aborted("mine"))).await.unwrap();
        }
        match pair.during(exchange).await.unwrap() {
            Err(ExchangeError::Body(status)) => assert_eq!((status.code(), status.message()), (Code::Aborted, "mine")),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.during(poll_fn(|cx| respond.poll_reset(cx))).await.unwrap(), Reason::CANCEL);
    }
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
async fn details_that_are_not_base64_are_dropped() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    let mut end = trailers(3);
    end.insert("grpc-status-details-bin", "!!!".parse().unwrap());
    stream.send_trailers(end).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    let end = pair.during(frame(&mut body)).await.unwrap().unwrap().into_trailers().unwrap();
    assert!(end.contains_key("grpc-status") && !end.contains_key("grpc-status-details-bin"));
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
async fn an_error_of_the_callers_own_body_after_the_headers_reaches_the_caller() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let slot = pair.connection.reserve().unwrap();
    let exchange = tokio::spawn(slot.send(request(), body).unwrap());
    let (_, mut respond) = pair.server.accept().await.unwrap().unwrap();
    let _stream = respond.send_response(headers(), false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().unwrap().into_body();
    sender.send(Err(Status::aborted("mine"))).await.unwrap();
    let error = pair.during(frame(&mut body)).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (Code::Aborted, "mine"));
    assert!(pair.during(frame(&mut body)).await.is_none());
}
