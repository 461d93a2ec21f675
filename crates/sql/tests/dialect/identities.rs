//! The name of a database.

use std::sync::Arc;

use super::{World, identity};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_have_a_database_open_know_one_name_of_it_and_others_have_others() {
    let (world, other) = (Arc::new(World::new()), World::new());
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let db = world.open_with(&[identity::COMPONENT]).await.unwrap();
                identity::identity(&db).await.unwrap()
            })
        })
        .collect();
    let mut names = Vec::new();
    for name in asked {
        names.push(name.await.unwrap());
    }
    names.dedup();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    assert!(name.len() == 12 && name.bytes().all(|digit| digit.is_ascii_hexdigit()), "{name}");
    // It stays.
    let db = world.open_with(&[identity::COMPONENT]).await.unwrap();
    assert_eq!(identity::identity(&db).await.unwrap(), *name);
    let db = other.open_with(&[identity::COMPONENT]).await.unwrap();
    assert_ne!(identity::identity(&db).await.unwrap(), *name);
}
