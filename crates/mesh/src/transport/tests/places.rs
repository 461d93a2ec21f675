//! Places for streams.

use super::*;

#[tokio::test(start_paused = true)]
async fn no_more_streams_are_reserved_than_the_peer_allows() {
    let pair = pair_with(&Http2Options::default(), 2).await;
    assert_eq!(pair.connection.max_streams(), 2);
    let (one, _two) = (pair.connection.reserve().unwrap(), pair.connection.reserve().unwrap());
    assert!(pair.connection.reserve().is_none());
    let room = pair.connection.room();
    tokio::pin!(room);
    room.as_mut().enable();
    drop(one);
    timeout(HOUR, room).await.unwrap();
    assert!(pair.connection.reserve().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_place_comes_back_at_the_end_of_the_response_and_on_every_way_of_dropping() {
    let mut pair = pair_with(&Http2Options::default(), 1).await;
    for way in 0..6 {
        let (exchange, mut respond) = pair.call().await;
        assert_eq!(pair.connection.active_streams(), 1, "{way}");
        match way {
            // The end of the response, held on to.
            0 => {
                answer(respond);
                let mut body = pair.during(exchange).await.unwrap().into_body();
                while pair.during(frame(&mut body)).await.is_some() {}
                assert_eq!(pair.connection.active_streams(), 0);
                std::mem::forget(body);
            }
            // The response before its end.
            1 => {
                let _stream = respond.send_response(headers(), false).unwrap();
                let mut body = pair.during(exchange).await.unwrap().into_body();
                assert!(futures_util::poll!(Box::pin(frame(&mut body))).is_pending());
                drop(body);
            }
            // The exchange before its response.
            2 => drop(exchange),
            // A reset.
            3 => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                failure(pair.during(exchange).await);
            }
            // Headers only, and the body not looked at.
            4 => {
                respond.send_response(headers(), true).unwrap();
                drop(pair.during(exchange).await.unwrap());
            }
            // A request that can't be sent.
            _ => {
                drop(exchange);
                pair.settle().await;
                let strange = Request::builder().version(http::Version::HTTP_2).uri("/").body(()).unwrap();
                assert!(pair.connection.reserve().unwrap().send(strange, FullBody(None)).is_err());
                assert!(pair.connection.is_live());
            }
        }
        pair.settle().await;
        assert_eq!(pair.connection.active_streams(), 0, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_raised_and_lowered_while_the_connection_runs() {
    let (_network, mut listener, io) = wire().await;
    let client = tokio::spawn(async move {
        let (connection, driver) = handshake(io).await.unwrap();
        tokio::spawn(driver);
        connection
    });
    let mut peer = listener.accept().await.unwrap();
    let mut settings = async |limit: u8| {
        let frame = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, limit];
        tokio::io::AsyncWriteExt::write_all(&mut peer, &frame).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    settings(1).await;
    let connection = client.await.unwrap();
    let _one = connection.reserve().unwrap();
    assert!(connection.reserve().is_none());
    let room = connection.room();
    tokio::pin!(room);
    room.as_mut().enable();
    settings(2).await;
    timeout(HOUR, room).await.unwrap();
    let two = connection.reserve().unwrap();
    settings(1).await;
    assert_eq!(connection.max_streams(), 1);
    drop(two);
    assert!(connection.reserve().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_a_limit_has_none() {
    let (_network, mut listener, io) = wire().await;
    let mut peer = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let (connection, _driver) = handshake(io).await.unwrap();
    assert!(connection.max_streams() > 1 << 20);
}
