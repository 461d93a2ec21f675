//! The two ways in which Connect writes a message: protobuf's bytes, which pass as they are, and its JSON.

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use tonic::Status;

use crate::adapters::errors::malformed;
use crate::adapters::http::{answers, values};

/// How the messages of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Proto,
    Json,
}

impl Codec {
    /// The codec of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "proto" => Some(Self::Proto),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The media type of the message of a unary call.
    pub(super) const fn unary_type(self) -> &'static str {
        match self {
            Self::Proto => "application/proto",
            Self::Json => "application/json",
        }
    }

    /// The media type of the messages of a stream.
    pub(super) const fn stream_type(self) -> &'static str {
        match self {
            Self::Proto => "application/connect+proto",
            Self::Json => "application/connect+json",
        }
    }

    /// The protobuf of a message of a request. Fields of JSON that the method doesn't know are left out (Connect).
    ///
    /// # Errors
    /// INVALID_ARGUMENT when it isn't JSON of `input`, or has more than 65,536 values.
    pub(super) fn read(self, input: &MessageDescriptor, message: Bytes) -> Result<Bytes, Status> {
        if self == Self::Proto {
            return Ok(message);
        }
        let wrong = |error: serde_json::Error| {
            malformed(format_args!("the message is not the JSON of {}: {error}", input.full_name()))
        };
        // Read, each value is many times as large as it may be as text.
        values::count(&message).map_err(wrong)?;
        let mut json = serde_json::Deserializer::from_slice(&message);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        DynamicMessage::deserialize_with_options(input.clone(), &mut json, &options)
            .and_then(|message| json.end().map(|()| message.encode_to_vec().into()))
            .map_err(wrong)
    }

    /// A message of an answer, of its protobuf.
    ///
    /// # Errors
    /// INTERNAL when it isn't one of `output`, or can't be shown as JSON; OUT_OF_RANGE when it is too large for that, or has
    /// more than 65,536 values; RESOURCE_EXHAUSTED when too many large ones are written.
    pub(super) async fn write(self, output: &MessageDescriptor, message: Bytes) -> Result<Bytes, Status> {
        if self == Self::Proto {
            return Ok(message);
        }
        let output = output.clone();
        answers::made(message, move |message| answers::write(&answers::read(&output, message)?)).await
    }
}

#[cfg(test)]
mod tests {
    use meshwork_api::FILE_DESCRIPTOR_SET;
    use meshwork_api::meshwork::orders::v1::GetOrderRequest;
    use prost_reflect::DescriptorPool;
    use tonic::Code;

    use super::*;

    fn message() -> MessageDescriptor {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name("meshwork.orders.v1.GetOrderRequest").unwrap()
    }

    #[tokio::test]
    async fn json_is_read_and_written_and_what_is_unknown_is_left_out() {
        let request = GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() };
        let plain: Bytes = request.encode_to_vec().into();
        let json = Bytes::from_static(br#"{"name":"orders/a","added":{"later":[1]}}"#);
        assert_eq!(Codec::Json.read(&message(), json).unwrap(), plain);
        assert_eq!(Codec::Json.write(&message(), plain.clone()).await.unwrap(), br#"{"name":"orders/a"}"#.as_slice());
        assert_eq!(Codec::Proto.read(&message(), plain.clone()).unwrap(), plain);
        assert_eq!(Codec::Proto.write(&message(), plain.clone()).await.unwrap(), plain);
    }

    #[tokio::test]
    async fn answers_of_too_many_values_are_not_written_as_json() {
        // Fields that nobody knows, of one byte each.
        let many: Bytes = [0x78_u8, 0].repeat((1 << 16) + 1).into();
        let status = Codec::Json.write(&message(), many.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        assert!(status.message().contains("more than 65536 values"), "{status:?}");
        assert_eq!(Codec::Proto.write(&message(), many.clone()).await.unwrap(), many);
    }

    #[tokio::test]
    async fn what_is_not_json_of_the_message_is_invalid() {
        for json in ["", "{", "[]", "7", r#"{"name":7}"#, "{} {}", "\u{0}"] {
            let status = Codec::Json.read(&message(), Bytes::copy_from_slice(json.as_bytes())).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{json}");
        }
        let many = format!(r#"{{"added":[{}0]}}"#, "0,".repeat(1 << 16));
        let status = Codec::Json.read(&message(), many.into()).unwrap_err();
        assert!(status.message().contains("more than 65536 values"), "{status:?}");
        let deep = "[".repeat(100_000);
        let deep = format!(r#"{{"added":{deep}"#);
        assert_eq!(Codec::Json.read(&message(), deep.into()).unwrap_err().code(), Code::InvalidArgument);
        let status = Codec::Json.write(&message(), Bytes::from_static(&[0xff])).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
    }
}
