//! What a channel does with requests: which it may repeat, and how large they may be.

use super::Builder;
use crate::client::retry::RequestIds;

impl Builder {
    /// An encoded `FileDescriptorSet` of the services that are called. Unless the policy says something about repeating
    /// them, two kinds of methods are tried up to 3 times on UNAVAILABLE:
    ///
    /// * those that declare the `idempotency_level` NO_SIDE_EFFECTS;
    /// * those that declare IDEMPOTENT, take one message, and have a string field `request_id` at the top level of it
    ///   (AIP-155).
    ///
    /// A method with side effects and without such a field is not repeated, whatever it declares: when an answer is
    /// lost, a second attempt could do it twice. Where the field is empty the channel appends a new UUID to the
    /// message, the same for all attempts of the call, unless [`Builder::request_ids`] says otherwise; it does so too
    /// where the policy has such a method repeated or hedged. A request without an id stays as it is and is not
    /// repeated by descriptors when it was compressed by the generated client already, when its message isn't there in
    /// one piece when the call is made, or when the id would make it longer than [`Builder::max_encoding_message_size`]
    /// or [`Builder::retry_buffers`] allows.
    ///
    /// The id is that of one call of the application. An application that makes a failed call again must set an id of
    /// its own, the same in both: else the second has another one, and is another call.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().descriptors(meshwork_api::FILE_DESCRIPTOR_SET);
    /// ```
    pub fn descriptors(mut self, set: impl Into<Vec<u8>>) -> Self {
        self.descriptors = Some(set.into());
        self
    }

    /// Whether requests without an id get one where [`Builder::descriptors`] name a field for it; they do unless this
    /// is set. With [`RequestIds::Require`] requests stay as they are, and a method with side effects is repeated by
    /// descriptors only if the caller gave its request an id.
    ///
    /// ```
    /// use meshwork::retry::RequestIds;
    ///
    /// let builder = meshwork::Channel::builder()
    ///     .descriptors(meshwork_api::FILE_DESCRIPTOR_SET)
    ///     .request_ids(RequestIds::Require);
    /// ```
    pub fn request_ids(mut self, ids: RequestIds) -> Self {
        self.request_ids = ids;
        self
    }

    /// How many bytes of a request are kept to be sent again: 1 MiB of a call, 16 MiB of all calls of the channel. A
    /// call that does not fit is made, but not repeated (gRFC A6).
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().retry_buffers(256 << 10, 8 << 20);
    /// ```
    pub fn retry_buffers(mut self, of_call: usize, of_channel: usize) -> Self {
        self.buffers = (of_call, of_channel);
        self
    }

    /// The largest message of a request, in bytes as it is sent; a larger one ends its call with RESOURCE_EXHAUSTED. No
    /// limit unless set here or by `maxRequestMessageBytes` of the policy.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().max_encoding_message_size(1 << 20);
    /// ```
    pub fn max_encoding_message_size(mut self, bytes: usize) -> Self {
        self.max_request_bytes = Some(bytes);
        self
    }
}
