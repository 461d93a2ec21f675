//! ListSessions and RevokeSession.

use meshwork_api::meshwork::users::v1::{
    ListSessionsRequest, ListSessionsResponse, RefreshSessionRequest, RevokeSessionRequest, Session, UserSession,
};
use meshwork_chassis::auth::AccessTable;
use tonic::{Code, Request, Response, Status};

use crate::world::{Caller, PASSWORD, World, refused, refused_fields};

async fn page(world: &World, caller: &Caller, request: ListSessionsRequest) -> Result<ListSessionsResponse, Status> {
    world.auth.clone().list_sessions(caller.asks(request)).await.map(Response::into_inner)
}

/// The first page of an account's sessions.
async fn list(world: &World, caller: &Caller, parent: &str) -> Result<Vec<UserSession>, Status> {
    let request = ListSessionsRequest { parent: parent.to_owned(), ..ListSessionsRequest::default() };
    page(world, caller, request).await.map(|page| page.sessions)
}

async fn revoke(world: &World, caller: &Caller, name: &str) -> Result<(), Status> {
    let request = RevokeSessionRequest { name: name.to_owned() };
    world.auth.clone().revoke_session(caller.asks(request)).await.map(Response::into_inner)
}

async fn refresh(world: &World, session: &Session) -> Result<Session, Status> {
    let request = RefreshSessionRequest { refresh_token: session.refresh_token.clone() };
    world.auth.clone().refresh_session(request).await.map(Response::into_inner)
}

#[tokio::test]
async fn a_person_sees_their_sessions_page_by_page() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    for _ in 0..4 {
        world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
    }
    let all = list(&world, &anna, &anna.name()).await.unwrap();
    assert_eq!(list(&world, &staff, &anna.name()).await.unwrap(), all);
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|session| session.create_time.is_some() && session.refresh_time.is_none()));
    let prefix = format!("{}/sessions/", anna.name());
    assert!(all.iter().all(|session| session.name.starts_with(&prefix)), "{all:?}");

    let mut request = ListSessionsRequest { parent: anna.name(), page_size: 2, ..ListSessionsRequest::default() };
    let mut paged = Vec::new();
    for size in [2, 2, 1] {
        let page = page(&world, &anna, request.clone()).await.unwrap();
        assert_eq!(page.sessions.len(), size);
        paged.extend(page.sessions);
        request.page_token = page.next_page_token;
    }
    assert_eq!((paged, request.page_token.as_str()), (all, ""));
    refresh(&world, &anna.session).await.unwrap();
    let refreshed = list(&world, &anna, &anna.name()).await.unwrap();
    assert_eq!(refreshed.iter().filter(|session| session.refresh_time.is_some()).count(), 1);
}

#[tokio::test]
async fn bad_lists_and_names_are_refused() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    let of_anna = || ListSessionsRequest { parent: anna.name(), ..ListSessionsRequest::default() };
    world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
    let first = page(&world, &staff, ListSessionsRequest { page_size: 1, ..of_anna() }).await.unwrap();
    let cases = [
        (ListSessionsRequest::default(), "parent"),
        (ListSessionsRequest { parent: "orders/x".to_owned(), ..of_anna() }, "parent"),
        (ListSessionsRequest { page_size: -1, ..of_anna() }, "page_size"),
        (ListSessionsRequest { page_token: "nonsense".to_owned(), ..of_anna() }, "page_token"),
        // A token of another account's list.
        (ListSessionsRequest { parent: staff.name(), page_token: first.next_page_token, page_size: 1 }, "page_token"),
    ];
    for (request, field) in cases {
        refused_fields(page(&world, &staff, request).await, &[field]);
    }
    refused(list(&world, &staff, "users/nobody").await, Code::NotFound, "USER_NOT_FOUND");
    for name in ["", "users/anna", "users/anna/sessions/", "sessions/x"] {
        refused_fields(revoke(&world, &staff, name).await, &["name"]);
    }
}

#[tokio::test]
async fn a_session_is_ended_by_its_owner_and_by_staff() {
    let world = World::start().await;
    let (staff, anna) = (world.staff().await, world.customer().await);
    for caller in [&anna, &staff] {
        let before = list(&world, &anna, &anna.name()).await.unwrap();
        let lost = world.sign_in(&anna.user.email, PASSWORD).await.unwrap();
        let mut new = list(&world, &anna, &anna.name()).await.unwrap();
        new.retain(|session| !before.contains(session));
        let [session] = new.as_slice() else { panic!("{new:?}") };
        for _ in 0..2 {
            revoke(&world, caller, &session.name).await.unwrap();
        }
        refused(refresh(&world, &lost).await, Code::Unauthenticated, "SESSION_ENDED");
        assert_eq!(list(&world, &anna, &anna.name()).await.unwrap(), before);
    }
    refresh(&world, &anna.session).await.unwrap();
}

/// The methods come from the contracts: one that is new fails here until it has a case.
#[tokio::test]
async fn every_method_for_owners_refuses_another_customer() {
    let world = World::start().await;
    let (staff, anna, bert) = (world.staff().await, world.customer().await, world.customer().await);
    let service = world.first("orders").await;
    let before = list(&world, &anna, &anna.name()).await.unwrap();
    let name = before[0].name.clone();
    let table = AccessTable::from_contracts().unwrap();
    let owned = table.owned().into_iter().filter_map(|path| path.strip_prefix("/meshwork.users.v1.AuthService/"));
    let mut tested = 0;
    for method in owned {
        for caller in [&bert, &service] {
            match method {
                "ListSessions" => {
                    let listed = list(&world, caller, &anna.name()).await;
                    refused(listed, Code::PermissionDenied, "NOT_ALLOWED");
                }
                "RevokeSession" => {
                    // Whether there is such a session is nobody's business.
                    for name in [name.as_str(), &format!("{}/sessions/none", anna.name())] {
                        refused(revoke(&world, caller, name).await, Code::NotFound, "SESSION_NOT_FOUND");
                    }
                    // Nor is it ended under one's own name.
                    let own = name.replace(&anna.name(), &caller.name());
                    revoke(&world, caller, &own).await.unwrap();
                }
                _ => panic!("{method} is for owners: add a call by another customer"),
            }
        }
        tested += 1;
    }
    assert!(tested > 0, "no method of the service is for owners");
    let anonymous = Request::new(RevokeSessionRequest { name });
    refused(world.auth.clone().revoke_session(anonymous).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    assert_eq!(list(&world, &staff, &anna.name()).await.unwrap(), before);
}
