//! What Kubernetes lets nobody change on an object that is there stays the same whatever values an upgrade brings.

use serde_json::Value;

use crate::chart::{mode, modes, with};
use crate::objects::{list, name, of_kind, shown};
use crate::programs::assert_none;

/// Fields that can't be changed, by kind.
const KEPT: [(&str, &[&str]); 4] = [
    ("Deployment", &["/spec/selector"]),
    (
        "StatefulSet",
        &["/spec/selector", "/spec/serviceName", "/spec/volumeClaimTemplates", "/spec/podManagementPolicy"],
    ),
    ("Service", &["/spec/clusterIP"]),
    ("RoleBinding", &["/roleRef"]),
];

/// What an upgrade would change although it can't be.
fn changed(before: &[Value], after: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, fields) in KEPT {
        for old in of_kind(before, kind) {
            let Some(new) = of_kind(after, kind).find(|new| name(new) == name(old)) else { continue };
            let differs = fields.iter().filter(|field| old.pointer(field) != new.pointer(field));
            found.extend(differs.map(|field| format!("{}: {field} can't be changed", shown(old))));
        }
    }
    found
}

#[test]
fn another_tag_and_other_values_change_nothing_that_is_kept() {
    let before = &mode("trial").objects;
    let set = [
        "image.tag=9.9.9",
        "commonLabels.team=shop",
        "defaults.replicas=3",
        "defaults.podLabels.tier=services",
        "discovery=kubernetes",
        "drain.delay=9",
        "postgresql.image.tag=17.9",
        "postgresql.settings.work_mem=8MB",
        "gateway.service.type=LoadBalancer",
        "networkPolicy.enabled=false",
    ];
    let after = with("trial", &set.map(str::to_owned));
    assert!(*before != after, "the values change something");
    assert_none(&changed(before, &after));
}

#[test]
fn a_planted_change_of_what_is_kept_is_found() {
    let before = &mode("trial").objects;
    let mut after = before.clone();
    let deployment = after.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/version"] = "9".into();
    assert_eq!(changed(before, &after).len(), 1);
}

#[test]
fn a_job_of_migrations_is_named_by_revision_and_is_no_hook() {
    let mut jobs = 0;
    for mode in modes() {
        for job in of_kind(&mode.objects, "Job") {
            jobs += 1;
            // Its template can't be changed, so each revision has a job of its own.
            assert!(name(job).ends_with("-migrate-1"), "{}: {}", mode.name, shown(job));
            assert!(job["metadata"]["annotations"]["helm.sh/hook"].is_null(), "{}: {}", mode.name, shown(job));
            assert!(job["spec"]["ttlSecondsAfterFinished"].is_u64(), "{}: {} is kept for ever", mode.name, shown(job));
        }
    }
    assert!(jobs >= 5, "the jobs were found");
}

#[test]
fn volumes_outlive_the_release() {
    for mode in modes() {
        for store in of_kind(&mode.objects, "StatefulSet") {
            if list(&store["spec"]["volumeClaimTemplates"]).count() > 0 {
                let policy = &store["spec"]["persistentVolumeClaimRetentionPolicy"];
                let kept = policy["whenDeleted"] == "Retain" && policy["whenScaled"] == "Retain";
                assert!(kept, "{}: {}: {policy}", mode.name, shown(store));
            }
        }
        for claim in of_kind(&mode.objects, "PersistentVolumeClaim") {
            let policy = &claim["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(*policy, "keep", "{}: {}", mode.name, shown(claim));
        }
    }
}
