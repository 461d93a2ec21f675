//! Requests on their way in.

use http_body::Body as _;
use tonic::Code;

use super::*;

/// Answers with how many bytes the request had, or with the code that it ended with.
fn counting(request: Request<RequestBody>) -> Answering {
    Box::pin(async move {
        let mut body = request.into_body();
        let (mut bytes, mut status) = (0, trailers(0));
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes += data.len(),
                Ok(Err(frame)) => status = frame.into_trailers().unwrap_or_default(),
                Err(failed) => status = trailers(i32::from(failed.code()).unsigned_abs()),
            }
        }
        assert!(body.is_end_stream());
        let answer = frames(vec![Frame::data(bytes.to_string().into()), Frame::trailers(status)]);
        (Response::new(answer), Arc::default())
    })
}

#[tokio::test(start_paused = true)]
async fn the_window_opens_as_a_request_is_read() {
    let options = ServeOptions { stream_window: 10_000, ..options() };
    let mut pair = pair_with(&h2::client::Builder::new(), options, counting).await;
    let (response, mut stream) = pair.open(false).await;
    let mut rest = Bytes::from(vec![1_u8; 200_000]);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = timeout(HOUR, poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap().unwrap();
        let chunk = rest.split_to(room.min(rest.len()));
        stream.send_data(chunk, rest.is_empty()).unwrap();
    }
    let (bytes, _) = read(response.await.unwrap().into_body()).await;
    assert_eq!(bytes, b"200000");
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_request_arrive() {
    let mut pair = pair(counting).await;
    let (response, mut stream) = pair.open(false).await;
    stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
    stream.send_trailers(trailers(3)).unwrap();
    let (bytes, trailers) = read(response.await.unwrap().into_body()).await;
    assert_eq!(bytes, b"3");
    assert_eq!(code(&trailers.unwrap()), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_client_is_cancelled() {
    let (sender, mut codes) = mpsc::unbounded_channel();
    let (body, _frames) = streamed();
    let answer = std::sync::Mutex::new(Some(body));
    let mut pair = pair(move |request| {
        let sender = sender.clone();
        tokio::spawn(async move {
            let failed = request.into_body().frame().await.unwrap().unwrap_err();
            let _ = sender.send(failed.code());
        });
        let body = answer.lock().unwrap().take().unwrap();
        Box::pin(std::future::ready((Response::new(body), Arc::default())))
    })
    .await;
    let (_response, mut stream) = pair.open(false).await;
    settle().await;
    stream.send_reset(h2::Reason::INTERNAL_ERROR);
    assert_eq!(timeout(HOUR, codes.recv()).await.unwrap(), Some(Code::Cancelled));
}
