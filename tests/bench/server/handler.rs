//! What the servers do: an echo, or work that takes its time.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::message::{Payload, SERVICE};

/// So many calls can be worked on at once; all others wait, first come, first served.
pub const PLACES: usize = 64;
/// What one call takes, by a timer: the machine has time to spare.
pub const WORK: Duration = Duration::from_millis(40);

/// Answers with the payload, at once unless it works.
#[derive(Clone, Default)]
pub struct Echo {
    places: Option<Arc<Semaphore>>,
}

impl Echo {
    /// One that takes [`WORK`] for a call and has [`PLACES`].
    pub fn working() -> Self {
        Self { places: Some(Arc::new(Semaphore::new(PLACES))) }
    }
}

impl NamedService for Echo {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let answer = tower::service_fn(async |request: Request<Payload>| {
                if let Some(places) = &echo.places {
                    let _place = places.acquire().await.unwrap();
                    tokio::time::sleep(WORK).await;
                }
                Ok::<_, Status>(Response::new(request.into_inner()))
            });
            Ok(Grpc::new(ProstCodec::<Payload, Payload>::default()).unary(answer, request).await)
        })
    }
}
