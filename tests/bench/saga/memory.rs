//! What `up` takes of the machine's memory, all embedded.

use std::time::Duration;

use meshwork_testkit::Up;
use meshwork_testkit::up::UNLIMITED;

use crate::Values;
use crate::load::Load;

/// How long after a start it is looked at.
const PAUSE: Duration = Duration::from_secs(2);
/// The orders after which it is looked at: so many a second for so many seconds.
const RATE: u32 = 250;
const SECONDS: u32 = 20;

pub(crate) async fn measure(values: &mut Values) {
    let folder = tempfile::tempdir().unwrap();
    // The first start hashes the passwords of the first accounts.
    let mut up = Up::start(folder.path(), UNLIMITED);
    tokio::time::sleep(PAUSE).await;
    values.add("resident_mib_first_start", resident_mib(up.id()));
    assert!(up.stop().success(), "{}", up.log());

    let up = Up::start(folder.path(), UNLIMITED);
    tokio::time::sleep(PAUSE).await;
    values.add("resident_mib_next_start", resident_mib(up.id()));
    let load = Load::offer(&up, RATE, SECONDS).await;
    assert_eq!(load.count("offered"), u64::from(RATE * SECONDS));
    tokio::time::sleep(PAUSE).await;
    values.add("resident_mib_after_5000_orders", resident_mib(up.id()));
}

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (kib / 1024.0 * 10.0).round() / 10.0
}
