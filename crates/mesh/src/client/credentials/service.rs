//! The channel whose calls carry a token.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, header};
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::fetch::Credentials;
use crate::client::channel::Channel;

impl Credentials {
    /// A channel that sends the token with each call. A call for which there is none is answered in its place, and not sent.
    pub fn channel(&self, channel: Channel) -> WithToken {
        self.layer(channel)
    }
}

impl<S> Layer<S> for Credentials {
    type Service = WithToken<S>;

    fn layer(&self, inner: S) -> WithToken<S> {
        WithToken { inner, credentials: self.clone() }
    }
}

/// A channel, or what stands around one, whose calls carry the token of its [`Credentials`].
#[derive(Clone, Debug)]
pub struct WithToken<S = Channel> {
    inner: S,
    credentials: Credentials,
}

impl<S, B> Service<Request<Body>> for WithToken<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Default + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that was asked whether it is ready takes the call.
        let mut inner = mem::replace(&mut self.inner, clone);
        let credentials = self.credentials.clone();
        Box::pin(async move {
            match credentials.header().await {
                Ok(header) => {
                    request.headers_mut().insert(header::AUTHORIZATION, header.clone());
                    let answer = inner.call(request).await?;
                    credentials.heed(&header, answer.headers());
                    Ok(answer)
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use tonic::{Code, Status};
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::client::credentials::source::{Token, TokenSource};

    /// Numbers its tokens, or has none.
    struct Numbers(Option<AtomicUsize>);

    #[async_trait]
    impl TokenSource for Numbers {
        async fn token(&self) -> Result<Token, String> {
            let count = self.0.as_ref().ok_or("the source is down")?;
            let number = count.fetch_add(1, Ordering::Relaxed);
            Token::bearer(&number.to_string(), Duration::from_secs(3600)).map_err(|error| error.to_string())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_carries_the_token_until_a_peer_refuses_it() {
        let credentials = Credentials::new(Numbers(Some(AtomicUsize::new(0))));
        // Refuses the first token after a while.
        let peer = service_fn(|request: Request<Body>| async move {
            let token = &request.headers()[header::AUTHORIZATION];
            assert!(token.is_sensitive());
            let refused = token == "Bearer 0" && request.uri().path() == "/late";
            let status = if refused { Status::unauthenticated("") } else { Status::ok(token.to_str().unwrap()) };
            Ok::<_, Infallible>(status.into_http::<Body>())
        });
        let channel = credentials.layer(peer);
        let call = async |path: &str| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = path.parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, "Bearer forged".parse().unwrap());
            let answer = channel.clone().oneshot(request).await.unwrap();
            let status = Status::from_header_map(answer.headers()).unwrap();
            (status.code(), status.message().to_owned())
        };
        for _ in 0..3 {
            assert_eq!(call("/early").await, (Code::Ok, "Bearer 0".to_owned()));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(call("/late").await.0, Code::Unauthenticated);
        assert_eq!(call("/late").await, (Code::Ok, "Bearer 1".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_token_is_not_sent() {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let peer = service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let credentials = Credentials::new(Numbers(None));
        let answer = credentials.layer(peer).oneshot(Request::new(Body::empty())).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the source is down"));
        assert_eq!(sent.load(Ordering::Relaxed), 0);
    }
}
