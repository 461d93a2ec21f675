//! S9: what nothing answers is not led somewhere by a layer of the user's, unless the table names it.

use std::convert::Infallible;

use meshwork::Server;
use meshwork::server::Router;
use meshwork::server::auth::{Access, AccessTable};
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::support::{Running, SLEEP, UNARY, unary};

/// Leads calls of `test.Old` to `test.Echo`.
fn renamed(
    routes: Router,
) -> impl tower::Service<
    http::Request<Body>,
    Response = http::Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static,
> + Clone
+ Send
+ 'static {
    tower::service_fn(move |mut request: http::Request<Body>| {
        let path = request.uri().path().replace("/test.Old/", "/test.Echo/");
        *request.uri_mut() = path.parse().unwrap();
        routes.clone().oneshot(request)
    })
}

#[tokio::test(start_paused = true)]
async fn s9_a_layer_opens_no_method_that_the_table_does_not_name() {
    let table = AccessTable::new().method(UNARY, Access::Public).method("/test.Old/Unary", Access::Public);
    let layer = tower::layer::layer_fn(renamed);
    let server = Running::start_layered(Server::builder().access(table).layer(layer));
    let channel = server.channel();
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    assert_eq!(unary(&channel, "/test.Old/Unary", "y").await.unwrap(), "y");
    assert_eq!(unary(&channel, SLEEP, "1").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(unary(&channel, "/test.Old/Sleep", "1").await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(server.echo.finished(), 0);
}
