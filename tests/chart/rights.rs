//! What pods may ask the API server for: nothing, but to watch EndpointSlices where that is how services find each other.

use serde_json::json;

use crate::chart::{Mode, modes, values};
use crate::objects::{list, name, of_kind, pods, shown, text};
use crate::programs::assert_none;

/// The services that call others, and so have to find them.
const CALLERS: [&str; 4] = ["products", "orders", "notifications", "gateway"];

fn violations(mode: &Mode) -> Vec<String> {
    let mut found = Vec::new();
    let watches = values(mode)["discovery"] == "kubernetes";
    for pod in pods(&mode.objects) {
        // Not said is yes.
        let has_token = pod.spec()["automountServiceAccountToken"] != false;
        let is_caller = pod.owner["kind"] == "Deployment" && CALLERS.contains(&pod.component());
        if has_token != (watches && is_caller) {
            found.push(format!("{}: {}: automountServiceAccountToken is {has_token}", mode.name, pod.shown()));
        }
    }
    for account in of_kind(&mode.objects, "ServiceAccount") {
        if account["automountServiceAccountToken"] != false {
            found.push(format!("{}: {} gives its token to any pod", mode.name, shown(account)));
        }
    }
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        found.extend(of_kind(&mode.objects, kind).map(|object| format!("{}: has a {}", mode.name, shown(object))));
    }
    let watch = json!([{ "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"] }]);
    let roles: Vec<_> = of_kind(&mode.objects, "Role").collect();
    let rules: Vec<_> = roles.iter().map(|role| &role["rules"]).collect();
    let wanted = if watches { vec![&watch] } else { Vec::new() };
    if rules != wanted {
        found.push(format!("{}: its Roles allow {rules:?}", mode.name));
    }
    let mut bound: Vec<_> = of_kind(&mode.objects, "RoleBinding")
        .flat_map(|binding| list(&binding["subjects"]))
        .map(|subject| text(&subject["name"]).to_owned())
        .collect();
    bound.sort();
    let callers = pods(&mode.objects).into_iter().filter(|pod| CALLERS.contains(&pod.component()));
    let mut accounts: Vec<_> = callers.map(|pod| text(&pod.spec()["serviceAccountName"]).to_owned()).collect();
    accounts.sort();
    if bound != if watches { accounts } else { Vec::new() } {
        found.push(format!("{}: rights are bound to {bound:?}", mode.name));
    }
    found
}

#[test]
fn only_callers_that_watch_endpoint_slices_have_rights_and_those_alone() {
    assert!(modes().iter().any(|mode| values(mode)["discovery"] == "kubernetes"), "one mode watches EndpointSlices");
    assert_none(&modes().iter().flat_map(violations).collect::<Vec<_>>());
}

#[test]
fn every_service_has_an_account_of_its_own() {
    let mut found = Vec::new();
    for mode in modes() {
        let made: Vec<_> = of_kind(&mode.objects, "ServiceAccount").map(name).collect();
        let is_made = values(mode)["serviceAccount"]["create"] == true;
        let mut seen = Vec::new();
        for pod in pods(&mode.objects).into_iter().filter(|pod| pod.owner["kind"] == "Deployment") {
            let account = text(&pod.spec()["serviceAccountName"]);
            if account.is_empty() || seen.contains(&account) || (is_made && !made.contains(&account)) {
                found.push(format!("{}: {} has the account {account:?}", mode.name, pod.shown()));
            }
            seen.push(account);
        }
    }
    assert_none(&found);
}
