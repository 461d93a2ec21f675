//! `meshwork deadletters` at a gateway that is none: it answers for four services what the tests want.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use meshwork_api::meshwork::admin::v1::dead_letter_service_server::{DeadLetterService, DeadLetterServiceServer};
use meshwork_api::meshwork::admin::v1::{
    DiscardDeadLetterResponse, ListDeadLettersResponse, RedriveDeadLetterResponse, RedriveDeadLettersResponse,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};

use super::*;

/// How many letters products has; its pages have 150, whatever is asked for.
const OF_PRODUCTS: usize = 1200;

/// Products has more than are listed, orders has one, users none, and notifications fails.
#[derive(Clone, Default)]
struct Fake {
    /// The service, and the name or filter, of each call.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// What redrives and discards leave.
    left: Option<DeadLetter>,
}

impl Fake {
    /// Somebody of the staff at this gateway.
    async fn serve(self) -> Admin {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let target = format!("http://{}", incoming.local_addr().unwrap());
        let server = Server::builder().add_service(DeadLetterServiceServer::new(self));
        tokio::spawn(server.serve_with_incoming(incoming));
        Admin::signed_in(&target)
    }

    fn note<T>(&self, request: &Request<T>, what: &str) -> String {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer token");
        let service = request.metadata().get(SERVICE).unwrap().to_str().unwrap().to_owned();
        self.asked.lock().unwrap().push((service.clone(), what.to_owned()));
        service
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[tonic::async_trait]
impl DeadLetterService for Fake {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let service = self.note(&request, &request.get_ref().filter);
        let (all, page) = match service.as_str() {
            "products" => (OF_PRODUCTS, 150),
            "orders" => (1, 150),
            "users" => (0, 150),
            _ => return Err(Status::failed_precondition("no letters today")),
        };
        let from = request.get_ref().page_token.parse().unwrap_or(0);
        let to = all.min(from + page);
        let letter = |at| DeadLetter { name: format!("deadLetters/{at}"), ..DeadLetter::default() };
        let next_page_token = if to < all { to.to_string() } else { String::new() };
        let dead_letters = (from..to).map(letter).collect();
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(&self, request: Request<GetDeadLetterRequest>) -> Result<Response<DeadLetter>, Status> {
        self.note(&request, &request.get_ref().name);
        Ok(Response::new(DeadLetter::default()))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<RedriveDeadLetterRequest>,
    ) -> Result<Response<RedriveDeadLetterResponse>, Status> {
        self.note(&request, &request.get_ref().name);
        Ok(Response::new(RedriveDeadLetterResponse { handled_events: 1, left: self.left.clone() }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        self.note(&request, "all");
        let left_aggregates = self.left.iter().count() as i64;
        Ok(Response::new(RedriveDeadLettersResponse { handled_events: 1, left_aggregates }))
    }

    async fn discard_dead_letter(
        &self,
        request: Request<DiscardDeadLetterRequest>,
    ) -> Result<Response<DiscardDeadLetterResponse>, Status> {
        self.note(&request, &request.get_ref().name);
        Ok(Response::new(DiscardDeadLetterResponse { handled_events: 0, left: self.left.clone() }))
    }
}

fn left() -> DeadLetter {
    DeadLetter {
        name: "deadLetters/1".to_owned(),
        subject: "orders/42".to_owned(),
        version: 3,
        ..DeadLetter::default()
    }
}

fn of(service: &str, what: &str) -> (String, String) {
    (service.to_owned(), what.to_owned())
}

#[tokio::test]
async fn all_services_are_asked_up_to_a_bound_and_those_that_fail_are_named() {
    let fake = Fake::default();
    let admin = fake.clone().serve().await;
    let (listed, failed) = gathered(&admin, None, "").await;
    let shown: Vec<_> = listed.iter().map(|of_service| (of_service.letters.len(), of_service.more)).collect();
    assert_eq!(shown, [(0, false), (MOST, true), (1, false)]);
    assert_eq!(listed[1].letters[MOST - 1].name, "deadLetters/999");
    let failed: Vec<_> = failed.iter().map(|(service, failure)| (*service, failure.sentence())).collect();
    assert!(matches!(failed[..], [(Parking::Notifications, why)] if why.contains("no letters today")), "{failed:?}");
    let pages = MOST.div_ceil(150);
    let asked =
        [vec![of("users", "")], vec![of("products", ""); pages], vec![of("orders", ""), of("notifications", "")]]
            .concat();
    assert_eq!(fake.asked(), asked);

    // What there is is printed, and a script learns that something is missing.
    let all = DeadLettersCommand::List { service: None, subject: None };
    let failure = carry_out(&admin, all, Output::Json).await.unwrap_err();
    assert!(failure.sentence().starts_with("notifications can't be asked: "), "{failure}");
    fake.asked();
    let one = DeadLettersCommand::List { service: Some(Parking::Orders), subject: Some("orders/42".to_owned()) };
    carry_out(&admin, one, Output::Text).await.unwrap();
    assert_eq!(fake.asked(), [of("orders", r#"subject = "orders/42""#)]);
}

#[tokio::test]
async fn commands_go_to_the_service_that_is_named_and_fail_when_a_redrive_leaves_something() {
    let service = Parking::Notifications;
    let redrive = |name: Option<&str>| DeadLettersCommand::Redrive {
        name: name.map(str::to_owned),
        all: name.is_none(),
        service,
    };
    for (left, all_is_well) in [(None, true), (Some(left()), false)] {
        let fake = Fake { left, ..Fake::default() };
        let admin = fake.clone().serve().await;
        for command in [redrive(Some("1")), redrive(None)] {
            assert_eq!(carry_out(&admin, command, Output::Json).await.is_ok(), all_is_well);
        }
        let name = "deadLetters/1".to_owned();
        carry_out(&admin, DeadLettersCommand::Discard { name, service }, Output::Text).await.unwrap();
        let name = "1".to_owned();
        carry_out(&admin, DeadLettersCommand::Show { name, service }, Output::Text).await.unwrap();
        let asked = ["deadLetters/1", "all", "deadLetters/1", "deadLetters/1"];
        assert_eq!(fake.asked(), asked.map(|what| of("notifications", what)));
    }
}

#[test]
fn a_letter_is_named_with_or_without_its_collection() {
    let name = "deadLetters/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d";
    assert_eq!(full("7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d"), name);
    assert_eq!(full(name), name);
}

#[test]
fn a_subject_becomes_a_filter() {
    assert_eq!(filter(None).unwrap(), "");
    assert_eq!(filter(Some("orders/42")).unwrap(), r#"subject = "orders/42""#);
    for none in ["", "orders/\"42"] {
        assert!(filter(Some(none)).is_err(), "{none}");
    }
}

#[test]
fn a_failure_names_every_service_that_was_not_asked() {
    unasked(&[]).unwrap();
    let down = |service| (service, Failure::new("it is down", "start it"));
    let failure = unasked(&[down(Parking::Products), down(Parking::Orders)]).unwrap_err();
    assert_eq!(failure.sentence(), "products can't be asked: it is down; orders can't be asked: it is down");
}

#[test]
fn a_redrive_that_leaves_something_says_what_to_do() {
    let failure = still_parked(&left(), Parking::Notifications);
    assert_eq!(failure.sentence(), "version 3 of orders/42 still can't be applied");
    let told = failure.to_string();
    assert!(told.contains("`meshwork deadletters show deadLetters/1 --service notifications`"), "{told}");
}
