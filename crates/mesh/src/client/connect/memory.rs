//! The network within the process, as a connector.

use std::io;

use async_trait::async_trait;

use super::Connector;
use crate::client::endpoint::Address;
use crate::memory::Memory;
use crate::transport::Io;

#[async_trait]
impl Connector for Memory {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        Ok(Box::new(self.dial(&address.to_string()).await?))
    }
}
