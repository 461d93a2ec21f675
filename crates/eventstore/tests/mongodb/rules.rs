//! Rules that hold for what is written and how (MG-1, MG-2, MG-4).

use std::path::Path;

use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected};
use mongodb::bson::doc;

use crate::World;

/// The sources of the adapter and of the log below it.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = ["mongodb", "log"].iter().flat_map(|folder| std::fs::read_dir(src.join(folder)).unwrap());
    let read = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read_to_string(path).unwrap());
    let sources: Vec<_> = files.map(|entry| read(entry.unwrap().path())).collect();
    assert!(sources.len() >= 10, "the sources have moved");
    sources
}

#[test]
fn mg_1_nothing_is_ever_updated() {
    for word in ["update_", "replace_one", "find_one_and", "find_and_modify", "findAndModify", "$inc", "$set", "upsert"]
    {
        for (file, text) in sources() {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}

#[test]
fn mg_2_nobody_asks_which_index_was_broken() {
    for word in ["keyPattern", "key_pattern", "keyValue", "E11000", ".message.contains"] {
        for (file, text) in sources() {
            assert!(!text.contains(word), "{file} has {word}");
        }
    }
}

#[tokio::test]
async fn mg_4_every_field_of_a_unique_index_is_written() {
    let world = World::new(4);
    let store = world.store().await;
    for stream in ["one", "two", "three"] {
        store.append(command(stream, Expected::NoStream, "a", 2)).await.unwrap();
    }
    let documents = world.documents().await;
    for stream in ["one", "two", "three"] {
        let document = documents.find_one(doc! { "s": stream }).await.unwrap().unwrap();
        assert_eq!(document.get_str("_id").unwrap(), format!("{stream}/a"));
        assert!(document.get_i32("p").is_ok() && document.get_i64("n").is_ok(), "{document}");
        assert_eq!(document.get_i64("v").unwrap(), 1);
        assert_eq!(document.get_i32("c").unwrap(), 2);
    }
}
