//! `meshwork cache` at a gateway that is none: it answers for two services what the tests want.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use meshwork_api::meshwork::admin::v1::InvalidateCacheResponse;
use meshwork_api::meshwork::admin::v1::cache_service_server::{CacheService, CacheServiceServer};
use tonic::Response;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::*;

/// The service of a call, and what was to be dropped.
type Asked = (String, Option<What>);

/// Users knows the kind `users`, products the tag `products`; the stats of one may fail.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The service that is down.
    down: Option<Caching>,
    /// How both stand to Redis.
    link: Link,
}

impl Fake {
    /// Somebody of the staff at this gateway.
    async fn serve(self) -> Admin {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let target = format!("http://{}", incoming.local_addr().unwrap());
        let server = Server::builder().add_service(CacheServiceServer::new(self));
        tokio::spawn(server.serve_with_incoming(incoming));
        Admin::signed_in(&target)
    }

    fn note<T>(&self, request: &Request<T>, what: Option<What>) -> Result<String, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer token");
        let service = request.metadata().get(SERVICE).unwrap().to_str().unwrap().to_owned();
        self.asked.lock().unwrap().push((service.clone(), what));
        if self.down.is_some_and(|down| down.as_str() == service) {
            return Err(Status::internal("no caches today"));
        }
        Ok(service)
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[tonic::async_trait]
impl CacheService for Fake {
    async fn get_cache_stats(&self, request: Request<GetCacheStatsRequest>) -> Result<Response<CacheStats>, Status> {
        let service = self.note(&request, None)?;
        Ok(Response::new(CacheStats { service, enabled: true, link: self.link.into(), ..CacheStats::default() }))
    }

    async fn invalidate_cache(
        &self,
        request: Request<InvalidateCacheRequest>,
    ) -> Result<Response<InvalidateCacheResponse>, Status> {
        let what = request.get_ref().what.clone();
        let service = self.note(&request, what.clone())?;
        match (service.as_str(), what) {
            (_, Some(What::Key(key))) if key.starts_with(&format!("{service}/")) => {}
            ("users", Some(What::Kind(kind))) if kind == "users" => {}
            ("products", Some(What::Tag(tag))) if tag == "products" => {}
            ("products", _) => return Err(Status::failed_precondition("there is no cache")),
            _ => return Err(Status::invalid_argument("nothing has that name")),
        }
        Ok(Response::new(InvalidateCacheResponse {}))
    }
}

fn of(service: &str, what: Option<&What>) -> (String, Option<What>) {
    (service.to_owned(), what.cloned())
}

#[tokio::test]
async fn both_services_are_asked_and_one_that_fails_is_named() {
    let fake = Fake { down: Some(Caching::Users), ..Fake::default() };
    let admin = fake.clone().serve().await;
    let (counted, failed) = gathered(&admin, None).await;
    assert!(matches!(&counted[..], [(Caching::Products, stats)] if stats.service == "products"), "{counted:?}");
    assert_eq!(failed.len(), 1);
    assert_eq!(fake.asked(), [of("users", None), of("products", None)]);
    // A script sees that something is missing.
    let failure = stats(&admin, None, Output::Json).await.unwrap_err();
    assert!(failure.sentence().starts_with("users can't be asked: no caches today"), "{failure}");
    fake.asked();
    let only = CacheCommand::Stats { service: Some(Caching::Products) };
    carry_out(&admin, only, Output::Text).await.unwrap();
    assert_eq!(fake.asked(), [of("products", None)]);
}

#[tokio::test]
async fn a_key_goes_to_the_service_of_its_collection() {
    let fake = Fake::default();
    let admin = fake.clone().serve().await;
    for (key, service) in [("users/anna", "users"), ("products/lamp", "products")] {
        let what = What::Key(key.to_owned());
        let command = CacheCommand::Invalidate { key: Some(key.to_owned()), tag: None, kind: None, service: None };
        carry_out(&admin, command, Output::Text).await.unwrap();
        // Behind it, whether Redis has heard of it.
        assert_eq!(fake.asked(), [of(service, Some(&what)), of(service, None)]);
    }
    for none in ["orders/1", "anna", "", "/anna", "user/anna"] {
        let what = What::Key(none.to_owned());
        let failure = invalidate(&admin, &what, None, Output::Text).await.unwrap_err();
        assert!(failure.to_string().contains("users/anna"), "{none}: {failure}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_tag_or_a_kind_goes_to_each_service_and_one_that_does_not_know_it_is_no_error() {
    let fake = Fake::default();
    let admin = fake.clone().serve().await;
    let [tag, kind] = [What::Tag("products".to_owned()), What::Kind("users".to_owned())];
    invalidate(&admin, &tag, None, Output::Json).await.unwrap();
    assert_eq!(fake.asked(), [of("users", Some(&tag)), of("products", Some(&tag)), of("products", None)]);
    invalidate(&admin, &kind, None, Output::Json).await.unwrap();
    assert_eq!(fake.asked(), [of("users", Some(&kind)), of("users", None), of("products", Some(&kind))]);
    let nobodys = What::Tag("orders".to_owned());
    let failure = invalidate(&admin, &nobodys, None, Output::Text).await.unwrap_err();
    let told = failure.sentence();
    assert!(told.contains("users refuses: nothing has that name"), "{told}");
    assert!(told.contains("products refuses: there is no cache"), "{told}");
    fake.asked();
    // The one that is named has to know it.
    let users = What::Kind("users".to_owned());
    invalidate(&admin, &users, Some(Caching::Products), Output::Text).await.unwrap_err();
    assert_eq!(fake.asked(), [of("products", Some(&users))]);
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_later() {
    for (link, told) in [
        (Link::Up, Propagation::Done),
        (Link::None, Propagation::Done),
        (Link::Down, Propagation::Queued),
        (Link::CatchingUp, Propagation::Queued),
        (Link::Unspecified, Propagation::Unknown),
    ] {
        let admin = Fake { link, ..Fake::default() }.serve().await;
        assert_eq!(propagation(&admin, Caching::Users).await, told, "{link:?}");
    }
    let admin = Fake { down: Some(Caching::Users), link: Link::Up, ..Fake::default() }.serve().await;
    assert_eq!(propagation(&admin, Caching::Users).await, Propagation::Unknown);
}

#[test]
fn an_account_that_may_not_is_told_what_to_sign_in_by() {
    let refused = Status::permission_denied("this is for the staff");
    let failure = unasked(&[(Caching::Users, told(&refused))]).unwrap_err();
    assert_eq!(failure.sentence(), "users can't be asked: this is for the staff");
    assert!(failure.hint().contains("--staff-credentials"), "{failure}");
}

#[tokio::test]
async fn a_service_that_is_down_is_told_though_another_has_dropped_it() {
    let fake = Fake { down: Some(Caching::Products), ..Fake::default() };
    let admin = fake.serve().await;
    let users = What::Kind("users".to_owned());
    let failure = invalidate(&admin, &users, None, Output::Text).await.unwrap_err();
    assert!(failure.sentence().starts_with("products can't be asked: no caches today"), "{failure}");
}
