//! Who may see what, and what is refused how.

use meshwork_api::meshwork::notifications::v1::notification::State;
use meshwork_api::meshwork::notifications::v1::{
    GetNotificationRequest, ListNotificationsRequest, ListNotificationsResponse, Notification,
    ResendNotificationRequest,
};
use meshwork_chassis::auth::AccessTable;
use meshwork_chassis::config::Listen;
use meshwork_chassis::{CancellationToken, Health};
use meshwork_notifications::Config;
use meshwork_testkit::assert_small;
use meshwork_testkit::issuer::Claims;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::world::{World, eventually, with_token};

const ABSENT: &str = "notifications/00000000-0000-5000-8000-000000000000";

fn list(filter: &str) -> ListNotificationsRequest {
    ListNotificationsRequest { filter: filter.to_owned(), ..Default::default() }
}

fn get(name: &str) -> GetNotificationRequest {
    GetNotificationRequest { name: name.to_owned() }
}

impl World {
    async fn try_list(&self, request: Request<ListNotificationsRequest>) -> Result<ListNotificationsResponse, Status> {
        Ok(self.service.client.clone().list_notifications(request).await?.into_inner())
    }

    async fn try_get(&self, request: Request<GetNotificationRequest>) -> Result<String, Status> {
        Ok(self.service.client.clone().get_notification(request).await?.into_inner().name)
    }

    async fn try_resend(&self, user: &str, role: &str, name: &str) -> Result<Notification, Status> {
        let request = self.request(user, role, ResendNotificationRequest { name: name.to_owned() });
        Ok(self.service.client.clone().resend_notification(request).await?.into_inner())
    }

    /// One letter to each of two customers; returns the names of the notifications.
    async fn with_letters(&self) -> [String; 2] {
        self.deliver("a", "anna").await;
        self.deliver("b", "bert").await;
        let [anna] = self.wait_for("a", State::Sent, 1).await.try_into().unwrap();
        let [bert] = self.wait_for("b", State::Sent, 1).await.try_into().unwrap();
        [anna.name, bert.name]
    }
}

/// Code, reason and the field that is wrong, if one is.
#[track_caller]
fn told(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().expect("every error has ErrorInfo");
    assert_eq!(info.domain, "notifications.meshwork.dev");
    let fields = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let fields: Vec<_> = fields.into_iter().map(|violation| violation.field).collect();
    (status.code(), info.reason, fields.join(","))
}

fn error(code: Code, reason: &str, field: &str) -> (Code, String, String) {
    (code, reason.to_owned(), field.to_owned())
}

#[tokio::test]
async fn customers_see_their_own_and_staff_see_all() {
    let world = World::start().await;
    let [anna, bert] = world.with_letters().await;
    let names = async |user, role, filter: &str| {
        let listed = world.try_list(world.request(user, role, list(filter))).await.unwrap();
        listed.notifications.into_iter().map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(names("anna", "customer", "").await, std::slice::from_ref(&anna));
    assert_eq!(names("anna", "customer", "recipient = \"users/anna\"").await, std::slice::from_ref(&anna));
    assert_eq!(names("anna", "customer", "about = \"orders/b\"").await, [""; 0]);
    assert_eq!(names("staff", "staff", "").await, [bert.clone(), anna.clone()]);
    assert_eq!(names("staff", "staff", "recipient = users/bert AND state = SENT").await, std::slice::from_ref(&bert));
    // D8: as every answer spells it.
    assert_eq!(names("staff", "staff", "state = STATE_SENT").await, names("staff", "staff", "state = SENT").await);
    assert_eq!(names("staff", "staff", "state = FAILED").await, [""; 0]);
    // A service is no member of the staff.
    assert_eq!(names("machine", "service", "").await, [""; 0]);

    assert_eq!(world.try_get(world.request("anna", "customer", get(&anna))).await.unwrap(), anna);
    assert_eq!(world.try_get(world.request("staff", "staff", get(&bert))).await.unwrap(), bert);
}

#[tokio::test]
async fn what_is_not_theirs_looks_to_customers_like_what_is_not_there() {
    let world = World::start().await;
    let [_, bert] = world.with_letters().await;
    let refusal = error(Code::PermissionDenied, "NOT_ALLOWED", "");
    let mut messages = Vec::new();
    for name in [&bert, ABSENT, "notifications/no-uuid"] {
        let status = world.try_get(world.request("anna", "customer", get(name))).await.unwrap_err();
        assert_eq!(told(&status), refusal, "{name}");
        messages.push(status.message().to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let status = world.try_list(world.request("anna", "customer", list("recipient = users/bert"))).await.unwrap_err();
    assert_eq!(told(&status), refusal);
    let status = world.try_get(world.request("machine", "service", get(&bert))).await.unwrap_err();
    assert_eq!(told(&status), refusal);
    for name in [ABSENT, "notifications/no-uuid"] {
        let status = world.try_get(world.request("staff", "staff", get(name))).await.unwrap_err();
        assert_eq!(told(&status), error(Code::NotFound, "NOTIFICATION_NOT_FOUND", ""));
    }
}

#[tokio::test]
async fn staff_send_a_letter_again_under_its_id() {
    let world = World::start().await;
    let [anna, _] = world.with_letters().await;
    let sent = world.list("about = orders/a").await.remove(0);
    let again = world.try_resend("staff", "staff", &anna).await.unwrap();
    assert_eq!((again.name.as_str(), again.state(), again.attempts), (anna.as_str(), State::Pending, 1));
    let twice = async || world.list("about = orders/a AND state = SENT").await.into_iter().find(|it| it.attempts == 2);
    let twice = eventually(twice).await;
    assert!(twice.send_time.unwrap().nanos != sent.send_time.unwrap().nanos);
    assert_eq!(world.letters().len(), 2, "one of each: the second has taken the first one's place");

    world.users.hold("anna", true);
    world.deliver("c", "anna").await;
    let [under_way] = world.wait_for("c", State::Sending, 1).await.try_into().unwrap();
    let status = world.try_resend("staff", "staff", &under_way.name).await.unwrap_err();
    assert_eq!(told(&status), error(Code::FailedPrecondition, "NOTIFICATION_BEING_SENT", ""));
    world.users.hold("anna", false);
    world.wait_for("c", State::Sent, 1).await;
}

#[tokio::test]
async fn only_staff_send_again_and_only_what_is_there() {
    let world = World::start().await;
    let [anna, _] = world.with_letters().await;
    for (user, role) in [("anna", "customer"), ("bert", "customer"), ("machine", "service")] {
        for name in [&anna, ABSENT, "nonsense"] {
            let status = world.try_resend(user, role, name).await.unwrap_err();
            assert_eq!(told(&status), error(Code::PermissionDenied, "NOT_ALLOWED", ""), "{user} {name}");
        }
    }
    for name in [ABSENT, "notifications/no-uuid"] {
        let status = world.try_resend("staff", "staff", name).await.unwrap_err();
        assert_eq!(told(&status), error(Code::NotFound, "NOTIFICATION_NOT_FOUND", ""));
    }
    let status = world.try_resend("staff", "staff", "users/anna").await.unwrap_err();
    assert_eq!(told(&status), error(Code::InvalidArgument, "INVALID_FIELDS", "name"));
    assert!(world.list("").await.iter().all(|it| it.attempts == 1));
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn every_method_for_owners_refuses_another_customer() {
    let world = World::start().await;
    let [_, berts] = world.with_letters().await;
    let table = AccessTable::from_contracts().unwrap();
    let of_service = |path| str::strip_prefix(path, "/meshwork.notifications.v1.NotificationService/");
    let mut tested = 0;
    for method in table.owned().into_iter().filter_map(of_service) {
        let status = match method {
            "ListNotifications" => {
                world.try_list(world.request("anna", "customer", list("recipient = users/bert"))).await.unwrap_err()
            }
            "GetNotification" => world.try_get(world.request("anna", "customer", get(&berts))).await.unwrap_err(),
            _ => panic!("{method} is for owners: add a call by another customer"),
        };
        assert_eq!(told(&status), error(Code::PermissionDenied, "NOT_ALLOWED", ""), "{method}");
        tested += 1;
    }
    assert!(tested > 0, "no method of the service is for owners");
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let world = World::start().await;
    for name in ["", "notifications/", "notifications/A", "users/anna", "notifications/a/b"] {
        let status = world.try_get(world.request("anna", "customer", get(name))).await.unwrap_err();
        assert_eq!(told(&status), error(Code::InvalidArgument, "INVALID_FIELDS", "name"), "{name}");
    }
    for filter in [
        "state",
        "state = sent",
        "state = STATE_UNSPECIFIED",
        "state = SENT AND state = FAILED",
        "recipient = anna",
        "about = \"products/a\"",
        "template = welcome",
        "about = \"orders/a",
    ] {
        let status = world.try_list(world.request("staff", "staff", list(filter))).await.unwrap_err();
        assert_eq!(told(&status), error(Code::InvalidArgument, "INVALID_FIELDS", "filter"), "{filter}");
    }
    let both = ListNotificationsRequest { page_size: -1, page_token: "x".to_owned(), filter: "a".to_owned() };
    let status = world.try_list(world.request("staff", "staff", both)).await.unwrap_err();
    let fields = "filter,page_size,page_token";
    assert_eq!(told(&status), error(Code::InvalidArgument, "INVALID_FIELDS", fields));
}

#[tokio::test]
async fn pages_follow_each_other_and_their_tokens_belong_to_their_list() {
    let world = World::start().await;
    let [anna, bert] = world.with_letters().await;
    let page = |token: &str, filter: &str| ListNotificationsRequest {
        page_size: 1,
        page_token: token.to_owned(),
        filter: filter.to_owned(),
    };
    let first = world.try_list(world.request("staff", "staff", page("", ""))).await.unwrap();
    assert_eq!(first.notifications[0].name, bert);
    let token = first.next_page_token;
    let second = world.try_list(world.request("staff", "staff", page(&token, ""))).await.unwrap();
    assert_eq!(second.notifications[0].name, anna);
    assert_eq!((second.notifications.len(), second.next_page_token.as_str()), (1, ""));
    let status = world.try_list(world.request("staff", "staff", page(&token, "state = SENT"))).await.unwrap_err();
    assert_eq!(told(&status), error(Code::InvalidArgument, "INVALID_FIELDS", "page_token"));
    // A token gives no rights: a customer who has got hold of one sees the own list behind it.
    let seen = world.try_list(world.request("anna", "customer", page(&token, ""))).await.unwrap();
    let recipients: Vec<_> = seen.notifications.iter().map(|it| it.recipient.as_str()).collect();
    assert_eq!(recipients, ["users/anna"]);
}

#[tokio::test]
async fn who_is_not_known_is_refused() {
    let world = World::start().await;
    let missing = world.try_list(Request::new(list(""))).await.unwrap_err();
    assert_eq!(told(&missing), error(Code::Unauthenticated, "NOT_SIGNED_IN", ""));
    let stale = world.users.issuer.sign(&Claims { exp: 1, ..Claims::of("anna", "customer") });
    for token in ["nonsense", &stale] {
        let status = world.try_get(with_token(token, get(ABSENT))).await.unwrap_err();
        assert_eq!(told(&status), error(Code::Unauthenticated, "BAD_TOKEN", ""));
    }
}

#[tokio::test]
async fn a_sender_that_is_no_address_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        listen: Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        data: folder.path().join("data"),
        bus: folder.path().join("bus"),
        mail_from: "shop".to_owned(),
        ..Config::default()
    };
    let error = meshwork_notifications::serve(config, Health::new(), CancellationToken::new()).await.unwrap_err();
    assert!(error.hint.contains("`mail_from`") && error.sentence.contains("\"shop\""), "{error:?}");
}

#[tokio::test]
async fn however_much_is_sent_what_is_answered_is_small() {
    let world = World::start().await;
    let staff = |message| world.request("staff", "staff", message);
    let refused = |field| error(Code::InvalidArgument, "INVALID_FIELDS", field);
    for text in ["x", "\"\0\u{7f}\u{10ffff}", "\u{1f4a1}", "x = y AND "] {
        let long = text.repeat(5_000);
        let status = world.try_list(staff(list(&long))).await.unwrap_err();
        assert_eq!(told(&status), refused("filter"));
        assert_small(&status);
        let next = ListNotificationsRequest { page_token: long.clone(), ..Default::default() };
        let status = world.try_list(staff(next)).await.unwrap_err();
        assert_eq!(told(&status), refused("page_token"));
        assert_small(&status);
        let status = world.try_get(world.request("staff", "staff", get(&long))).await.unwrap_err();
        assert_eq!(told(&status), refused("name"));
        assert_small(&status);
    }
    for value in ["x".repeat(900), "\0".repeat(900), "\u{1f4a1}".repeat(225)] {
        for filter in
            ["state = ", "about = ", "recipient = ", "state=SENT AND "].map(|before| format!("{before}{value}"))
        {
            let status = world.try_list(staff(list(&filter))).await.unwrap_err();
            assert_eq!(told(&status), refused("filter"));
            assert_small(&status);
        }
    }
    let terms: Vec<_> = (0..100).map(|at| format!("x{at}=y")).collect();
    let status = world.try_list(staff(list(&terms.join(" AND ")))).await.unwrap_err();
    assert_eq!(told(&status), refused(&["filter"; 20].join(",")));
    assert!(status.message().ends_with("; 80 more faults of the request are not listed"), "{}", status.message());
    assert_small(&status);
}
