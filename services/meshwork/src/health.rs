//! Asking gRPC ports for their health.

use std::time::Duration;

use meshwork::Channel;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::failure::Failure;

/// A port whose health is asked for.
#[derive(Clone)]
pub struct Port(HealthClient<Channel>);

impl Port {
    /// The port at `HOST:PORT`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn new(address: &str) -> Result<Self, Failure> {
        // No policy: the answer of this moment is wanted, whatever it is.
        let channel = Channel::connect_lazy(&format!("http://{address}"));
        let channel = channel.map_err(|_| Failure::new(format!("{address:?} is no address"), "write HOST:PORT"))?;
        Ok(Self(HealthClient::new(channel)))
    }

    /// Whether `service` (the port as a whole when empty) is serving; else what it says instead, in `timeout` at most.
    pub async fn serving(&self, service: &str, timeout: Duration) -> Result<(), String> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut client = self.0.clone();
        match tokio::time::timeout(timeout, client.check(request)).await {
            Err(_) => Err(format!("gives no answer within {timeout:?}")),
            Ok(Ok(response)) => match response.into_inner().status() {
                ServingStatus::Serving => Ok(()),
                status => Err(format!("is {}", status.as_str_name())),
            },
            Ok(Err(status)) if status.code() == Code::NotFound => Err("is not known there".to_owned()),
            Ok(Err(status)) => Err(format!("can't be asked: {}", status.message())),
        }
    }
}

/// `meshwork healthcheck`.
///
/// # Errors
/// When the service isn't serving.
pub async fn command(address: &str, service: &str, timeout: Duration) -> Result<(), Failure> {
    let what = if service.is_empty() { address.to_owned() } else { format!("{service} at {address}") };
    match Port::new(address)?.serving(service, timeout).await {
        Ok(()) => {
            println!("{what} is SERVING");
            Ok(())
        }
        Err(problem) => Err(Failure::new(format!("{what} {problem}"), "look whether it runs, and into its log")),
    }
}
