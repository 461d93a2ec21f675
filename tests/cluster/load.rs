//! Orders that are placed while something happens.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use meshwork_testkit::up::command;
use serde_json::Value;

use crate::cluster::text;
use crate::shop::Shop;

/// Orders a second.
const RATE: &str = "5";
/// How long the load runs before anything happens.
const BEFORE: Duration = Duration::from_secs(2);

/// A running `meshwork load`.
pub struct Load {
    child: Child,
    history: PathBuf,
    state: PathBuf,
    target: Vec<String>,
}

impl Load {
    /// Places orders for so many seconds; returns once some were.
    pub async fn start(shop: &Shop, seconds: u32) -> Self {
        let credentials = shop.secret_file("credentials", "staff.json").display().to_string();
        let target = vec!["--target".to_owned(), shop.url(), "--staff-credentials".to_owned(), credentials];
        let (history, state) = (shop.new_file("history"), shop.state());
        let mut load = command(&state);
        load.args(["load", "--rate", RATE, "--output", "json", "--seconds"]).arg(seconds.to_string());
        load.arg("--history").arg(&history).args(&target);
        let child = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        tokio::time::sleep(BEFORE).await;
        Self { child, history, state, target }
    }

    /// Whether it still places orders.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end: every order was created and confirmed, and an audit finds nothing wrong.
    pub async fn all_is_well(self) {
        let Self { child, history, state, target } = self;
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let report: Value = serde_json::from_str(&text(&output, "meshwork load")).unwrap();
        let count = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"));
        println!(
            "{} orders, {} confirmed, created within {} ms (p99), {} calls repeated",
            count("created"),
            count("confirmed"),
            report["create_ms"]["p99"],
            count("retried")
        );
        for key in ["failed", "unknown", "unsettled", "refused_by_client"] {
            assert_eq!(count(key), 0, "{key}: {report}");
        }
        assert!(count("offered") > 0 && count("created") == count("offered"), "{report}");
        assert_eq!(count("confirmed"), count("created"), "{report}");
        let mut audit = command(&state);
        audit.args(["audit", "--settle", "60s", "--history"]).arg(&history).args(&target);
        text(&audit.output().unwrap(), "meshwork audit");
    }
}
