//! Where the client of the API server comes from.

use std::time::Duration;

use http::Response;
use http_body_util::Limited;
use kube::client::{Client, ClientBuilder, DynBody};
use kube::config::Config;
use tower::util::MapResponseLayer;

use super::fault::Fault;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The most bytes of one answer, a page of a list or all of a watch; `kube` has no bound. A page of full slices is a
/// third of it.
const ANSWER: usize = 32 << 20;

/// A client that somebody made, or that of the environment.
pub(super) enum Source {
    Given(Client),
    Environment,
}

impl Source {
    /// The client.
    ///
    /// # Errors
    /// When the environment has none, or its certificates or credentials can't be used.
    pub(super) async fn client(&self) -> Result<Client, Fault> {
        match self {
            Self::Given(client) => Ok(client.clone()),
            Self::Environment => from_environment().await,
        }
    }
}

/// By `KUBECONFIG` or `~/.kube/config`, or else by what each pod is given.
async fn from_environment() -> Result<Client, Fault> {
    let mut config = Config::infer().await.map_err(Fault::Client)?;
    config.connect_timeout = Some(CONNECT);
    // Whoever asks here backs off by himself, and wants to say why.
    config.default_retry = false;
    let bounded = |response: Response<Box<DynBody>>| response.map(|body| Limited::new(body, ANSWER));
    let builder = ClientBuilder::try_from(config).map_err(Fault::Api)?;
    Ok(builder.with_layer(&MapResponseLayer::new(bounded)).build())
}
