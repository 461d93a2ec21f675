//! The pods of a shop, and their processes on the project's own node.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::shop::{NAMESPACE, Shop};

/// A pod.
pub struct Pod {
    pub name: String,
    pub json: Value,
}

impl Pod {
    fn new(json: Value) -> Self {
        Self { name: json["metadata"]["name"].as_str().unwrap().to_owned(), json }
    }

    /// Whether it takes calls.
    pub fn is_ready(&self) -> bool {
        let conditions = self.json["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        ready.is_some_and(|ready| ready["status"] == "True")
    }

    /// Whether it has done what it was to do.
    pub fn is_done(&self) -> bool {
        self.json["status"]["phase"] == "Succeeded"
    }

    /// Whether it is being removed.
    pub fn is_leaving(&self) -> bool {
        !self.json["metadata"]["deletionTimestamp"].is_null()
    }

    /// How often its container was started again.
    pub fn restarts(&self) -> u64 {
        self.json["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    }

    /// What it is of the shop, such as `orders`.
    pub fn component(&self) -> &str {
        self.json["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or_default()
    }

    /// The process ids of its container, when it runs on this machine.
    pub fn processes(&self) -> Vec<u32> {
        let id = self.json["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let id = id.rsplit('/').next().unwrap_or_default();
        assert!(!id.is_empty(), "{} has no container: {}", self.name, self.json["status"]);
        let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.filter(|process: &u32| {
            fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|groups| groups.contains(id))
        })
        .collect()
    }
}

/// All pods of a shop.
pub fn all(shop: &Shop) -> Vec<Pod> {
    shop.cluster.items(&["get", "pods", "--namespace", NAMESPACE]).into_iter().map(Pod::new).collect()
}

/// Those of a component that stay.
pub fn of(shop: &Shop, component: &str) -> Vec<Pod> {
    all(shop).into_iter().filter(|pod| pod.component() == component && !pod.is_leaving() && !pod.is_done()).collect()
}

/// The only one of a component.
pub fn one(shop: &Shop, component: &str) -> Pod {
    let mut pods = of(shop, component);
    assert_eq!(pods.len(), 1, "{component} has {} pods", pods.len());
    pods.remove(0)
}

/// The memory that a process holds, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Prints what the pods' processes hold, and checks what our own hold together.
pub fn print_memory(shop: &Shop) {
    if shop.cluster.node.is_none() {
        println!("the memory of pods isn't measured: they don't run on this machine");
        return;
    }
    let mut ours = 0;
    for pod in all(shop).iter().filter(|pod| !pod.is_done()) {
        let kib: u64 = pod.processes().into_iter().map(resident).sum();
        println!("{:<44} {:>5} MiB", pod.name, kib >> 10);
        if crate::SERVICES.contains(&pod.component()) {
            ours += kib;
        }
    }
    println!("{:<44} {:>5} MiB", "our services together", ours >> 10);
    assert!(ours >> 10 <= 400, "our services hold {} MiB while idle", ours >> 10);
}
