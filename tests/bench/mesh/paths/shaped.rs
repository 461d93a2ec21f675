//! Channels under calls of one [`Shape`].

use std::time::Duration;

use tonic::Status;

use super::Path;
use crate::shape::{self, Shape};

/// A channel, and what is called on it.
#[derive(Clone)]
pub struct Shaped<T> {
    pub channel: T,
    pub shape: Shape,
}

impl Path for Shaped<meshwork::Channel> {
    async fn call(&mut self, _: Option<Duration>) -> Result<(), Status> {
        shape::call(&mut self.channel, self.shape).await
    }
}

impl Path for Shaped<tonic::transport::Channel> {
    async fn call(&mut self, _: Option<Duration>) -> Result<(), Status> {
        shape::call(&mut self.channel, self.shape).await
    }
}
