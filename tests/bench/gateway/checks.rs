//! That each way does what it is measured for: it answers as the service does, and the gateway looks at tokens, counts calls and
//! logs requests, or not, as it is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{GetProductRequest, Product};
use meshwork_testkit::up::{Token, with};
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

use crate::paths::{JSON, json};
use crate::upstream::{METHOD, NAME, Upstream, product};
use crate::ways::Way;

/// How long a way may take until it answers: the gateway fetches keys first.
const START: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the log may take to have a request.
const LOGGED: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Sees that a way does what it should.
///
/// # Errors
/// What it does instead.
pub async fn check(way: &Way, upstream: &Upstream) -> Result<(), String> {
    let (address, token) = (way.address(), upstream.token());
    if way.kind.path == JSON {
        answers_in_json(address, token).await?;
    } else {
        let answer = answers(address, token).await?;
        // Plain proxies have nothing to say of that.
        if way.gateway().is_some() && !answer.metadata().contains_key("ratelimit") {
            return Err("answers do not tell of limits".to_owned());
        }
    }
    if way.gateway().is_some() {
        let forged = forged(token);
        let refused = refuses(address, &forged).await;
        refused.and(refuses_in_json(address, &forged).await)?;
    }
    logs(way).await
}

/// Waits until the product comes by gRPC.
async fn answers(address: SocketAddr, token: &str) -> Result<Response<Product>, String> {
    let start = Instant::now();
    loop {
        match get(address, token).await {
            Ok(answer) if *answer.get_ref() == product() => return Ok(answer),
            Ok(answer) => return Err(format!("it answers with {:?}", answer.get_ref())),
            Err(status) if start.elapsed() > START => return Err(format!("it answers with {status:?}")),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn refuses(address: SocketAddr, token: &str) -> Result<(), String> {
    match get(address, token).await {
        Err(status) if status.code() == Code::Unauthenticated => Ok(()),
        other => Err(format!("it answers a forged token with {other:?}")),
    }
}

async fn get(address: SocketAddr, token: &str) -> Result<Response<Product>, Status> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(ANSWER).connect_lazy();
    let token: Token = format!("Bearer {token}").parse().unwrap();
    let request = with(&token, GetProductRequest { name: NAME.to_owned() });
    ProductServiceClient::new(channel).get_product(request).await
}

/// Waits until the product comes by HTTP/JSON.
async fn answers_in_json(address: SocketAddr, token: &str) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let answer = tokio::time::timeout(ANSWER, json::get(address, token)).await;
        match answer {
            Ok(Ok(answer)) if answer.status == 200 => {
                let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
                let is_ours = body["name"] == NAME && body["etag"] == product().etag;
                return if is_ours { Ok(()) } else { Err(format!("it answers with {body}")) };
            }
            Ok(Ok(answer)) if start.elapsed() > START => return Err(format!("it answers with {}", answer.status)),
            Ok(Err(error)) if start.elapsed() > START => return Err(error.to_string()),
            Err(_) if start.elapsed() > START => return Err("it does not answer".to_owned()),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn refuses_in_json(address: SocketAddr, token: &str) -> Result<(), String> {
    let answer = tokio::time::timeout(ANSWER, json::get(address, token)).await;
    let answer = answer.map_err(|_| "it does not answer a forged token")?.map_err(|error| error.to_string())?;
    if answer.status == 401 { Ok(()) } else { Err(format!("it answers a forged token with {}", answer.status)) }
}

/// A token that nobody has signed: one letter of the signature is another.
fn forged(token: &str) -> String {
    // The last letters stay: not all may end a signature.
    let (begin, end) = token.split_at(token.len() - 8);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    format!("{begin}{other}{}", &end[1..])
}

/// Sees that the gateway has logged the calls before, or that it has not when it is told so.
async fn logs(way: &Way) -> Result<(), String> {
    let (Some(gateway), Some(logs)) = (way.gateway(), way.kind.logs()) else { return Ok(()) };
    let has_logged = || gateway.log().lines().any(|line| line.contains(METHOD));
    let start = Instant::now();
    while logs && !has_logged() {
        if start.elapsed() > LOGGED {
            return Err(format!("it has logged nothing of {METHOD}:\n{}", gateway.log()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if has_logged() == logs { Ok(()) } else { Err("it logs requests though it is told not to".to_owned()) }
}
