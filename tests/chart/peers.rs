//! Who is who in mutual TLS: targets are names that certificates have, and a service lets in its callers alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chart::{Mode, NAMESPACE, mode, modes, values};
use crate::edges::{CALLS, of};
use crate::objects::{SERVICES, list, name, of_kind, pods, text};
use crate::programs::assert_none;

/// The names in the certificates that cert-manager is asked for, by the Secret that each is put into.
fn certificates() -> BTreeMap<String, BTreeSet<String>> {
    let asked = of_kind(&mode("cert-manager").objects, "Certificate").filter(|asked| asked["spec"]["isCA"] != true);
    asked
        .map(|asked| {
            let names = list(&asked["spec"]["dnsNames"]).map(|name| text(name).to_owned());
            (text(&asked["spec"]["secretName"]).to_owned(), names.collect())
        })
        .collect()
}

/// What the names of the mode's objects begin with.
fn begin(mode: &Mode) -> String {
    let gateway = of_kind(&mode.objects, "Deployment").map(name).find_map(|name| name.strip_suffix("-gateway"));
    gateway.unwrap_or_else(|| panic!("{} has no gateway", mode.name)).to_owned()
}

#[test]
fn services_let_in_the_certificates_of_their_callers_alone() {
    let mut violations = Vec::new();
    for mode in modes() {
        let (begin, values) = (begin(mode), values(mode));
        for pod in pods(&mode.objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
            let own = pod.component();
            let callers = SERVICES.into_iter().filter(|caller| of(&CALLS, caller).contains(&own));
            let names =
                callers.map(|caller| format!("{begin}-{caller}.{NAMESPACE}.svc.{}", text(&values["clusterDomain"])));
            let extra = list(&values["tls"]["extraPeers"]).map(|peer| text(peer).to_owned());
            let wanted: BTreeSet<_> = names.chain(extra).collect();
            let variable = format!("MESHWORK_{}__SERVER__TLS__ALLOWED_PEERS", own.to_uppercase());
            let told = pod.literal(&variable).map(|told| serde_json::from_str::<BTreeSet<String>>(told).unwrap());
            // The gateway is for everybody.
            if told != (own != "gateway").then_some(wanted) {
                violations.push(format!("{}: {} lets in {told:?}", mode.name, pod.shown()));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn targets_are_headless_services_by_names_that_their_certificates_have() {
    let certificates = certificates();
    assert!(certificates.len() >= 5, "{certificates:?}");
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for mode in modes() {
        let begin = begin(mode);
        for pod in pods(&mode.objects) {
            let mut called = BTreeSet::new();
            for (variable, entry) in pod.variables() {
                let target = text(&entry["value"]);
                let authority = target
                    .strip_prefix("dns:///")
                    .and_then(|rest| rest.strip_suffix(":8080"))
                    .or_else(|| target.strip_prefix("k8s:///").and_then(|rest| rest.strip_suffix(":grpc")));
                let Some(authority) = authority else { continue };
                seen.insert(target.split(':').next().unwrap_or_default());
                let service = authority.split('.').next().unwrap_or_default();
                let is_there = of_kind(&mode.objects, "Service")
                    .any(|found| name(found) == service && found["spec"]["clusterIP"] == "None");
                let callee = service.strip_prefix(&format!("{begin}-")).and_then(|rest| rest.strip_suffix("-headless"));
                let callee = callee.unwrap_or_default();
                // The modes have the same names but for what the release is called.
                let names = &certificates[&format!("meshwork-tls-{callee}")];
                let is_certified = names.contains(&authority.replacen(&begin, "meshwork", 1));
                if !is_there || !is_certified || !variable.to_lowercase().ends_with(callee) {
                    violations.push(format!("{}: {}: {variable} is {target}", mode.name, pod.shown()));
                }
                called.insert(callee.to_owned());
            }
            let wanted: BTreeSet<_> = match pod.owner["kind"] == "Deployment" {
                true => of(&CALLS, pod.component()).iter().map(|callee| (*callee).to_owned()).collect(),
                false => BTreeSet::new(),
            };
            if called != wanted {
                violations.push(format!("{}: {} calls {called:?}", mode.name, pod.shown()));
            }
        }
    }
    assert_none(&violations);
    assert_eq!(seen, ["dns", "k8s"].into(), "the targets were found");
}

#[test]
fn cert_manager_is_asked_for_the_certificates_that_are_mounted() {
    let mut violations = Vec::new();
    for mode in modes().iter().filter(|mode| values(mode)["tls"]["mode"] == "certManager") {
        let asked: Vec<_> = of_kind(&mode.objects, "Certificate").collect();
        for pod in pods(&mode.objects) {
            for (secret, _) in pod.secrets().into_iter().filter(|(secret, _)| secret.contains("-tls-")) {
                if !asked.iter().any(|asked| asked["spec"]["secretName"] == *secret) {
                    violations.push(format!("{}: {} mounts {secret}, which nobody makes", mode.name, pod.shown()));
                }
            }
        }
        for asked in asked {
            let key: &Value = &asked["spec"]["privateKey"]["algorithm"];
            if *key != "ECDSA" && *key != "Ed25519" {
                violations.push(format!("{}: {} has a key of {key}", mode.name, name(asked)));
            }
        }
    }
    assert_none(&violations);
}
