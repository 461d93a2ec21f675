//! How streams and connections end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_bytes_but_never_speaks_is_not_ready() {
    let (_network, mut listener, io) = wire().await;
    let _silent = listener.accept().await.unwrap();
    assert!(timeout(HOUR, handshake(io)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_or_speaks_http_1_is_an_error() {
    let (network, _listener, io) = wire().await;
    network.cut("server");
    let error = handshake(io).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);

    let (_network, mut listener, io) = wire().await;
    let mut peer = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(timeout(HOUR, handshake(io)).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn goaway_is_seen_without_a_call_and_running_streams_finish() {
    let mut pair = pair().await;
    let (exchange, respond) = pair.call().await;
    let (going, connection) = (pair.connection.clone(), pair.connection.clone());
    pair.server.graceful_shutdown();
    pair.during(async { going.going().await }).await;
    assert!(!connection.is_live() && connection.reserve().is_none());
    answer(respond);
    let mut body = pair.during(exchange).await.unwrap().into_body();
    assert_eq!(pair.during(frame(&mut body)).await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(pair.during(frame(&mut body)).await.unwrap().unwrap().is_trailers());
    // Nothing is left to do for the connection, though there are handles.
    let driver = std::mem::replace(&mut pair.driver, tokio::spawn(std::future::pending()));
    assert!(pair.during(driver).await.unwrap().error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a6_refused_stream_was_not_seen_by_the_application() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let error = failure(pair.during(exchange).await);
    assert_eq!((error.fate(), error.code()), (Fate::Refused, Code::Unavailable));
    assert!(pair.connection.is_live());
    // The status keeps the error of h2, for those who ask for it.
    let status = error.into_status();
    let source = std::error::Error::source(&status).unwrap().downcast_ref::<TransportError>().unwrap();
    assert_eq!(source.fate(), Fate::Refused);
}

#[tokio::test(start_paused = true)]
async fn a6_a_stream_above_the_last_of_a_goaway_was_not_seen_by_the_application() {
    let (_network, mut listener, io) = wire().await;
    let client = tokio::spawn(async move {
        let (connection, driver) = handshake(io).await.unwrap();
        tokio::spawn(driver);
        connection.reserve().unwrap().send(request(), FullBody(None)).unwrap().await
    });
    let mut peer = listener.accept().await.unwrap();
    // SETTINGS; later GOAWAY with the last stream 0, NO_ERROR.
    tokio::io::AsyncWriteExt::write_all(&mut peer, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tokio::io::AsyncWriteExt::write_all(&mut peer, &goaway).await.unwrap();
    let error = failure(timeout(HOUR, client).await.unwrap().unwrap());
    assert_eq!((error.fate(), error.code()), (Fate::Refused, Code::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn http2_error_codes_become_the_codes_of_grpc() {
    let mut pair = pair().await;
    for (reason, code) in [
        (Reason::NO_ERROR, Code::Internal),
        (Reason::PROTOCOL_ERROR, Code::Internal),
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::FLOW_CONTROL_ERROR, Code::Internal),
        (Reason::FRAME_SIZE_ERROR, Code::Internal),
        (Reason::REFUSED_STREAM, Code::Unavailable),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::COMPRESSION_ERROR, Code::Internal),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        let (exchange, mut respond) = pair.call().await;
        respond.send_reset(reason);
        let error = failure(pair.during(exchange).await);
        assert_eq!(error.code(), code, "{reason:?}");
        assert_eq!(error.fate() == Fate::Refused, reason == Reason::REFUSED_STREAM, "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_in_mid_message_is_unavailable() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    assert!(pair.during(frame(&mut body)).await.unwrap().is_ok());
    let (waiting, _waiter) = pair.call().await;
    pair.network.cut("server");
    let error = timeout(HOUR, frame(&mut body)).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code(), error.fate()), (Code::Unavailable, Fate::Sent));
    let error = failure(timeout(HOUR, waiting).await.unwrap());
    assert_eq!((error.code(), error.fate()), (Code::Unavailable, Fate::Sent));
    assert!(pair.driver.await.unwrap().error.is_some());
    assert!(!pair.connection.is_live());
    assert_eq!(pair.connection.active_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_exchange_or_response_resets_its_stream() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    drop(exchange);
    let reset = pair.during(poll_fn(|cx| respond.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Reason::CANCEL);

    let (exchange, mut respond) = pair.call().await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    drop(pair.during(exchange).await.unwrap());
    let reset = pair.during(poll_fn(|cx| stream.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Reason::CANCEL);
    assert_eq!(pair.connection.active_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_driver_and_its_bytes_end_with_the_last_handle_and_stream() {
    let mut pair = pair().await;
    let (exchange, respond) = pair.call().await;
    let Pair { network, connection, driver, mut server } = pair;
    drop(connection);
    let server = tokio::spawn(async move { while server.accept().await.is_some() {} });
    assert!(
        timeout(HOUR, async {
            while !driver.is_finished() {
                tokio::time::sleep(HOUR / 4).await
            }
        })
        .await
        .is_err()
    );
    answer(respond);
    drop(exchange.await.unwrap());
    assert!(timeout(HOUR, driver).await.unwrap().unwrap().error.is_none());
    timeout(HOUR, server).await.unwrap().unwrap();
    assert_eq!(network.open_connections("server"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_peer_does_not_hold_a_connection_that_nobody_needs() {
    let pair = pair().await;
    pair.network.freeze("server");
    // More than its buffer takes, so that no farewell fits.
    let slot = pair.connection.reserve().unwrap();
    let exchange = slot.send(request(), FullBody(Some(Bytes::from(vec![0; 1 << 20])))).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Pair { network, connection, driver, server } = pair;
    drop((exchange, connection));
    assert!(timeout(Duration::from_secs(6), driver).await.is_ok());
    drop(server);
    assert_eq!(network.open_connections("server"), 0);
}

#[test]
fn answers_that_are_no_grpc_become_statuses() {
    let status_of = |response: http::response::Builder| status_of_response(&response.body(()).unwrap().into_parts().0);
    for (http, code) in [
        (200, Code::Unknown),
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ] {
        let status = status_of(Response::builder().status(http).header("content-type", "text/html")).unwrap();
        assert_eq!(status.code(), code, "{http}");
    }
    assert!(status_of(Response::builder().header("content-type", "application/grpc+proto")).is_none());
    // With a status of its own it is gRPC, whatever HTTP says.
    assert!(status_of(Response::builder().status(503).header("grpc-status", "8")).is_none());
}

#[test]
fn c21_only_grpc_itself_passes_as_grpc() {
    let status_of = |content_type: &str| {
        let response = Response::builder().header("content-type", content_type).body(()).unwrap();
        status_of_response(&response.into_parts().0)
    };
    for grpc in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC"] {
        assert!(status_of(grpc).is_none(), "{grpc}");
    }
    for other in
        ["application/grpc-web", "application/grpc-web+proto", "application/grpcfoo", "application/grp", "text/html"]
    {
        let status = status_of(other).unwrap();
        assert_eq!(status.code(), Code::Unknown, "{other}");
        assert!(status.message().contains(other), "{}", status.message());
    }
}

#[tokio::test(start_paused = true)]
async fn c21_who_ended_a_stream_is_who_did() {
    let mut pair = pair().await;
    let (exchange, mut respond) = pair.call().await;
    respond.send_reset(Reason::INTERNAL_ERROR);
    let error = failure(pair.during(exchange).await);
    assert!(error.to_string().starts_with("the server ended the stream: "), "{error}");

    // More than its content-length says: this side resets the stream.
    let (exchange, mut respond) = pair.call().await;
    let mut response = headers();
    response.headers_mut().insert("content-length", "1".parse().unwrap());
    let mut stream = respond.send_response(response, false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let error = pair.during(frame(&mut body)).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.to_string().starts_with("the channel ended the stream: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn c12_a_place_has_the_authority_of_its_server() {
    for authority in [None, Some(http::uri::Authority::from_static("shop.example"))] {
        let (_network, mut listener, io) = wire().await;
        let mut peer = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut peer, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let options = Http2Options::default();
        let (connection, _driver) =
            Connection::handshake(io, &options, Arc::default(), authority.clone()).await.unwrap();
        assert_eq!(connection.reserve().unwrap().authority(), authority.as_ref());
    }
}
