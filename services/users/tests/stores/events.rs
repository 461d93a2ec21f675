//! What the stores announce, and what they hold.

use meshwork_api::meshwork::events::v1::{UserDeleted, UserRegistered, UserUpdated};
use meshwork_chassis::request::RequestKey;
use meshwork_events::Envelope;
use meshwork_sql::Freshness;
use meshwork_users::adapters::stores::Stores;
use meshwork_users::domain::{Change, PasswordHash};
use meshwork_users::ports::{Creation, UserFilter};
use prost::Message;

use crate::people::{NOW, account, changing, name, to_email};
use crate::rooms::Room;

/// All events, each account's in order.
async fn events(stores: &Stores) -> Vec<Envelope> {
    let mut events = Vec::new();
    for announcing in &stores.announcing {
        for partition in announcing.events.partitions() {
            let read = announcing.events.read(partition, 1, 1000).await.unwrap().events;
            assert!(read.iter().all(|event| event.position.partition == partition));
            events.extend(read);
        }
    }
    events
}

#[tokio::test]
async fn each_change_writes_its_event_and_nothing_else_does() {
    for room in Room::all().await {
        let stores = room.open().await;
        let anna = account("anna");
        let request = RequestKey { principal: "a".into(), method: "CreateUser", id: "r".into(), hash: [1; 32] };
        for expected in [Creation::Created(anna.user.clone()), Creation::Replayed(anna.clone())] {
            assert_eq!(stores.users.create(anna.clone(), Some(request.clone())).await.unwrap(), expected);
        }
        assert_eq!(stores.users.create(account("anna"), None).await.unwrap(), Creation::IdTaken);
        let change = Change {
            email: Some("new@example.com".parse().unwrap()),
            display_name: Some("New".parse().unwrap()),
            password: Some(PasswordHash::new("$new")),
        };
        stores.users.change(&name("anna"), changing(change.clone())).await.unwrap();
        stores.users.change(&name("anna"), changing(Change { password: None, ..change })).await.unwrap();
        stores.users.change(&name("anna"), Box::new(|user| user.delete(Some(7), NOW).map(Some))).await.unwrap_err();
        stores.users.change(&name("anna"), Box::new(|user| user.delete(None, NOW).map(Some))).await.unwrap();

        let events = events(&stores).await;
        let heads: Vec<_> = events.iter().map(|e| (e.id.as_str(), e.event_type.as_str(), e.version, e.time)).collect();
        assert_eq!(
            heads,
            [
                ("users/anna:1", "user_registered", 1, NOW),
                ("users/anna:2", "user_updated", 2, NOW),
                ("users/anna:3", "user_deleted", 3, NOW)
            ]
        );
        let user = || "users/anna".to_owned();
        let registered = UserRegistered::decode(&*events[0].data).unwrap();
        assert_eq!(registered, UserRegistered { user: user(), role: "staff".to_owned() });
        let updated = UserUpdated::decode(&*events[1].data).unwrap();
        assert_eq!(
            (updated.user, updated.changed.unwrap().paths.join(" ")),
            (user(), "email display_name password".into())
        );
        assert_eq!(UserDeleted::decode(&*events[2].data).unwrap(), UserDeleted { user: user() });
    }
}

#[tokio::test]
async fn events_hold_nothing_of_a_person() {
    for room in Room::all().await {
        let stores = room.open().await;
        let mut anna = account("anna");
        anna.user.display_name = "Karenina".parse().unwrap();
        anna.user.email = "karenina@example.com".parse().unwrap();
        stores.users.create(anna, None).await.unwrap();
        stores.users.change(&name("anna"), to_email("karenina@example.org")).await.unwrap();
        let events = events(&stores).await;
        assert_eq!(events.len(), 2);
        for event in events {
            assert!(!String::from_utf8_lossy(&event.data).to_lowercase().contains("karenina"), "{event:?}");
        }
    }
}

#[tokio::test]
async fn d14_a_damaged_row_is_an_error_that_names_it_and_is_left_out_of_lists() {
    for room in Room::all().await {
        let stores = room.open().await;
        for id in ["anna", "bert"] {
            stores.users.create(account(id), None).await.unwrap();
        }
        assert_eq!(room.execute("UPDATE users SET email = 'nonsense' WHERE id = 'anna'").await, 1);
        let error = stores.users.get(&name("anna"), Freshness::Latest).await.unwrap_err().to_string();
        assert!(error.contains("anna") && error.contains("email"), "{error}");
        let bert = stores.users.get(&name("bert"), Freshness::Latest).await.unwrap();
        assert_eq!(bert, Some(account("bert").user));
        for size in [1, 10] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let listed =
                    stores.users.list(&UserFilter::default(), size, after.as_ref(), Freshness::Latest).await.unwrap();
                found.extend(listed.page.items);
                let Some(next) = listed.page.next else { break };
                after = Some(next.parse().unwrap());
            }
            assert_eq!(found, [account("bert").user], "{size}");
        }
    }
}
