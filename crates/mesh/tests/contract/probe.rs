//! The service below the layer: it does as it is told, and notes what is done to it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mode {
    /// Ready, answers OK as a whole.
    #[default]
    Answers,
    /// Ready, answers with a stream that never ends.
    Streams,
    /// Ready, never answers.
    Hangs,
    /// Is not ready.
    Busy,
    /// Will never be ready.
    Broken,
    /// Panics when it is called.
    PanicsAtCall,
    /// Panics when its future is polled.
    PanicsInFuture,
}

#[derive(Debug, Default)]
pub struct Notes {
    mode: Mutex<Mode>,
    waker: Mutex<Option<Waker>>,
    calls: AtomicUsize,
    unready: AtomicUsize,
}

impl Notes {
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Calls to an instance that was not ready.
    pub fn unready(&self) -> usize {
        self.unready.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
pub struct Probe {
    pub notes: Arc<Notes>,
    ready: bool,
}

impl Clone for Probe {
    /// Readiness is not cloned.
    fn clone(&self) -> Self {
        Self { notes: Arc::clone(&self.notes), ready: false }
    }
}

impl<A> Service<Request<A>> for Probe {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.notes.mode() {
            Mode::Busy => {
                *self.notes.waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            Mode::Broken => Poll::Ready(Err("broken".into())),
            _ => {
                self.ready = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, _: Request<A>) -> Self::Future {
        if !std::mem::take(&mut self.ready) {
            self.notes.unready.fetch_add(1, Ordering::SeqCst);
        }
        self.notes.calls.fetch_add(1, Ordering::SeqCst);
        let mode = self.notes.mode();
        assert!(mode != Mode::PanicsAtCall, "told to panic");
        Box::pin(async move {
            assert!(mode != Mode::PanicsInFuture, "told to panic");
            match mode {
                Mode::Hangs => std::future::pending().await,
                Mode::Streams => {
                    let never = futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, Error>>();
                    Ok(Response::new(Body::new(http_body_util::StreamBody::new(never))))
                }
                _ => {
                    let mut response = Response::new(Body::empty());
                    response.headers_mut().insert("grpc-status", http::HeaderValue::from_static("0"));
                    Ok(response)
                }
            }
        })
    }
}
