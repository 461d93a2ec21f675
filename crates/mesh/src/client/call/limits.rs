//! How long the messages of a call may be.

use http_body::Body as _;
use tonic::body::Body;

use crate::bodies::LengthLimitedBody;
use crate::client::endpoints::ChannelSettings;
use crate::policy::MethodPolicy;

/// The longest message of a response unless something else is said, as with tonic and all other gRPC libraries.
const RESPONSE: usize = 4 << 20;

/// The limits of a call's messages, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageLimits {
    pub(super) request: Option<usize>,
    response: usize,
}

impl MessageLimits {
    pub(super) fn new(settings: &ChannelSettings, policy: &MethodPolicy) -> Self {
        Self {
            request: lower(settings.max_request_bytes, policy.max_request_message_bytes),
            response: lower(settings.max_response_bytes, policy.max_response_message_bytes).unwrap_or(RESPONSE),
        }
    }

    /// Has the messages of a request keep the limit, if there is one.
    pub(super) fn request(self, body: &mut Body) {
        if let Some(limit) = self.request
            && !body.is_end_stream()
        {
            *body = Body::new(LengthLimitedBody::request(std::mem::take(body), limit));
        }
    }

    /// The body of a response whose messages keep the limit.
    pub(super) fn response<B>(self, body: B) -> LengthLimitedBody<B> {
        LengthLimitedBody::response(body, self.response)
    }
}

/// The lower of what the channel and the policy say.
fn lower(channel: Option<usize>, policy: Option<usize>) -> Option<usize> {
    channel.into_iter().chain(policy).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c25_of_two_limits_the_lower_one_holds() {
        assert_eq!(lower(None, None), None);
        assert_eq!((lower(Some(7), None), lower(None, Some(7))), (Some(7), Some(7)));
        assert_eq!((lower(Some(7), Some(8)), lower(Some(8), Some(7))), (Some(7), Some(7)));
    }
}
