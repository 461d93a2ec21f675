//! One call from its request to the last byte of its answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;
use http_body::Body;

use super::CallGuard;
use super::backlog::Ticket;
use super::deliver::Delivery;
use super::payload::Payload;

pin_project_lite::pin_project! {
    /// A call. It ends when its answer is given to the connection or when its stream is over: by a reset of the client, or with
    /// the connection, of which `h2` tells all its streams, when it is dropped too.
    #[project = CallProjection]
    pub(super) enum Call<F, B, G> {
        Answering {
            #[pin]
            answer: F,
            respond: SendResponse<Payload<G>>,
            ticket: Ticket,
        },
        Delivering {
            delivery: Delivery<B, G>,
        },
        Over,
    }
}

impl<F, B, G> Call<F, B, G> {
    pub(super) fn new(answer: F, respond: SendResponse<Payload<G>>, ticket: Ticket) -> Self {
        Self::Answering { answer, respond, ticket }
    }
}

impl<F, B, G> Future for Call<F, B, G>
where
    F: Future<Output = (Response<B>, Arc<G>)>,
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
    G: CallGuard,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.as_mut().project() {
            CallProjection::Answering { answer, respond, ticket } => match answer.poll(cx) {
                Poll::Ready((response, guard)) => {
                    if let Some(mut delivery) = Delivery::begin(respond, response, guard, ticket, cx)
                        && delivery.poll(cx).is_pending()
                    {
                        self.set(Self::Delivering { delivery });
                        return Poll::Pending;
                    }
                }
                Poll::Pending => drop(ready!(respond.poll_reset(cx))),
            },
            CallProjection::Delivering { delivery } => ready!(delivery.poll(cx)),
            CallProjection::Over => {}
        }
        self.set(Self::Over);
        Poll::Ready(())
    }
}
