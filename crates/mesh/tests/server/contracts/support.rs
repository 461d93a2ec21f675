//! Services that a server knows by nothing but its contracts of the moment.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{Builder, ContractSet, Contracts};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};

use crate::support::{Echo, Running};

pub const SHOP: &str = "far.v1.Shop";
pub const SHOP_UNARY: &str = "/far.v1.Shop/Unary";
pub const SHOP_SLEEP: &str = "/far.v1.Shop/Sleep";
pub const SHOP_STREAM: &str = "/far.v1.Shop/Stream";
pub const SHOP_UPLOAD: &str = "/far.v1.Shop/Upload";

/// Those of the shop, and whether requests and answers are streams.
pub const METHODS: [(&str, bool, bool); 4] =
    [("Unary", false, false), ("Sleep", false, false), ("Stream", false, true), ("Upload", true, false)];

/// Answers as [`Echo`] does, for the services that are there at the moment.
#[derive(Clone, Default)]
pub struct Upstream {
    pub echo: Echo,
    services: Arc<RwLock<BTreeSet<&'static str>>>,
    sleeping: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn add(&self, service: &'static str) {
        self.services.write().unwrap().insert(service);
    }

    pub fn remove(&self, service: &'static str) {
        self.services.write().unwrap().remove(service);
    }

    fn has(&self, path: &str) -> bool {
        let service = path.split('/').nth(1);
        service.is_some_and(|service| self.services.read().unwrap().contains(service))
    }

    /// The most calls of `Sleep` that there were at once.
    pub fn most_sleeping(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Service<http::Request<Body>> for Upstream {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.echo.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if !self.has(request.uri().path()) {
            return Box::pin(async { Ok(Status::unimplemented("").into_http()) });
        }
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        *request.uri_mut() = format!("/test.Echo/{method}").parse().unwrap();
        let answer = self.echo.call(request);
        if method != "Sleep" {
            return answer;
        }
        let (sleeping, most) = (Arc::clone(&self.sleeping), Arc::clone(&self.most));
        Box::pin(async move {
            most.fetch_max(sleeping.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let answer = answer.await;
            sleeping.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

/// A server before an upstream that may have any service.
pub struct Far {
    pub server: Running,
    pub contracts: Contracts,
    pub upstream: Upstream,
}

impl Far {
    pub fn start(builder: Builder) -> Self {
        let (contracts, upstream) = (Contracts::new(), Upstream::default());
        let server = Running::start(offering(builder, &contracts, &upstream));
        Self { server, contracts, upstream }
    }

    /// A server with the same contracts, before the same upstream.
    pub fn offering(&self, builder: Builder) -> Builder {
        offering(builder, &self.contracts, &self.upstream)
    }
}

pub fn offering(builder: Builder, contracts: &Contracts, upstream: &Upstream) -> Builder {
    let asked = upstream.clone();
    builder.contracts(contracts.clone()).fallback(upstream.clone(), move |path| asked.has(path))
}

/// A file with one service.
pub fn file(name: &str, package: &str, service: &str, methods: &[(&str, bool, bool)]) -> FileDescriptorProto {
    let method = |(name, requests, answers): &(&str, bool, bool)| MethodDescriptorProto {
        name: Some((*name).to_owned()),
        client_streaming: Some(*requests),
        server_streaming: Some(*answers),
        ..MethodDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: Some(package.to_owned()),
        service: vec![ServiceDescriptorProto {
            name: Some(service.to_owned()),
            method: methods.iter().map(method).collect(),
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    }
}

pub fn encoded(files: impl IntoIterator<Item = FileDescriptorProto>) -> Vec<u8> {
    FileDescriptorSet { file: files.into_iter().collect() }.encode_to_vec()
}

pub fn described(name: &str, package: &str, service: &str, methods: &[(&str, bool, bool)]) -> Vec<u8> {
    encoded([file(name, package, service, methods)])
}

/// A table that admits such callers to all methods of the shop.
pub fn everything(access: &Access) -> AccessTable {
    let paths = METHODS.map(|(name, ..)| format!("/{SHOP}/{name}"));
    paths.into_iter().fold(AccessTable::new(), |table, path| table.method(path, access.clone()))
}

/// The contracts of the shop, which admits such callers to all its methods.
pub fn shop(access: &Access) -> ContractSet {
    ContractSet {
        descriptors: vec![described("far/v1/shop.proto", "far.v1", "Shop", &METHODS)],
        access: everything(access),
        shown: vec![SHOP.to_owned()],
    }
}
