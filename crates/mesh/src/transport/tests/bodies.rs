//! Requests whose own body fails: that is what their caller sees, whatever else happens.

use std::error::Error as _;

use super::*;
use crate::outcome::CallerFault;

#[tokio::test(start_paused = true)]
async fn c9_an_error_of_the_callers_own_body_reaches_the_caller_and_resets_the_stream() {
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
async fn c9_an_error_of_the_callers_own_body_after_the_headers_reaches_the_caller() {
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

#[tokio::test(start_paused = true)]
async fn c9_the_callers_own_status_is_kept_whole() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let (exchange, _upload, mut respond) = pair.send(body).await;
    let _stream = respond.send_response(headers(), false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    let mut own = Status::with_details(Code::Aborted, "mine", Bytes::from_static(b"details"));
    own.metadata_mut().insert("x-why", "because".parse().unwrap());
    sender.send(Err(own)).await.unwrap();
    let error = pair.during(frame(&mut body)).await.unwrap().unwrap_err();
    assert!(error.is_local() && error.source().unwrap().is::<CallerFault>());
    let status = error.into_status();
    assert_eq!((status.code(), status.message(), status.details()), (Code::Aborted, "mine", &b"details"[..]));
    assert_eq!(status.metadata().get("x-why").unwrap(), "because");
    assert!(status.source().unwrap().is::<TransportError>());
}

/// The end of the response is here already and nobody has looked at it when the body fails.
#[tokio::test(start_paused = true)]
async fn c9_a_body_that_fails_before_the_end_of_the_response_is_read_is_what_the_caller_sees() {
    let mut pair = pair().await;
    let (body, sender) = streamed();
    let (exchange, _upload, mut respond) = pair.send(body).await;
    let mut stream = respond.send_response(headers(), false).unwrap();
    let mut body = pair.during(exchange).await.unwrap().into_body();
    stream.send_trailers(trailers(0)).unwrap();
    pair.settle().await;
    sender.send(Err(Status::aborted("mine"))).await.unwrap();
    pair.settle().await;
    let error = pair.during(frame(&mut body)).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (Code::Aborted, "mine"));
    assert!(pair.during(frame(&mut body)).await.is_none());
}

/// The headers and the failure are both here when the exchange is polled.
#[tokio::test(start_paused = true)]
async fn c9_a_body_that_fails_before_the_headers_are_read_is_what_the_caller_sees() {
    for reset in [false, true] {
        let mut pair = pair().await;
        let (body, sender) = streamed();
        let (exchange, _upload, mut respond) = pair.send(body).await;
        sender.send(Err(Status::aborted("mine"))).await.unwrap();
        if reset {
            respond.send_reset(Reason::CANCEL);
        } else {
            respond.send_response(headers(), true).unwrap();
        }
        pair.settle().await;
        match pair.during(exchange).await {
            Err(ExchangeError::Body(status)) => assert_eq!((status.code(), status.message()), (Code::Aborted, "mine")),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c9_many_callers_at_once_all_see_their_own_error() {
    let (_network, mut listener, io) = wire().await;
    let client = tokio::spawn(async move {
        let (connection, driver) = handshake(io).await.unwrap();
        tokio::spawn(driver);
        connection
    });
    let io = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let mut server = h2::server::Builder::new()
            // Else it ends the connection when many streams are reset before they are accepted.
            .max_pending_accept_reset_streams(1000)
            .max_concurrent_streams(1000)
            .handshake::<_, Bytes>(io)
            .await
            .unwrap();
        let mut number = 0;
        while let Some(Ok((request, mut respond))) = server.accept().await {
            number += 1;
            let answers = number % 2 == 0;
            tokio::spawn(async move {
                let stream = answers.then(|| respond.send_response(headers(), false));
                let mut upload = request.into_body();
                while let Some(Ok(data)) = upload.data().await {
                    let _ = upload.flow_control().release_capacity(data.len());
                }
                // By now the client has reset it.
                respond.send_reset(Reason::CANCEL);
                drop(stream);
            });
        }
    });
    let connection = client.await.unwrap();
    let callers = (0..200).map(|number| {
        let slot = connection.reserve().unwrap();
        tokio::spawn(async move {
            let (body, sender) = streamed();
            tokio::spawn(async move {
                sender.send(Ok(Frame::data(Bytes::from_static(b"a message")))).await.unwrap();
                sender.send(Err(Status::aborted(format!("mine, {number}")))).await.unwrap();
            });
            let status = match slot.send(request(), body).unwrap().await {
                Err(ExchangeError::Body(status)) => status,
                Err(ExchangeError::Transport(error)) => error.into_status(),
                Ok(response) => match frame(&mut response.into_body()).await {
                    Some(Err(error)) => error.into_status(),
                    other => panic!("{other:?}"),
                },
            };
            assert_eq!((status.code(), status.message()), (Code::Aborted, format!("mine, {number}").as_str()));
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

/// Comes to no frame.
async fn panics() -> Result<Frame<Bytes>, Status> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    panic!("the caller's body")
}

#[tokio::test(start_paused = true)]
async fn c9_a_body_that_panics_ends_its_call_and_no_other() {
    let mut pair = pair().await;
    let frames = futures_util::stream::once(panics());
    let body = Body::new(http_body_util::StreamBody::new(Box::pin(frames)));
    let (exchange, _upload, mut respond) = pair.send(body).await;
    match pair.during(exchange).await {
        Err(ExchangeError::Body(status)) => assert_eq!(status.code(), Code::Internal),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.during(poll_fn(|cx| respond.poll_reset(cx))).await.unwrap(), Reason::CANCEL);
    assert!(pair.connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_goes_out_whole_and_none_ends_with_the_headers() {
    let mut pair = pair().await;
    for whole in [None, Some(Bytes::from_static(b"all of it"))] {
        let slot = pair.connection.reserve().unwrap();
        let _exchange = slot.send(request(), FullBody(whole.clone())).unwrap();
        let (request, _respond) = timeout(HOUR, pair.server.accept()).await.unwrap().unwrap().unwrap();
        let mut upload = request.into_body();
        assert_eq!(upload.is_end_stream(), whole.is_none());
        assert_eq!(pair.during(upload.data()).await.map(Result::unwrap), whole);
        assert!(pair.during(upload.data()).await.is_none());
    }
}
