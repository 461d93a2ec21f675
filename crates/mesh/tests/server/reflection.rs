//! S13: reflection is counted by its messages.

use std::time::Duration;

use meshwork::server::rate::Rate;
use meshwork::{Channel, Server};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::clients::Tcp;
use crate::support::{SERVICE, UNARY, unary, why};

/// Asks so many times for the descriptor of a service over one stream: how many answers there were, and how it ended.
async fn ask(channel: &Channel, count: usize) -> (usize, Result<(), Status>) {
    let symbol = MessageRequest::FileContainingSymbol(SERVICE.to_owned());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let requests = tokio_stream::iter(std::iter::repeat_n(request, count));
    let mut answers = match ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (0, Err(status)),
    };
    let mut answered = 0;
    loop {
        match answers.message().await {
            Ok(Some(_)) => answered += 1,
            Ok(None) => return (answered, Ok(())),
            Err(status) => return (answered, Err(status)),
        }
    }
}

#[tokio::test]
async fn s13_a_flood_of_messages_on_one_stream_is_ended_and_another_address_goes_on() {
    let server = Tcp::start(Server::builder()).await;
    let (one, other) = (server.channel(71), server.channel(72));
    // A tool asks some hundreds of times.
    let (answered, end) = ask(&other, 300).await;
    assert!(answered == 300 && end.is_ok(), "{answered}, {end:?}");
    let begin = Instant::now();
    let (answered, end) = ask(&one, 20_000).await;
    assert_eq!(why(&end.unwrap_err()), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    let most = 1000 + 100 * (begin.elapsed().as_secs() + 1);
    assert!(answered as u64 <= most, "{answered} answers");
    // Another stream, or another connection, gives that address no more.
    for channel in [&one, &server.channel(71)] {
        let (answered, end) = ask(channel, 2000).await;
        assert_eq!(end.unwrap_err().code(), Code::ResourceExhausted);
        assert!(answered < 1000, "{answered} answers");
    }
    let (answered, end) = ask(&other, 300).await;
    assert!(answered == 300 && end.is_ok(), "{answered}, {end:?}");
    // Its other calls go on, and reflection does when it has waited.
    assert_eq!(unary(&one, UNARY, "x").await.unwrap(), "x");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (answered, end) = ask(&one, 20).await;
    assert!(answered == 20 && end.is_ok(), "{answered}, {end:?}");
}

#[tokio::test]
async fn s13_how_much_an_address_may_ask_is_a_setting() {
    let rate = Rate::new(5, 1, Duration::from_secs(3600)).unwrap();
    let server = Tcp::start(Server::builder().reflection_rate(rate)).await;
    let (answered, end) = ask(&server.channel(73), 100).await;
    assert_eq!(why(&end.unwrap_err()), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    // The stream counts as well.
    assert!(answered < 5, "{answered} answers");
    let (answered, end) = ask(&server.channel(74), 3).await;
    assert!(answered == 3 && end.is_ok(), "{answered}, {end:?}");
}
