//! Which calls are open, so that a stop waits for them and for nothing else.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use crate::server::Calls;

/// How long the last answers may take to leave the machine.
const GRACE: Duration = Duration::from_millis(100);

/// The open calls of a port.
#[derive(Clone, Debug, Default)]
pub struct OpenCalls(TaskTracker);

impl OpenCalls {
    /// Counts `calls` from now on.
    pub fn count(&self, calls: Calls) -> Counted {
        Counted { calls, open: self.0.clone() }
    }

    /// Waits until no call is open and the last answers are out. Idle connections don't count.
    pub async fn ended(&self) {
        self.0.close();
        loop {
            self.0.wait().await;
            tokio::time::sleep(GRACE).await;
            if self.0.is_empty() {
                break;
            }
        }
    }
}

/// Calls that are open until the last frame of their answer.
#[derive(Clone)]
pub struct Counted {
    calls: Calls,
    open: TaskTracker,
}

impl Service<Request<Body>> for Counted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.calls.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Health is watched and reflection asked for as long as a connection lives: nobody loses by their end.
        let of_the_port = request.uri().path().starts_with("/grpc.");
        let open = (!of_the_port).then(|| self.open.token());
        let answer = self.calls.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _until_the_body_is_dropped = &open;
                    frame
                }))
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_call_is_open_until_its_answer_has_ended() {
        let calls = || Calls::new(service_fn(async |_| Ok(Response::new(Body::new("an answer".to_owned())))));
        let open = OpenCalls::default();
        let request = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
        let watched = open.count(calls()).call(request("/grpc.health.v1.Health/Watch")).await.unwrap();
        let answer = open.count(calls()).call(request("/meshwork.Any/Call")).await.unwrap();
        let ended = |within| tokio::time::timeout(within, open.ended());
        assert!(ended(GRACE * 3).await.is_err(), "the answer isn't read yet");
        drop(answer);
        ended(Duration::from_secs(5)).await.unwrap();
        drop(watched);
    }
}
