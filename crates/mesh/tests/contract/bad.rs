//! Layers that break the contract, each in one way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::probe::{Error, Probe};

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// Asks again at once instead of waiting to be woken.
#[derive(Clone)]
pub struct Spins;

/// Makes ready one instance and calls another.
#[derive(Clone)]
pub struct CallsUnreadyClone;

/// Counts a call out only when it was answered.
#[derive(Clone, Default)]
pub struct Leaks(Arc<AtomicUsize>);

impl Leaks {
    pub fn held(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
pub struct Bad<L> {
    layer: L,
    inner: Probe,
}

macro_rules! layer {
    ($($layer:ty),*) => {$(
        impl Layer<Probe> for $layer {
            type Service = Bad<$layer>;

            fn layer(&self, inner: Probe) -> Self::Service {
                Bad { layer: self.clone(), inner }
            }
        }
    )*};
}

layer!(Spins, CallsUnreadyClone, Leaks);

impl Service<Request<Body>> for Bad<Spins> {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ready = Service::<Request<Body>>::poll_ready(&mut self.inner, cx);
        if ready.is_pending() {
            cx.waker().wake_by_ref();
        }
        ready
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.inner.call(request)
    }
}

impl Service<Request<Body>> for Bad<CallsUnreadyClone> {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let mut clone = self.inner.clone();
        Box::pin(async move { clone.call(request).await })
    }
}

impl Service<Request<Body>> for Bad<Leaks> {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let held = Arc::clone(&self.layer.0);
        held.fetch_add(1, Ordering::SeqCst);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            held.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}
