//! Waiting for a stream (C1): first come, first served, and one wake a place.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use meshwork::Channel;
use tonic::Status;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, ms, request, server_stream, settle, unary};

/// Counts how often a future is polled.
struct Counted<F> {
    future: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.future.as_mut().poll(cx)
    }
}

async fn limited(target: &str, names: &[&'static str], streams: u32) -> (Net, Vec<crate::support::Server>, Channel) {
    let net = Net::new();
    let servers = names.iter().map(|name| net.serve_with(name, Does::AnswerAfter(ms(10)), streams)).collect();
    let channel = net.channel(target, "{}", names);
    ready(&channel, names.len()).await;
    (net, servers, channel)
}

#[tokio::test(start_paused = true)]
async fn c1_calls_are_served_in_the_order_of_their_coming_each_woken_once_for_its_place() {
    const CALLS: usize = 600;
    let (_net, _servers, channel) = limited("places-order", &["a", "b", "c"], 2).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let polls = Arc::new(AtomicUsize::new(0));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let (channel, served, polls) = (channel.clone(), Arc::clone(&served), Arc::clone(&polls));
        let one = async move {
            call(&channel).await.unwrap();
            served.lock().unwrap().push(number);
        };
        all.spawn(Counted { future: Box::pin(one), polls });
        // Each has joined the queue before the next one comes.
        tokio::task::yield_now().await;
    }
    all.join_all().await;
    let served = served.lock().unwrap();
    let late = served.iter().enumerate().map(|(at, number)| number.abs_diff(at)).max().unwrap();
    // Six places: those that are served at the same time may end in any order.
    assert!(late <= 6, "one was served {late} places from where it came");
    let polls = polls.load(Ordering::Relaxed);
    // Begun, woken for its place, headers, end; and a few more where steps of the connection fall apart.
    assert!(polls < 7 * CALLS, "{polls} polls for {CALLS} calls");
}

#[tokio::test(start_paused = true)]
async fn c1_a_newcomer_waits_behind_those_who_wait() {
    let (_net, servers, channel) = limited("places-newcomer", &["a"], 1).await;
    servers[0].does(Does::Stream(ms(1000)));
    let first = server_stream(&channel, request()).await.unwrap();
    servers[0].does(Does::Answer);
    let order = Arc::new(Mutex::new(Vec::new()));
    let begin = |name: &'static str| {
        let (channel, order) = (channel.clone(), Arc::clone(&order));
        async move {
            call(&channel).await.unwrap();
            order.lock().unwrap().push(name);
        }
    };
    let old = tokio::spawn(begin("old"));
    settle().await;
    // The place is free before the one who waits could run, and the newcomer runs first.
    drop(first);
    begin("new").await;
    old.await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["old", "new"]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_passes_its_place_on() {
    let (_net, servers, channel) = limited("places-gives-up", &["a"], 1).await;
    servers[0].does(Does::Stream(ms(1000)));
    let first = server_stream(&channel, request()).await.unwrap();
    servers[0].does(Does::Answer);
    let mut gives_up = Box::pin(call(&channel));
    assert!(futures_util::poll!(&mut gives_up).is_pending());
    let mut waits = pin!(call(&channel));
    assert!(futures_util::poll!(&mut waits).is_pending());
    // The place is given to the first, who leaves without having looked.
    drop(first);
    settle().await;
    drop(gives_up);
    tokio::time::timeout(Duration::from_secs(1), waits).await.expect("the place isn't lost").unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_middle_ends_by_its_deadline_or_when_no_endpoint_is_left() {
    let (_net, servers, channel) = limited("places-deadline", &["a"], 1).await;
    servers[0].does(Does::Stream(ms(1000)));
    let _first = server_stream(&channel, request()).await.unwrap();
    let begin = |timeout: Option<u64>| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut one = request();
            timeout.inspect(|timeout| one.set_timeout(ms(*timeout)));
            unary(&channel, one, PATH).await
        })
    };
    let (one, two, three) = (begin(None), begin(Some(50)), begin(None));
    settle().await;
    let code = |answer: Result<String, Status>| answer.unwrap_err().code();
    assert_eq!(code(two.await.unwrap()), tonic::Code::DeadlineExceeded);
    servers[0].kill().await;
    for waits in [one, three] {
        let answer = tokio::time::timeout(Duration::from_secs(60), waits).await.expect("to be told").unwrap();
        assert_eq!(code(answer), tonic::Code::Unavailable);
    }
}

/// Over real threads: places come and go, callers give up at any moment, and nobody is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten() {
    let net = Net::new();
    let _servers = [net.serve_with("a", Does::Answer, 2), net.serve_with("b", Does::Answer, 1)];
    let channel = net.builder("{}").resolver(Names::new(&["a", "b"])).connect_lazy("test:///forgotten").unwrap();
    ready(&channel, 2).await;
    let mut all = tokio::task::JoinSet::new();
    for caller in 0..32_u64 {
        let channel = channel.clone();
        all.spawn(async move {
            for round in 0..200 {
                let mut one = Box::pin(call(&channel));
                if (caller + round) % 3 == 0 {
                    // Gives up wherever it is.
                    for _ in 0..round % 7 {
                        if futures_util::poll!(&mut one).is_ready() {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                } else {
                    tokio::time::timeout(Duration::from_secs(30), one).await.expect("not forgotten").unwrap();
                }
            }
        });
    }
    all.join_all().await;
}
