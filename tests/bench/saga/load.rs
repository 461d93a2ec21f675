//! A run of `meshwork load`.

use meshwork_testkit::Up;
use meshwork_testkit::up::{command, text};
use serde_json::Value;

use crate::Values;

/// How many customers place the orders: signing in takes time, and no limit is set for each of them.
const CUSTOMERS: &str = "32";

/// What a run of `meshwork load` has reported.
pub(crate) struct Load(Value);

impl Load {
    /// Offers orders to an `up`, so many a second for so many seconds.
    pub(crate) async fn offer(up: &Up, rate: u32, seconds: u32) -> Self {
        let mut command = command(&up.state());
        command.args(["load", "--output", "json", "--customers", CUSTOMERS]);
        command.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
        command.args(["--target", &format!("http://{}", up.address("gateway"))]);
        // Its own bounds end it.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "`meshwork load` failed: {}", text(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    /// A count.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    /// A time in milliseconds.
    fn millis(&self, what: &str, quantile: &str) -> f64 {
        self.0[what][quantile].as_f64().unwrap_or_else(|| panic!("no {what} in {}", self.0))
    }

    /// Orders that were offered, and not confirmed.
    fn not_confirmed(&self) -> u64 {
        self.count("offered") - self.count("confirmed")
    }

    /// Whether all orders were confirmed, and 99 of a hundred within so many milliseconds.
    pub(crate) fn holds(&self, goal: f64) -> bool {
        self.not_confirmed() == 0 && self.millis("created_to_confirmed_ms", "p99") <= goal
    }

    /// Adds what was measured, each value's name behind `prefix`.
    pub(crate) fn add_to(&self, values: &mut Values, prefix: &str) {
        for what in ["create_ms", "created_to_confirmed_ms"] {
            for quantile in ["p50", "p99", "max"] {
                values.add(format!("{prefix}_{what}_{quantile}"), self.millis(what, quantile));
            }
        }
        values.add(format!("{prefix}_confirmed_per_second"), self.0["confirmed_per_second"].clone());
        values.add(format!("{prefix}_orders_not_confirmed"), self.not_confirmed());
    }
}
