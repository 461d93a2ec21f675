//! Pod Security: every rendered pod is of the `restricted` profile, rule by rule of the Pod Security Standards.

use serde_json::{Value, json};

use crate::chart::modes;
use crate::objects::{list, map, pods, text};
use crate::programs::assert_none;

/// The kinds of volumes that a pod may have.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// Settings of the kernel that concern the pod alone.
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

/// The types of SELinux that a pod may have.
const SELINUX: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// What a pod's template does that the restricted profile forbids.
pub fn violations(template: &Value) -> Vec<String> {
    let spec = &template["spec"];
    let mut found = Vec::new();
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        forbid(&mut found, spec[key] == true, key);
    }
    for volume in list(&spec["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "name");
        let kinds: Vec<_> = kinds.collect();
        forbid(&mut found, kinds.len() != 1 || !VOLUMES.contains(&kinds[0]), &format!("a volume of {kinds:?}"));
    }
    for sysctl in list(&spec["securityContext"]["sysctls"]) {
        let name = text(&sysctl["name"]);
        forbid(&mut found, !SYSCTLS.contains(&name), &format!("the sysctl {name}"));
    }
    for (key, profile) in map(&template["metadata"]["annotations"]) {
        let is_profile = key.starts_with("container.apparmor.security.beta.kubernetes.io/");
        let is_safe = profile == "runtime/default" || profile.starts_with("localhost/");
        forbid(&mut found, is_profile && !is_safe, &format!("the AppArmor profile {profile}"));
    }
    in_context(&mut found, &spec["securityContext"]);
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    for container in containers.into_iter().flat_map(|key| list(&spec[key])) {
        let name = text(&container["name"]);
        let of_container = in_container(container, &spec["securityContext"]);
        found.extend(of_container.into_iter().map(|violation| format!("container {name}: {violation}")));
    }
    found
}

fn in_container(container: &Value, of_pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let own = &container["securityContext"];
    in_context(&mut found, own);
    forbid(&mut found, own["privileged"] == true, "privileged");
    forbid(&mut found, !["", "Default"].contains(&text(&own["procMount"])), "procMount");
    forbid(&mut found, own["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation is not false");
    forbid(&mut found, !list(&own["capabilities"]["drop"]).any(|name| name == "ALL"), "capabilities are not dropped");
    for added in list(&own["capabilities"]["add"]) {
        forbid(&mut found, added != "NET_BIND_SERVICE", &format!("the capability {added}"));
    }
    // What the container says counts, else what the pod says.
    let told = |key: &str| if own[key].is_null() { &of_pod[key] } else { &own[key] };
    forbid(&mut found, told("runAsNonRoot") != true, "runAsNonRoot is not true");
    let seccomp = text(&told("seccompProfile")["type"]);
    forbid(&mut found, !["RuntimeDefault", "Localhost"].contains(&seccomp), "no seccompProfile");
    for port in list(&container["ports"]) {
        forbid(&mut found, port["hostPort"].as_u64().unwrap_or_default() != 0, "a hostPort");
    }
    let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|key| &container[key]);
    let hooks = ["postStart", "preStop"].map(|key| &container["lifecycle"][key]);
    for handler in probes.into_iter().chain(hooks) {
        for kind in ["httpGet", "tcpSocket"] {
            forbid(&mut found, !text(&handler[kind]["host"]).is_empty(), "the host of a probe");
        }
    }
    found
}

/// What neither a pod nor a container may say in its securityContext.
fn in_context(found: &mut Vec<String>, context: &Value) {
    forbid(found, context["runAsUser"] == 0, "runAsUser is 0");
    forbid(found, context["runAsNonRoot"] == false, "runAsNonRoot is false");
    forbid(found, context["windowsOptions"]["hostProcess"] == true, "hostProcess");
    forbid(found, context["seccompProfile"]["type"] == "Unconfined", "seccompProfile is Unconfined");
    forbid(found, context["appArmorProfile"]["type"] == "Unconfined", "appArmorProfile is Unconfined");
    let selinux = &context["seLinuxOptions"];
    let is_other = !SELINUX.contains(&text(&selinux["type"]));
    let is_named = !text(&selinux["user"]).is_empty() || !text(&selinux["role"]).is_empty();
    forbid(found, is_other || is_named, "seLinuxOptions");
}

fn forbid(found: &mut Vec<String>, is_broken: bool, what: &str) {
    if is_broken {
        found.push(what.to_owned());
    }
}

#[test]
fn every_pod_is_of_the_restricted_profile() {
    let mut found = Vec::new();
    for mode in modes() {
        for pod in pods(&mode.objects) {
            let of_pod = violations(pod.template).into_iter();
            found.extend(of_pod.map(|violation| format!("{}: {}: {violation}", mode.name, pod.shown())));
        }
    }
    assert_none(&found);
}

/// A pod that breaks no rule.
fn allowed() -> Value {
    json!({ "metadata": {}, "spec": {
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "a", "emptyDir": {} }, { "name": "b", "secret": { "secretName": "b" } }],
        "containers": [{
            "name": "main",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            "ports": [{ "containerPort": 80 }],
            "livenessProbe": { "tcpSocket": { "port": 80 } },
        }],
    } })
}

#[test]
fn a_pod_that_breaks_no_rule_is_let_through() {
    assert_eq!(violations(&allowed()), Vec::<String>::new());
}

#[test]
fn each_rule_finds_its_planted_break() {
    let container = "/spec/containers/0";
    for (place, value, message) in [
        ("/spec/hostNetwork", json!(true), "hostNetwork"),
        ("/spec/hostPID", json!(true), "hostPID"),
        ("/spec/hostIPC", json!(true), "hostIPC"),
        ("/spec/volumes/0", json!({ "name": "a", "hostPath": { "path": "/" } }), "a volume of [\"hostPath\"]"),
        ("/spec/volumes/0", json!({ "name": "a", "nfs": {} }), "a volume of [\"nfs\"]"),
        ("/spec/volumes/0", json!({ "name": "a" }), "a volume of []"),
        ("/spec/securityContext/sysctls", json!([{ "name": "kernel.msgmax" }]), "the sysctl kernel.msgmax"),
        ("/spec/securityContext/runAsUser", json!(0), "runAsUser is 0"),
        ("/spec/securityContext/runAsNonRoot", json!(false), "runAsNonRoot is false"),
        ("/spec/securityContext/runAsNonRoot", Value::Null, "container main: runAsNonRoot is not true"),
        ("/spec/securityContext/seccompProfile", Value::Null, "container main: no seccompProfile"),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined"), "seccompProfile is Unconfined"),
        ("/spec/securityContext/windowsOptions", json!({ "hostProcess": true }), "hostProcess"),
        ("/spec/securityContext/seLinuxOptions", json!({ "type": "spc_t" }), "seLinuxOptions"),
        ("/spec/securityContext/seLinuxOptions", json!({ "user": "root" }), "seLinuxOptions"),
        ("/spec/securityContext/appArmorProfile", json!({ "type": "Unconfined" }), "appArmorProfile is Unconfined"),
        (
            "/metadata/annotations",
            json!({ "container.apparmor.security.beta.kubernetes.io/main": "unconfined" }),
            "the AppArmor profile unconfined",
        ),
        ("C/securityContext/privileged", json!(true), "container main: privileged"),
        ("C/securityContext/procMount", json!("Unmasked"), "container main: procMount"),
        ("C/securityContext/runAsUser", json!(0), "container main: runAsUser is 0"),
        ("C/securityContext/runAsNonRoot", json!(false), "container main: runAsNonRoot is false"),
        ("C/securityContext/allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation is not false"),
        ("C/securityContext/capabilities/drop", json!(["CHOWN"]), "capabilities are not dropped"),
        ("C/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "the capability \"SYS_ADMIN\""),
        ("C/ports", json!([{ "hostPort": 80 }]), "a hostPort"),
        ("C/livenessProbe/tcpSocket/host", json!("10.0.0.1"), "the host of a probe"),
        ("C/lifecycle", json!({ "preStop": { "httpGet": { "host": "10.0.0.1" } } }), "the host of a probe"),
    ] {
        let mut planted = allowed();
        let place = place.replacen("C/", &format!("{container}/"), 1);
        let (parent, key) = place.rsplit_once('/').unwrap();
        let parent = planted.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        let found = violations(&planted);
        assert!(found.iter().any(|violation| violation.contains(message)), "{place}: {found:?}");
    }
}
