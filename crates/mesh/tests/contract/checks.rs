//! The checks. Each makes its own layer and says what is wrong.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::poll_fn;
use http::{Request, Response};
use tonic::body::Body;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt as _};

use crate::probe::{Error, Mode, Notes, Probe};

type Client = BoxCloneService<Request<Body>, Response<Body>, Error>;

/// So often may a future be polled while nothing happens.
const POLLS: usize = 20;

/// A layer over a [`Probe`].
pub struct Subject {
    client: Client,
    notes: Arc<Notes>,
    /// How many permits, probes or places in a line are taken.
    held: Box<dyn Fn() -> usize>,
    /// Whether the layer answers in the place of a service that panics.
    guards: bool,
}

impl Subject {
    pub fn new<L, B>(layer: L, held: impl Fn() -> usize + 'static) -> Self
    where
        L: Layer<Probe>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<Error>,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let probe = Probe::default();
        let notes = Arc::clone(&probe.notes);
        let service = layer.layer(probe).map_response(|response: Response<B>| response.map(Body::new));
        Self { client: BoxCloneService::new(service.map_err(Into::into)), notes, held: Box::new(held), guards: false }
    }

    /// Panics are answered, and not passed on.
    pub fn guarding(self) -> Self {
        Self { guards: true, ..self }
    }

    fn gave_back(&self, after: &str) -> Result<(), String> {
        match (self.held)() {
            0 => Ok(()),
            held => Err(format!("{held} still held after {after}")),
        }
    }
}

/// What is wrong with the layer, if anything: the name of the check, and its complaint.
pub async fn broken(make: &impl Fn() -> Subject) -> Vec<String> {
    let mut broken = Vec::new();
    macro_rules! check {
        ($($name:ident),*) => {$(
            if let Err(problem) = $name(make()).await {
                broken.push(format!("{}: {problem}", stringify!($name)));
            }
        )*};
    }
    check!(
        spin_while_busy,
        spin_while_hanging,
        busy,
        readiness_error,
        ready_instance,
        clones,
        cancel,
        cancel_body,
        drop_service,
        panic
    );
    broken
}

fn request() -> Request<Body> {
    Request::new(Body::empty())
}

fn ensure(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}

/// How often `future` is polled in a second in which nothing happens.
async fn polls<F: Future>(future: F) -> usize {
    let mut future = pin!(future);
    let mut count = 0;
    let counted = poll_fn(|cx| {
        count += 1;
        // One that spins would keep the clock from going on.
        if count > POLLS || future.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    let _ = tokio::time::timeout(Duration::from_secs(1), counted).await;
    count
}

async fn spin_while_busy(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Busy);
    let count = polls(poll_fn(|cx| subject.client.poll_ready(cx))).await;
    ensure(count <= POLLS, "poll_ready wakes itself")
}

async fn spin_while_hanging(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Hangs);
    for _ in 0..2 {
        let client = subject.client.ready().now_or_never().ok_or("not ready")?.map_err(|error| error.to_string())?;
        let count = polls(client.call(request())).await;
        ensure(count <= POLLS, "the future wakes itself")?;
    }
    Ok(())
}

async fn busy(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Busy);
    let notes = Arc::clone(&subject.notes);
    let mut ready = tokio_test::task::spawn(subject.client.ready());
    ensure(ready.poll().is_pending(), "ready while the inner service is not")?;
    notes.set(Mode::Answers);
    ensure(ready.is_woken(), "not woken when the inner service is ready")?;
    ensure(ready.poll().is_ready(), "not ready when the inner service is")?;
    ensure(notes.calls() == 0, "the inner service was called by poll_ready")
}

async fn readiness_error(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Broken);
    let ready = subject.client.ready().now_or_never();
    ensure(matches!(ready, Some(Err(_))), "an error of readiness is not passed on")
}

async fn call(client: &mut Client) -> Result<Response<Body>, String> {
    let client = client.ready().await.map_err(|error| error.to_string())?;
    client.call(request()).await.map_err(|error| error.to_string())
}

async fn ready_instance(mut subject: Subject) -> Result<(), String> {
    // At the same time, so that some have to wait in layers where calls wait.
    let mut calls = Vec::new();
    for _ in 0..2 {
        let client = subject.client.ready().await.map_err(|error| error.to_string())?;
        calls.push(client.call(request()));
    }
    for call in calls {
        call.await.map_err(|error| error.to_string())?;
    }
    ensure(subject.notes.calls() == 2, "not every call came through")?;
    ensure(subject.notes.unready() == 0, "an instance was called that was not ready")
}

async fn clones(mut subject: Subject) -> Result<(), String> {
    let mut other = subject.client.clone();
    call(&mut other).await?;
    call(&mut subject.client).await?;
    drop(subject.client.clone());
    drop(other);
    call(&mut subject.client).await?;
    ensure(subject.notes.calls() == 3, "not every call came through")?;
    ensure(subject.notes.unready() == 0, "a clone was taken for ready")
}

async fn cancel(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Hangs);
    for polls in 0..3 {
        let mut calls = Vec::new();
        for _ in 0..2 {
            let client = subject.client.ready().await.map_err(|error| error.to_string())?;
            calls.push(tokio_test::task::spawn(client.call(request())));
        }
        for call in &mut calls {
            for _ in 0..polls {
                ensure(call.poll().is_pending(), "answered though the inner service was not")?;
            }
        }
        drop(calls);
        subject.gave_back(&format!("calls cancelled after {polls} polls"))?;
    }
    Ok(())
}

async fn cancel_body(mut subject: Subject) -> Result<(), String> {
    subject.notes.set(Mode::Streams);
    let mut response = call(&mut subject.client).await?;
    let frame = http_body_util::BodyExt::frame(response.body_mut()).now_or_never();
    ensure(frame.is_none(), "the stream ended by itself")?;
    drop(response);
    subject.gave_back("a response dropped in its middle")
}

async fn drop_service(mut subject: Subject) -> Result<(), String> {
    let ready = subject.client.ready().await.map_err(|error| error.to_string())?;
    let call = ready.call(request());
    let spare = subject.client.clone();
    subject.client = spare;
    call.await.map_err(|error| error.to_string())?;
    subject.notes.set(Mode::Hangs);
    let ready = subject.client.ready().await.map_err(|error| error.to_string())?;
    let call = ready.call(request());
    let Subject { client, notes, held, .. } = subject;
    drop(client);
    drop(call);
    ensure(held() == 0, "something is held after service and call were dropped")?;
    ensure(Arc::strong_count(&notes) == 1, "the inner service outlives the one around it")
}

async fn panic(mut subject: Subject) -> Result<(), String> {
    for mode in [Mode::PanicsAtCall, Mode::PanicsInFuture] {
        subject.notes.set(mode);
        let client = &mut subject.client;
        let result = AssertUnwindSafe(call(client)).catch_unwind().await;
        if subject.guards {
            let answer = result.map_err(|_| "a panic was passed on".to_owned())??;
            ensure(answer.headers().get("grpc-status").is_some_and(|code| code == "13"), "a panic isn't INTERNAL")?;
        } else {
            ensure(result.is_err(), "a panic was swallowed")?;
        }
        subject.gave_back("a panic of the inner service")?;
    }
    subject.notes.set(Mode::Answers);
    call(&mut subject.client).await.map(drop)
}
