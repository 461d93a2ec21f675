//! The rules of [`crate::workloads`], held over all modes and tried on planted breaks.

use serde_json::{Value, json};

use crate::chart::{Mode, mode, modes};
use crate::objects::{Pod, name, of_kind, pods};
use crate::programs::assert_none;
use crate::workloads::*;

/// A rule over one mode, and one over one pod.
type OfMode = fn(&Mode) -> Vec<String>;
type OfPod = fn(&Pod<'_>) -> Vec<String>;

/// A rule with a mode, the kind and the name of an object, a field of it, the field's planted value, and what the rule says.
type OnObject<'a> = (OfMode, &'a str, (&'a str, &'a str), &'a str, Value, &'a str);

/// Holds a rule over all modes, and fails with all that it finds.
#[track_caller]
fn hold(rule: OfMode) {
    let of_mode =
        |mode: &Mode| rule(mode).into_iter().map(|found| format!("{}: {found}", mode.name)).collect::<Vec<_>>();
    assert_none(&modes().iter().flat_map(of_mode).collect::<Vec<_>>());
}

/// Holds a rule over all pods of all modes.
#[track_caller]
fn hold_pods(rule: OfPod) {
    let of_mode = |mode: &Mode| {
        let found = in_pods(mode, rule).into_iter();
        found.map(|found| format!("{}: {found}", mode.name)).collect::<Vec<_>>()
    };
    assert_none(&modes().iter().flat_map(of_mode).collect::<Vec<_>>());
}

fn in_pods(mode: &Mode, rule: OfPod) -> Vec<String> {
    let of_pod = |pod: Pod<'_>| {
        let found = rule(&pod).into_iter();
        found.map(|found| format!("{}: {found}", pod.shown())).collect::<Vec<_>>()
    };
    pods(&mode.objects).into_iter().flat_map(of_pod).collect()
}

#[test]
fn every_image_is_of_one_version() {
    hold_pods(images);
    for (image, is) in [
        ("meshwork:0.1.0", true),
        ("registry:5000/meshwork@sha256:00", true),
        ("meshwork", false),
        ("registry:5000/meshwork", false),
        ("meshwork:latest", false),
        ("meshwork:", false),
        ("", false),
    ] {
        assert_eq!(is_pinned(image), is, "{image}");
    }
}

#[test]
fn every_container_says_what_it_needs_and_what_it_may_take() {
    hold_pods(resources);
}

#[test]
fn pods_have_a_read_only_root_and_no_variables_of_other_services() {
    hold_pods(closed);
}

#[test]
fn variables_are_told_once_and_mounts_are_of_volumes_that_are_there() {
    hold_pods(told_once);
}

#[test]
fn selectors_take_the_pods_of_their_object_and_no_others() {
    hold(selectors);
}

#[test]
fn services_reach_the_pods_of_their_component_by_ports_that_these_have() {
    hold(services);
}

#[test]
fn every_service_has_a_service_and_a_headless_one_that_hides_pods_that_are_not_ready() {
    hold(two_services);
}

#[test]
fn probes_ask_ports_that_the_container_tells_of() {
    hold_pods(probed_ports);
}

#[test]
fn services_are_asked_for_startup_liveness_and_readiness_over_grpc() {
    hold_pods(probes);
}

#[test]
fn a_pod_has_the_time_to_drain() {
    hold(drain);
}

#[test]
fn rollouts_never_have_fewer_pods_unless_a_volume_is_one_pods_alone() {
    hold(rollouts);
}

#[test]
fn autoscalers_and_disruption_budgets_agree_with_replicas() {
    hold(numbers_of_pods);
}

#[test]
fn what_belongs_together_has_the_labels_that_say_so() {
    hold(labelled);
}

#[test]
fn some_modes_have_several_pods_autoscalers_and_budgets() {
    for kind in ["HorizontalPodAutoscaler", "PodDisruptionBudget"] {
        assert!(modes().iter().any(|mode| of_kind(&mode.objects, kind).count() > 0), "no mode has a {kind}");
    }
}

/// A mode with one field of one of its objects replaced, or taken out by null.
fn planted(base: &str, kind: &str, object: &str, place: &str, value: Value) -> Mode {
    let base = mode(base);
    let mut objects = base.objects.clone();
    let is_wanted = |found: &&mut Value| found["kind"] == kind && name(found) == object;
    let found = objects.iter_mut().find(is_wanted).unwrap_or_else(|| panic!("there is no {kind} {object}"));
    let (parent, key) = place.rsplit_once('/').unwrap();
    // `/` in a key is written so in a JSON pointer.
    let key = &key.replace("~1", "/");
    match found.pointer_mut(parent).unwrap_or_else(|| panic!("{kind} {object} has no {parent}")) {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        Value::Object(fields) if value.is_null() => {
            fields.remove(key).unwrap_or_else(|| panic!("{kind} {object} has no {place}"));
        }
        parent => parent[key] = value,
    }
    Mode {
        name: base.name.clone(),
        values: base.values.clone(),
        merged: base.merged.clone(),
        text: String::new(),
        objects,
    }
}

#[test]
fn each_rule_over_pods_finds_its_planted_break() {
    let container = |place: &str| format!("/spec/template/spec/containers/0/{place}");
    let breaks: [(OfPod, String, Value, &str); 9] = [
        (resources, container("resources/limits/memory"), Value::Null, "has no limits.memory"),
        (images, container("image"), json!("meshwork"), "has no version"),
        (closed, container("securityContext/readOnlyRootFilesystem"), json!(false), "can be written to"),
        (closed, "/spec/template/spec/enableServiceLinks".to_owned(), Value::Null, "enableServiceLinks"),
        (told_once, container("env/1/name"), json!("MESHWORK_DATA"), "MESHWORK_DATA is told twice"),
        (told_once, container("volumeMounts/0/name"), json!("gone"), "mounts gone"),
        (probed_ports, container("livenessProbe/grpc/port"), json!(9092), "asks port 9092"),
        (probes, container("readinessProbe/grpc/service"), json!("liveness"), "doesn't ask for readiness"),
        (probes, container("startupProbe/failureThreshold"), json!(3), "may start for 15 s"),
    ];
    for (rule, place, value, message) in breaks {
        let found = in_pods(&planted("trial", "Deployment", "meshwork-orders", &place, value), rule);
        assert!(found.len() == 1 && found[0].contains(message), "{place}: {found:?}");
    }
}

#[test]
fn each_rule_over_modes_finds_its_planted_break() {
    let users = ("Deployment", "meshwork-users");
    let service = ("Service", "meshwork-users");
    let headless = ("Service", "meshwork-users-headless");
    let scaler = ("HorizontalPodAutoscaler", "meshwork-users");
    let budget = ("PodDisruptionBudget", "meshwork-users");
    let component = "app.kubernetes.io~1component";
    let selector = format!("/spec/selector/matchLabels/{component}");
    let served = format!("/spec/selector/{component}");
    let breaks: [OnObject<'_>; 18] = [
        (selectors, "trial", users, &selector, Value::Null, "the selector of Deployment meshwork-users"),
        (selectors, "trial", users, &selector, json!("orders"), "the selector of Deployment meshwork-users"),
        (services, "trial", service, &served, json!("nobody"), "takes the pods of 0 objects"),
        (services, "trial", service, &served, json!("orders"), "takes the pods of Deployment meshwork-orders"),
        (services, "trial", service, "/spec/ports/0/targetPort", json!("http"), "leads to port \"http\""),
        (services, "trial", headless, "/spec/ports/0/port", json!(80), "another port than its pods"),
        (two_services, "trial", headless, "/spec/publishNotReadyAddresses", json!(true), "no headless Service"),
        (two_services, "trial", service, "/spec/clusterIP", json!("None"), "no Service with an address"),
        (two_services, "trial", service, "/spec/type", json!("NodePort"), "loses the addresses of callers"),
        (drain, "trial", users, "/spec/template/spec/terminationGracePeriodSeconds", json!(34), "is killed after 34 s"),
        (rollouts, "trial", users, "/spec/strategy/rollingUpdate/maxUnavailable", json!(1), "is rolled out by"),
        (rollouts, "trial", users, "/spec/strategy", json!({ "type": "Recreate" }), "is rolled out by"),
        (numbers_of_pods, "trial", users, "/spec/replicas", Value::Null, "neither replicas nor an autoscaler"),
        (numbers_of_pods, "autoscaling", users, "/spec/replicas", json!(2), "both replicas and an autoscaler"),
        (numbers_of_pods, "autoscaling", scaler, "/spec/minReplicas", json!(7), "is scaled from 7 to 6"),
        (numbers_of_pods, "autoscaling", scaler, "/spec/minReplicas", json!(1), "has 1 disruption budgets at 1 pods"),
        (numbers_of_pods, "autoscaling", budget, "/spec/maxUnavailable", json!(0), "keeps nodes from being emptied"),
        (labelled, "trial", users, "/metadata/labels/app.kubernetes.io~1version", Value::Null, "has no label"),
    ];
    for (rule, base, (kind, object), place, value, message) in breaks {
        let found = rule(&planted(base, kind, object, place, value));
        assert!(found.iter().any(|found| found.contains(message)), "{object}{place}: {found:?}");
    }
}
