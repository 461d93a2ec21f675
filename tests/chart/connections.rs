//! PostgreSQL's `max_connections`: enough for all pools while a rollout runs, computed here from what was rendered.

use serde_json::Value;

use crate::chart::{modes, own_values, with};
use crate::objects::{list, name, of_kind, pods, text};
use crate::programs::assert_none;

/// How many jobs of migrations may run at once: that of a release and that of the one before it.
const MIGRATIONS: u64 = 2;

/// What PostgreSQL is told, when the chart runs it.
fn told(objects: &[Value]) -> Option<u64> {
    let server = pods(objects).into_iter().find(|pod| pod.component() == "postgresql")?;
    let words = server.containers().flat_map(|container| list(&container["args"])).map(text);
    let found: Vec<_> = words.filter_map(|word| word.strip_prefix("max_connections=")).collect();
    let [number] = found[..] else { panic!("PostgreSQL is told {} times of max_connections", found.len()) };
    Some(number.parse().unwrap())
}

/// What pods may hold, as (while nothing changes, while every pod is replaced and the old ones still drain).
fn needed(objects: &[Value]) -> (u64, u64) {
    let (mut at_rest, mut in_rollout) = (0, 0);
    for pod in pods(objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
        let variable = format!("MESHWORK_{}__POSTGRES__MAX_CONNECTIONS", pod.component().to_uppercase());
        let Some(pool) = pod.literal(&variable) else { continue };
        let pool: u64 = pool.parse().unwrap();
        let scaler = of_kind(objects, "HorizontalPodAutoscaler")
            .find(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == *name(pod.owner));
        let most = scaler.map_or(&pod.owner["spec"]["replicas"], |scaler| &scaler["spec"]["maxReplicas"]);
        let most = most.as_u64().unwrap_or_else(|| panic!("{} has no number of pods", pod.shown()));
        at_rest += pool * most;
        // One new pod after the other is ready while those that it replaces drain: in the end each is there twice.
        in_rollout += pool * most * 2;
    }
    (at_rest, in_rollout)
}

fn violation(shown: &str, objects: &[Value], reserved: u64) -> Option<String> {
    let told = told(objects)?;
    let (at_rest, in_rollout) = needed(objects);
    let wanted = in_rollout + MIGRATIONS + reserved;
    let is_enough = told == wanted && at_rest < wanted;
    (!is_enough).then(|| format!("{shown}: PostgreSQL is told {told} connections, and {wanted} are needed"))
}

fn reserved() -> u64 {
    own_values()["postgresql"]["reservedConnections"].as_u64().unwrap()
}

#[test]
fn every_mode_tells_postgresql_of_all_connections() {
    let told = modes().iter().filter(|mode| told(&mode.objects).is_some()).count();
    assert!(told >= 3, "only {told} modes run PostgreSQL");
    let of_modes = modes().iter().filter_map(|mode| violation(&mode.name, &mode.objects, reserved()));
    assert_none(&of_modes.collect::<Vec<_>>());
}

#[test]
fn the_number_follows_pools_replicas_and_autoscalers() {
    let mut violations = Vec::new();
    let mut seen = Vec::new();
    for (set, reserved) in [
        (vec!["users.replicas=3"], reserved()),
        (vec!["defaults.replicas=2", "orders.replicas=5", "products.databaseConnections=7"], reserved()),
        (vec!["defaults.databaseConnections=2", "notifications.replicas=0"], reserved()),
        (vec!["orders.autoscaling.enabled=true", "orders.autoscaling.maxReplicas=9", "orders.replicas=40"], reserved()),
        (vec!["postgresql.reservedConnections=31", "users.databaseConnections=33"], 31),
        (
            vec!["defaults.autoscaling.enabled=true", "users.autoscaling.enabled=false", "gateway.replicas=30"],
            reserved(),
        ),
    ] {
        let set: Vec<_> = set.into_iter().map(str::to_owned).collect();
        let objects = with("trial", &set);
        violations.extend(violation(&format!("{set:?}"), &objects, reserved));
        seen.extend(told(&objects));
    }
    assert_none(&violations);
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() >= 5, "the values change the number: {seen:?}");
}

#[test]
fn the_gateway_has_no_pool_and_all_others_have_one() {
    let mut violations = Vec::new();
    for mode in modes() {
        for pod in pods(&mode.objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
            let has = |end: &str| pod.variables().any(|(variable, _)| variable.ends_with(end));
            let is_wanted = pod.component() != "gateway";
            if has("__POSTGRES__URL") != is_wanted || has("__POSTGRES__MAX_CONNECTIONS") != is_wanted {
                violations.push(format!("{}: {} and its pool", mode.name, pod.shown()));
            }
        }
    }
    assert_none(&violations);
}
