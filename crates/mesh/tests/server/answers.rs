//! S7: answers that are read slowly, or not at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshwork::Server;
use meshwork::server::{Budgets, CallerLimits, Resource};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::clients::Named;
use crate::support::{LARGE, Running, UNARY, budgets, calls, unary, until, why};
use crate::wire::{Answer, Wire, framed, head};

const MIB: usize = 1 << 20;

/// Without a pause.
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// A call that asks for so much.
fn large(name: &str) -> http::request::Builder {
    head(LARGE).header("x-name", name)
}

#[tokio::test(start_paused = true)]
async fn s7_an_answer_that_is_read_slowly_arrives_whole_though_its_connection_ages() {
    let server = Running::start(Server::builder().max_connection_age(Duration::from_secs(10)));
    let wire = Wire::new(server.connect().await).await;
    let begin = Instant::now();
    let answer = wire.call(head(LARGE), &(4 * MIB).to_string()).await.unwrap();
    // 256 frames of 16 KiB.
    let answer = Answer::read(answer, Some(Duration::from_millis(100))).await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(20), "it was read too quickly to tell: {:?}", begin.elapsed());
    assert_eq!(answer.status().code(), Code::Ok);
    assert!(answer.data.len() > 4 * MIB, "{} bytes", answer.data.len());
    // And then the connection ends.
    wire.connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s8_an_answer_that_begins_long_after_goaway_arrives_whole() {
    let server = Running::start(Server::builder().max_connection_age(Duration::from_secs(10)));
    let wire = Wire::new(server.connect().await).await;
    let answer = wire.call(head(LARGE), &format!("{MIB} 120000")).await.unwrap();
    let answer = Answer::read(answer, Some(Duration::from_millis(250))).await.unwrap();
    assert_eq!(answer.status().code(), Code::Ok);
    assert!(answer.data.len() > MIB, "{} bytes", answer.data.len());
    wire.connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s8_calls_that_end_as_their_connection_ages_end_well() {
    // Calls end around the end of an age, which is within ten percent of a second.
    let server = Running::start(Server::builder().max_connection_age(Duration::from_secs(1)));
    let clients = (0..100).map(|number| {
        let server = &server;
        async move {
            let wire = Wire::new(server.connect().await).await;
            let answer = wire.call(head(LARGE), &format!("1000 {}", 900 + 2 * number)).await.unwrap();
            Answer::read(answer, AT_ONCE).await.unwrap().status().code()
        }
    });
    let codes = futures_util::future::join_all(clients).await;
    assert!(codes.iter().all(|code| *code == Code::Ok), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn s7_a_call_holds_its_place_until_its_last_byte_was_read() {
    let budgets = calls(1);
    let server = Running::start(Server::builder().budgets(budgets.clone()));
    let (wire, channel) = (Wire::with_window(server.connect().await, 1000).await, server.channel());
    let answer = wire.call(head(LARGE), "100000").await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        (server.echo.running(), budgets.in_use(Resource::Calls)),
        (0, 1),
        "the handler is done, and the call isn't"
    );
    let status = unary(&channel, UNARY, "x").await.unwrap_err();
    assert_eq!(why(&status), (Code::Unavailable, "OVERLOADED".into()));
    let answer = Answer::read(answer, AT_ONCE).await.unwrap();
    assert_eq!(answer.status().code(), Code::Ok);
    until("the call is over", || budgets.in_use(Resource::Calls) == 0).await;
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn s7_bytes_that_a_principal_does_not_read_are_bounded_and_another_is_answered() {
    let limits = CallerLimits { total: 8 * MIB, per_principal: 2 * MIB, own: 64 << 10, ..CallerLimits::default() };
    let budgets = budgets(Resource::UnreadBytes, limits);
    let server = Running::start(Server::builder().authenticator(Arc::new(Named)).budgets(budgets.clone()));
    let unread = || budgets.in_use(Resource::UnreadBytes);
    let wire = Wire::with_window(server.connect().await, 16).await;
    let mut unread_answers = Vec::new();
    for _ in 0..2 {
        unread_answers.push(wire.call(large("anna"), "900000").await.unwrap());
    }
    until("both wait", || unread() > 1_790_000).await;
    let third = wire.call(large("anna"), "900000").await.unwrap();
    let status = Answer::read(third, None).await.unwrap().status();
    assert_eq!(why(&status), (Code::ResourceExhausted, "UNREAD_ANSWERS".into()));
    assert!(unread() <= 2 * MIB, "{} bytes", unread());
    // What fits a window, and what is read, is answered to either.
    let small = wire.call(large("anna"), "5").await.unwrap();
    assert_eq!(Answer::read(small, None).await.unwrap().status().code(), Code::Ok);
    let other = Wire::new(server.connect().await).await;
    let answer = other.call(large("bert"), "1500000").await.unwrap();
    let answer = Answer::read(answer, AT_ONCE).await.unwrap();
    assert_eq!((answer.status().code(), answer.data.len() > 1_500_000), (Code::Ok, true));
    drop(unread_answers);
    until("all is given back", || unread() == 0).await;
    let again = wire.call(large("anna"), "900000").await.unwrap();
    assert_eq!(Answer::read(again, AT_ONCE).await.unwrap().status().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn s7_bytes_that_a_connection_does_not_take_are_counted_too() {
    const ASKED: usize = 1_000_000;
    let budgets = Budgets::default();
    let server = Running::start(Server::builder().budgets(budgets.clone()));
    let unread = || budgets.in_use(Resource::UnreadBytes);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut client, connection) = builder.handshake::<_, Bytes>(server.connect().await).await.unwrap();
    let mut connection = Box::pin(connection);
    let (answer, mut request) = client.send_request(head(LARGE).body(()).unwrap(), false).unwrap();
    request.send_data(framed(&ASKED.to_string()), true).unwrap();
    // The request is sent, and nothing is read after that.
    assert!(futures_util::poll!(connection.as_mut()).is_pending());
    sleep(Duration::from_secs(5)).await;
    // The pipe has 64 KiB. As many wait in the connection for it, and the rest waits outside of that.
    assert!(unread() > ASKED - (100 << 10), "{} bytes", unread());
    drop((answer, request, client, connection));
    until("all is given back", || unread() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn s7_who_reads_nothing_is_ended_and_who_reads_slowly_is_not() {
    let budgets = Budgets::default();
    let limit = Duration::from_secs(10);
    let server = Running::start(Server::builder().slow_reader(limit).budgets(budgets.clone()));
    let wire = Wire::with_window(server.connect().await, 16).await;
    let nothing = async {
        let begin = Instant::now();
        let answer = wire.call(head(LARGE), "1000").await.unwrap();
        (Answer::read(answer, None).await.unwrap().status(), begin.elapsed())
    };
    let slowly = async {
        let answer = wire.call(head(LARGE), "160").await.unwrap();
        Answer::read(answer, Some(Duration::from_secs(5))).await.unwrap()
    };
    let ((status, took), answer) = tokio::join!(nothing, slowly);
    assert_eq!(why(&status), (Code::ResourceExhausted, "SLOW_READER".into()));
    assert!((limit..limit + Duration::from_secs(1)).contains(&took), "{took:?}");
    assert_eq!((answer.status().code(), answer.data.len() > 160), (Code::Ok, true));
    until("both are over", || budgets.in_use(Resource::Calls) + budgets.in_use(Resource::UnreadBytes) == 0).await;
}
