//! `meshwork demo` beside `meshwork up`, and beside five `meshwork serve`.

use meshwork_testkit::Up;
use meshwork_testkit::up::{command, text};
use serde_json::Value;

use crate::processes::{NAMES, Processes};

/// Holds the demo's JSON against what it promises.
fn assert_confirmed(json: &str) {
    let outcome: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(outcome["state"], "CONFIRMED", "{json}");
    assert!(outcome["order"].as_str().unwrap().starts_with("orders/"), "{json}");
    let steps = outcome["steps"].as_array().unwrap();
    assert!(steps.len() >= 8 && steps.iter().all(|step| step["step"].is_string() && step["millis"].is_u64()), "{json}");
}

#[test]
fn the_demo_confirms_an_order_and_its_mail_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    // The staff account is found by itself.
    let target = format!("http://{}", up.address("gateway"));
    let demo = up.run(["demo", "--target", &target, "--output", "json"]);
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    assert_confirmed(&text(&demo.stdout));

    let order = serde_json::from_slice::<Value>(&demo.stdout).unwrap()["order"].as_str().unwrap().to_owned();
    let mails: Vec<_> = up.mails().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let id = order.strip_prefix("orders/").unwrap();
    let about = mails.iter().filter(|mail| mail.contains(id)).count();
    assert_eq!(about, 1, "one mail tells of {order}: {mails:#?}");

    // As text it says the same to people, and the credentials can be named.
    let staff = up.data().join("credentials/staff.json");
    let demo =
        up.run(["demo".into(), "--target".into(), target.into(), "--staff-credentials".into(), staff.into_os_string()]);
    let printed = text(&demo.stdout);
    assert!(demo.status.success() && printed.contains("is CONFIRMED") && printed.contains(" ms"), "{printed}");
}

#[test]
fn a_demo_without_an_up_says_what_to_do() {
    let state = tempfile::tempdir().unwrap();
    let demo = command(state.path()).args(["demo", "--target", "http://127.0.0.1:9"]).output().unwrap();
    let said = text(&demo.stderr);
    assert!(!demo.status.success() && said.contains("no local `meshwork up` on port 9"), "{said}");
    assert!(said.contains("--staff-credentials"), "{said}");
}

#[test]
fn five_processes_serve_what_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(folder.path(), &[]);
    for name in NAMES {
        processes.start(name);
    }
    for name in NAMES {
        processes.wait_for(name);
    }
    let demo = processes.demo();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    assert_confirmed(&text(&demo.stdout));

    // A service runs once on its folder, and no `up` runs beside it.
    let mut again = command(folder.path());
    let again = again.args(["serve", "orders", "--data"]).arg(processes.data()).output().unwrap();
    assert!(text(&again.stderr).contains("is running on the data folder"), "{}", text(&again.stderr));
}
