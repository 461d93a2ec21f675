//! `meshwork load` against a whole shop, under the limits that a gateway has unless told otherwise.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{ListUsersRequest, User};
use meshwork_testkit::Up;
use meshwork_testkit::up::{text, with};
use serde_json::Value;

use crate::shop::eventually;

/// What each run has in common.
const FLAGS: [&str; 10] = ["load", "--output", "json", "--rate", "20", "--cancel", "10", "--ship", "20", "--short"];

/// Runs a load for so many seconds; returns its report.
fn load(up: &Up, seconds: &str, history: &Path) -> Value {
    let target = format!("http://{}", up.address("gateway"));
    let history = history.to_str().unwrap();
    let more = ["20", "--seconds", seconds, "--history", history, "--target", target.as_str()];
    let output = tokio::task::block_in_place(|| up.run([&FLAGS[..], &more[..]].concat()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

/// All accounts.
async fn accounts(up: &Up) -> Vec<User> {
    let staff = up.staff().await;
    let request = with(&staff, ListUsersRequest { page_size: 200, ..ListUsersRequest::default() });
    let page = UserServiceClient::new(up.channel()).list_users(request).await.unwrap().into_inner();
    assert!(page.next_page_token.is_empty(), "all are on one page");
    page.users
}

/// The lines of a history.
fn history(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_what_became_of_each_order_and_a_second_one_has_the_same_customers() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let file = folder.path().join("history");
    let before = accounts(&up).await.len();

    let report = load(&up, "3", &file);
    for (key, expected) in [("offered", 60), ("created", 60), ("failed", 0), ("unknown", 0), ("unsettled", 0)] {
        assert_eq!(count(&report, key), expected, "{key} in {report}");
    }
    let [confirmed, rejected, cancelled, shipped] =
        ["confirmed", "rejected", "cancelled", "shipped"].map(|key| count(&report, key));
    assert_eq!(confirmed + rejected + cancelled, 60, "{report}");
    assert!(rejected > 0 && shipped > 0, "{report}");
    // Of sixty, six are cancelled, but for those that are rejected before.
    assert!((1..=6).contains(&cancelled), "{report}");
    assert_eq!(count(&report, "delivered"), shipped, "{report}");
    for times in ["create_ms", "created_to_confirmed_ms"] {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|key| report[times][key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    }

    let lines = history(&file);
    judge(&lines, &report);

    let customers = accounts(&up).await;
    assert!(customers.len() > before);
    let report = load(&up, "1", &file);
    assert_eq!((count(&report, "offered"), count(&report, "created")), (20, 20), "{report}");
    let same = accounts(&up).await;
    assert_eq!(same.len(), customers.len(), "no account is made that there is already");
    let both = history(&file);
    assert_eq!(both[..lines.len()], lines[..], "a second run goes on behind the first");
    assert_eq!(both[lines.len()]["kind"], "run");
    // Nothing is left open when a load ends.
    let answers = both.iter().filter(|line| line["kind"] == "answer").count();
    assert_eq!(both.iter().filter(|line| line["kind"] == "call").count(), answers);
    eventually("the mails of the confirmed orders", async || !up.mails().is_empty()).await;
}

/// Holds a history against the report of its only run.
fn judge(lines: &[Value], report: &Value) {
    assert_eq!(lines[0]["kind"], "run");
    assert_eq!((lines[0]["rate"].as_f64(), lines[0]["seconds"].as_u64()), (Some(20.0), Some(3)));
    let mut open = HashMap::new();
    let mut created = HashSet::new();
    let mut done: HashMap<String, u64> = HashMap::new();
    for line in &lines[1..] {
        let call = line["call"].as_str().unwrap();
        if line["kind"] == "call" {
            assert!(line["customer"].as_str().unwrap().starts_with("users/"), "{line}");
            assert!(open.insert(call, line).is_none(), "two calls of one id: {line}");
            continue;
        }
        let asked = open.remove(call).unwrap_or_else(|| panic!("an answer before its call: {line}"));
        let method = asked["method"].as_str().unwrap();
        if line["status"] != "OK" {
            assert_eq!(line["unknown"], false, "nothing has failed here: {line}");
            continue;
        }
        *done.entry(method.to_owned()).or_default() += 1;
        let order = line["order"].as_str().unwrap();
        if method == "CreateOrder" {
            assert!((1..=2).contains(&asked["lines"].as_array().unwrap().len()), "{asked}");
            assert!(line["total"]["units"].as_i64().unwrap() >= 12, "{line}");
            assert!(created.insert(order.to_owned()), "{order} was created twice");
        } else {
            assert!(created.contains(order) && asked["order"] == order, "{line}");
        }
    }
    assert!(open.is_empty(), "calls without an answer: {open:?}");
    for (method, key) in [("CreateOrder", "created"), ("ShipOrder", "shipped"), ("DeliverOrder", "delivered")] {
        assert_eq!(done[method], count(report, key), "{method}");
    }
    assert!(done["CancelOrder"] >= 1);
}
