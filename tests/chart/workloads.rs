//! How pods run: which pods are whose, how they are asked for their health, replaced, stopped and kept apart.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::chart::{Mode, values};
use crate::objects::{COMPONENT, Pod, label, labels, list, name, of_kind, pods, shown, text};
use crate::policies::selects;

/// What a process takes to end by itself after its calls have ended: its journal, its spans, its connections.
const OWN_END: u64 = 15;

/// The one of `objects` of a kind with this name.
fn find<'a>(objects: &'a [Value], kind: &str, wanted: &str) -> Option<&'a Value> {
    of_kind(objects, kind).find(|object| name(object) == wanted)
}

/// Containers that don't say what they need or what they may take.
pub fn resources(pod: &Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for container in pod.containers() {
        for (part, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")] {
            if container["resources"][part][resource].is_null() {
                found.push(format!("container {} has no {part}.{resource}", text(&container["name"])));
            }
        }
    }
    found
}

/// Images of no version.
pub fn images(pod: &Pod<'_>) -> Vec<String> {
    let images = pod.containers().map(|container| text(&container["image"]));
    images.filter(|image| !is_pinned(image)).map(|image| format!("the image {image:?} has no version")).collect()
}

/// Whether an image is of one version.
pub fn is_pinned(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    image.contains("@sha256:") || tag.is_some_and(|tag| !tag.is_empty() && tag != "latest")
}

/// Pods whose root can be written to, or that get variables of other services.
pub fn closed(pod: &Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if pod.spec()["enableServiceLinks"] != false {
        found.push("enableServiceLinks is not false".to_owned());
    }
    for container in pod.containers() {
        if container["securityContext"]["readOnlyRootFilesystem"] != true {
            found.push(format!("the root of container {} can be written to", text(&container["name"])));
        }
    }
    found
}

/// Variables that are told twice, and mounts of volumes that there aren't.
pub fn told_once(pod: &Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for container in pod.containers() {
        let mut seen = BTreeSet::new();
        for variable in list(&container["env"]).map(name_of) {
            if !seen.insert(variable) {
                found.push(format!("{variable} is told twice"));
            }
        }
        let claims = list(&pod.owner["spec"]["volumeClaimTemplates"]).map(name);
        let volumes: BTreeSet<_> = list(&pod.spec()["volumes"]).map(name_of).chain(claims).collect();
        let mounted: BTreeSet<_> = list(&container["volumeMounts"]).map(name_of).collect();
        found.extend(mounted.difference(&volumes).map(|volume| format!("mounts {volume}, which there isn't")));
    }
    found
}

fn name_of(value: &Value) -> &str {
    text(&value["name"])
}

/// Selectors that take other pods than those of their object.
pub fn selectors(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    let all = pods(&mode.objects);
    for pod in all.iter().filter(|pod| ["Deployment", "StatefulSet"].contains(&text(&pod.owner["kind"]))) {
        for other in &all {
            let is_own = std::ptr::eq(pod.owner, other.owner);
            if selects(&pod.owner["spec"]["selector"], &other.labels()) != Ok(is_own) {
                found.push(format!("the selector of {} and the pods of {}", pod.shown(), other.shown()));
            }
        }
    }
    found
}

/// Services that lead to no pod, to several, or to ports that there aren't.
pub fn services(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    for service in of_kind(&mode.objects, "Service") {
        let selector = serde_json::json!({ "matchLabels": service["spec"]["selector"] });
        let all = pods(&mode.objects);
        let taken: Vec<_> = all.iter().filter(|pod| selects(&selector, &pod.labels()) == Ok(true)).collect();
        let [pod] = taken[..] else {
            found.push(format!("{} takes the pods of {} objects", shown(service), taken.len()));
            continue;
        };
        if pod.component() != labels(service)[COMPONENT] {
            found.push(format!("{} takes the pods of {}", shown(service), pod.shown()));
        }
        for port in list(&service["spec"]["ports"]) {
            let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
            if !has_port(pod, target) {
                found.push(format!("{} leads to port {target}, which there isn't", shown(service)));
            }
            // Who resolves a headless Service dials the pod: nobody translates the port.
            let is_headless = service["spec"]["clusterIP"] == "None";
            let is_same = pod
                .ports()
                .iter()
                .any(|(name, number, _)| (target == name || *target == *number) && port["port"] == *number);
            if is_headless && !is_same {
                found.push(format!("{} is headless and has another port than its pods", shown(service)));
            }
        }
    }
    found
}

/// Whether a pod's containers tell of a port, by name or by number.
fn has_port(pod: &Pod<'_>, port: &Value) -> bool {
    pod.ports().iter().any(|(name, number, _)| *port == *name || *port == *number)
}

/// Services that can't be reached in both ways, or that lose the addresses of callers.
pub fn two_services(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    for deployment in of_kind(&mode.objects, "Deployment") {
        let plain = find(&mode.objects, "Service", name(deployment));
        let headless = find(&mode.objects, "Service", &format!("{}-headless", name(deployment)));
        if plain.is_none_or(|service| service["spec"]["clusterIP"] == "None") {
            found.push(format!("{} has no Service with an address", shown(deployment)));
        }
        if headless.is_none_or(|service| {
            service["spec"]["clusterIP"] != "None" || service["spec"]["publishNotReadyAddresses"] == true
        }) {
            found.push(format!("{} has no headless Service", shown(deployment)));
        }
    }
    for service in of_kind(&mode.objects, "Service") {
        let is_outside = ["NodePort", "LoadBalancer"].contains(&text(&service["spec"]["type"]));
        if is_outside && service["spec"]["externalTrafficPolicy"] != "Local" {
            found.push(format!("{} loses the addresses of callers", shown(service)));
        }
    }
    found
}

/// Probes of ports that the container doesn't tell of.
pub fn probed_ports(pod: &Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for container in pod.containers() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            for kind in ["grpc", "tcpSocket", "httpGet"] {
                let port = &container[probe][kind]["port"];
                if !port.is_null() && !has_port(pod, port) {
                    found.push(format!("{probe} asks port {port}, which there isn't"));
                }
            }
        }
    }
    found
}

/// Pods of services that aren't asked for all of their health over gRPC, or that may start for too short a time.
pub fn probes(pod: &Pod<'_>) -> Vec<String> {
    if pod.owner["kind"] != "Deployment" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (probe, service) in
        [("startupProbe", "startup"), ("livenessProbe", "liveness"), ("readinessProbe", "readiness")]
    {
        for container in pod.containers() {
            let grpc = &container[probe]["grpc"];
            if grpc["service"] != service || grpc["port"] != 9091 {
                found.push(format!("{probe} doesn't ask for {service} on the health port"));
            }
        }
    }
    let startup = pod.containers().map(|container| &container["startupProbe"]).next().unwrap();
    let patience = startup["periodSeconds"].as_u64().unwrap() * startup["failureThreshold"].as_u64().unwrap();
    if patience < 300 {
        found.push(format!("may start for {patience} s; migrations and a rebuild may take 300 s"));
    }
    found
}

/// Pods that are killed before they have drained.
pub fn drain(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(&mode.objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
        let own = pod.component().to_uppercase();
        let seconds = |key: &str| {
            let value =
                pod.literal(&format!("MESHWORK_{own}__SERVER__{key}")).and_then(|value| value.strip_suffix('s'));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let grace = pod.spec()["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        match seconds("DRAIN_DELAY").zip(seconds("DRAIN_GRACE")) {
            Some((delay, calls)) if grace >= delay + calls + OWN_END => {}
            times => found.push(format!("{}: is killed after {grace} s, and drains for {times:?}", pod.shown())),
        }
    }
    found
}

/// Rollouts that have fewer pods than before, though no volume is one pod's alone.
pub fn rollouts(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    for pod in pods(&mode.objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
        let strategy = &pod.owner["spec"]["strategy"];
        let keeps = list(&pod.spec()["volumes"]).any(|volume| !volume["persistentVolumeClaim"].is_null());
        let rolling = &strategy["rollingUpdate"];
        let is_right = if keeps {
            strategy["type"] == "Recreate" && pod.owner["spec"]["replicas"] == 1
        } else {
            strategy["type"] == "RollingUpdate" && rolling["maxUnavailable"] == 0 && rolling["maxSurge"] == 1
        };
        if !is_right {
            found.push(format!("{} is rolled out by {strategy}", pod.shown()));
        }
    }
    found
}

/// Autoscalers and disruption budgets that don't agree with replicas.
pub fn numbers_of_pods(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    for deployment in of_kind(&mode.objects, "Deployment") {
        let shown = shown(deployment);
        let mut scalers = of_kind(&mode.objects, "HorizontalPodAutoscaler")
            .filter(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == *name(deployment));
        let replicas = deployment["spec"]["replicas"].as_u64();
        let least = match scalers.next() {
            Some(scaler) => {
                // What the chart says and what the autoscaler has decided would take turns.
                if replicas.is_some() {
                    found.push(format!("{shown} has both replicas and an autoscaler"));
                }
                let [least, most] = ["minReplicas", "maxReplicas"].map(|key| scaler["spec"][key].as_u64().unwrap());
                if least > most {
                    found.push(format!("{shown} is scaled from {least} to {most}"));
                }
                least
            }
            None => replicas.unwrap_or_else(|| {
                found.push(format!("{shown} has neither replicas nor an autoscaler"));
                1
            }),
        };
        if scalers.next().is_some() {
            found.push(format!("{shown} has two autoscalers"));
        }
        let pod_labels = labels(&deployment["spec"]["template"]);
        let budgets: Vec<_> = of_kind(&mode.objects, "PodDisruptionBudget")
            .filter(|budget| selects(&budget["spec"]["selector"], &pod_labels) == Ok(true))
            .collect();
        // With one pod alone a budget either means nothing or keeps its node from being emptied for ever.
        let component = text(&deployment["metadata"]["labels"][COMPONENT]);
        let settings = crate::chart::settings(&values(mode), component);
        let is_wanted = least > 1 && settings["podDisruptionBudget"]["enabled"] == true;
        if budgets.len() != usize::from(is_wanted) {
            found.push(format!("{shown} has {} disruption budgets at {least} pods", budgets.len()));
        }
        for budget in budgets {
            let spec = &budget["spec"];
            let is_one = spec["maxUnavailable"].is_null() != spec["minAvailable"].is_null();
            if !is_one || spec["maxUnavailable"] == 0 || spec["unhealthyPodEvictionPolicy"] != "AlwaysAllow" {
                found.push(format!("{shown} has a disruption budget that keeps nodes from being emptied: {spec}"));
            }
        }
    }
    found
}

/// Objects without the labels that say what they belong to.
pub fn labelled(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    // What values add is theirs.
    let added = list(&values(mode)["extraObjects"]).count();
    let labelled = mode.objects.iter().filter(|object| !label(object, COMPONENT).is_empty());
    if labelled.count() + added != mode.objects.len() {
        found.push(format!("not all of its objects say which part they are: {added} are added"));
    }
    for object in mode.objects.iter().filter(|object| !label(object, COMPONENT).is_empty()) {
        for label in ["name", "instance", "version", "component", "managed-by", "part-of"] {
            if labels(object).get(&format!("app.kubernetes.io/{label}")).is_none_or(String::is_empty) {
                found.push(format!("{} has no label app.kubernetes.io/{label}", shown(object)));
            }
        }
    }
    found
}
