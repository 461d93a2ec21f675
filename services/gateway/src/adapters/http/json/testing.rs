//! The contracts, for tests.

use std::sync::LazyLock;

use meshwork_api::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, MessageDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());

pub(super) fn pool() -> DescriptorPool {
    POOL.clone()
}

pub(super) fn descriptor(message: &str) -> MessageDescriptor {
    POOL.get_message_by_name(message).unwrap()
}
