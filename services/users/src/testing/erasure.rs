//! What every store of accounts must do with those that are erased.

use time::Duration;

use super::accounts::{NOW, account, create, created, delete, get, request};
use crate::domain::{Email, StandIn, User};
use crate::ports::{Account, Creation, UserStore};

/// What stands for an address whose hash is made of this byte.
fn stand_in(byte: u8) -> Email {
    StandIn::email(&[byte; 32]).unwrap()
}

/// Erases an account a day after [`NOW`].
pub(super) async fn erase(store: &impl UserStore, account: &Account, byte: u8) -> User {
    let (at, stand_in) = (NOW + Duration::DAY, StandIn::new(stand_in(byte)).unwrap());
    store.change(&account.user.name, Box::new(move |user| Ok(user.erase(stand_in.clone(), at)))).await.unwrap()
}

pub(super) async fn d4_what_was_deleted_before_is_erased_once(store: &impl UserStore) {
    create(store, "anna").await;
    let bert = create(store, "bert").await;
    let deleted = NOW + Duration::HOUR;
    assert!(store.erasable(deleted, 10).await.unwrap().is_empty(), "nobody is deleted");
    delete(store, &bert).await;
    assert!(store.erasable(deleted - Duration::SECOND, 10).await.unwrap().is_empty(), "not for long enough");
    assert_eq!(store.erasable(deleted, 10).await.unwrap(), std::slice::from_ref(&bert.user.name));
    let erased = erase(store, &bert, 1).await;
    assert_eq!((erased.version, erased.erase_time), (3, Some(NOW + Duration::DAY)));
    assert_eq!(get(store, "users/bert").await, Some(erased.clone()));
    assert!(store.erasable(deleted, 10).await.unwrap().is_empty());
    // Another instance comes too late, and with another address even.
    assert_eq!(erase(store, &bert, 2).await, erased);
    assert_eq!(get(store, "users/anna").await, Some(account("anna").user));
}

pub(super) async fn d4_nothing_of_an_erased_account_is_found_but_what_stands_for_it(store: &impl UserStore) {
    let anna = account("anna");
    let again = || Some(request("anonymous", "r1", 1));
    assert_eq!(store.create(anna.clone(), again()).await.unwrap(), created(&anna));
    delete(store, &anna).await;
    let erased = erase(store, &anna, 1).await;
    assert_eq!(store.find_by_email(&anna.user.email).await.unwrap(), None);
    let found = store.find_by_email(&stand_in(1)).await.unwrap().unwrap();
    assert_eq!((&found.user, found.password.as_str()), (&erased, ""));
    assert_eq!(
        store.find_creation(&request("anonymous", "r1", 1)).await.unwrap(),
        None,
        "its answer holds the account"
    );
    // Its id stays taken, and so does what stands for its address.
    let mut same = account("other");
    same.user.email = stand_in(1);
    assert_eq!(store.create(same, None).await.unwrap(), Creation::EmailTaken);
    assert_eq!(store.create(account("anna"), None).await.unwrap(), Creation::IdTaken);
}
