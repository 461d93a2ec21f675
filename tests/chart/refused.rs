//! Values that make no sense are refused, with a sentence that names them and says what would be right.

use crate::chart::{mode, template};
use crate::programs::assert_none;

/// Values that are refused beside those of a mode, as `--set` takes them, and what the message has to say.
const REFUSED: &[(&str, &[&str], &[&str])] = &[
    // By the schema: what a key may be.
    ("trial", &["discovery=consul"], &["discovery"]),
    ("trial", &["defaults.replicas=-1"], &["replicas"]),
    ("trial", &["defaults.replicas=two"], &["replicas"]),
    ("trial", &["image.pullPolicy=Sometimes"], &["pullPolicy"]),
    ("trial", &["image.digest=sha256:1"], &["digest"]),
    ("trial", &["tls.mode=none"], &["mode"]),
    ("trial", &["drain.delay=-1"], &["delay"]),
    ("trial", &["log.format=xml"], &["format"]),
    ("trial", &["gateway.service.type=ExternalName"], &["type"]),
    ("trial", &["gateway.service.port=70000"], &["port"]),
    ("trial", &["users.databaseConnections=0"], &["databaseConnections"]),
    ("trial", &["postgresql.persistence.size=much"], &["size"]),
    ("trial", &["users.resources.limits.memory=much"], &["memory"]),
    // By the templates: what fits together.
    (
        "trial",
        &["externalPostgresql.existingSecret=pg"],
        &["externalPostgresql", "postgresql.enabled is true", "set postgresql.enabled to false"],
    ),
    ("trial", &["postgresql.enabled=false"], &["postgresql.enabled is false", "externalPostgresql.existingSecret"]),
    ("trial", &["nats.enabled=false"], &["nats.enabled is false", "externalNats.url"]),
    (
        "trial",
        &["postgresql.settings.max_connections=5"],
        &["postgresql.settings.max_connections", "databaseConnections"],
    ),
    ("production", &["externalPostgresql.peers=null"], &["externalPostgresql.peers", "networkPolicy.enabled"]),
    ("trial-without-mongodb", &["orders.replicas=2"], &["orders.replicas", "mongodb.enabled"]),
    ("trial-without-mongodb", &["orders.autoscaling.enabled=true"], &["orders.autoscaling", "mongodb.enabled"]),
    (
        "autoscaling",
        &["gateway.autoscaling.minReplicas=12"],
        &["gateway.autoscaling.minReplicas is 12", "maxReplicas 10"],
    ),
    (
        "trial",
        &["users.replicas=2", "users.podDisruptionBudget.maxUnavailable=2"],
        &["users.podDisruptionBudget.maxUnavailable is 2"],
    ),
    (
        "trial",
        &["users.env[0].name=MESHWORK_OPS", "users.env[0].value=x"],
        &["users.env has MESHWORK_OPS", "the chart sets"],
    ),
    ("trial", &["gateway.service.nodePort=30080"], &["gateway.service.nodePort", "gateway.service.type"]),
    ("trial", &["gateway.service.loadBalancerClass=x"], &["gateway.service.loadBalancerClass", "LoadBalancer"]),
    ("trial", &["gateway.trustedProxies[0]=10.0.0.1"], &["trustedProxies"]),
    ("trial", &["gateway.accessLog.sample=2"], &["sample"]),
    ("trial", &["gateway.http.corsOrigins[0]=shop.example"], &["corsOrigins"]),
    ("routes", &["gateway.route.http.hostnames[0]=https://shop.example"], &["hostnames"]),
    ("routes", &["gateway.route.http.parentRefs[0].nam=public"], &["parentRefs", "nam"]),
    (
        "trial",
        &["gateway.route.http.enabled=true"],
        &["gateway.route.http.enabled", "set gateway.route.http.parentRefs"],
    ),
    (
        "routes",
        &["gateway.route.grpc.hostnames[0]=api.shop.test"],
        &["gateway.route.grpc and gateway.route.http have a host in common", "gateway.route.grpc.hostnames"],
    ),
    (
        "routes",
        &["gateway.route.grpc.hostnames=null"],
        &["gateway.route.grpc and gateway.route.http have a host in common"],
    ),
    (
        "routes",
        &["gateway.env[0].name=MESHWORK_GATEWAY__SERVER__TRUSTED_PROXIES", "gateway.env[0].value=x"],
        &["gateway.env has MESHWORK_GATEWAY__SERVER__TRUSTED_PROXIES", "the chart sets"],
    ),
    (
        "cert-manager",
        &["tls.certManager.renewBefore=3000h"],
        &["tls.certManager.renewBefore", "tls.certManager.duration"],
    ),
    ("production", &["externalNats.credentialsKey=creds"], &["externalNats.credentialsKey", "externalNats.userKey"]),
    ("production", &["externalNats.url="], &["externalNats.existingSecret is set", "externalNats.url"]),
    ("production", &["externalNats.userKey="], &["externalNats.userKey and externalNats.passwordKey"]),
    (
        "production",
        &["externalNats.url=nats://nats.example:4222", "externalNats.caKey="],
        &["externalNats.url", "plain text", "tls://"],
    ),
    (
        "autoscaling",
        &["defaults.resources.requests.cpu=null"],
        &["users.autoscaling.enabled needs users.resources.requests.cpu"],
    ),
    ("trial", &["tls.chart.certificateDays=4000"], &["tls.chart.certificateDays", "tls.chart.authorityDays"]),
    ("cert-manager", &["tls.existing.users=mine"], &["tls.existing", "set tls.mode to existing"]),
    (
        "cert-manager",
        &["tls.certManager.duration=90000h"],
        &["tls.certManager.duration", "tls.certManager.authorityDuration"],
    ),
    ("trial", &["commonLabels.app\\.kubernetes\\.io/name=x"], &["app.kubernetes.io/name"]),
    ("trial", &["defaults.podLabels.app\\.kubernetes\\.io/component=x"], &["app.kubernetes.io/component"]),
];

#[test]
fn values_that_make_no_sense_are_refused_with_their_names() {
    let mut violations = Vec::new();
    for (base, set, words) in REFUSED {
        let mut args = vec!["-f", mode(base).values.to_str().unwrap()];
        args.extend(set.iter().flat_map(|set| ["--set", set]));
        let said = template(&args);
        if said.is_ok {
            violations.push(format!("{set:?} upon {base} is let through"));
        }
        for word in words.iter().filter(|word| !said.is_ok && !said.stderr.contains(**word)) {
            violations.push(format!("{set:?} upon {base} is refused without {word:?}: {}", said.stderr.trim()));
        }
    }
    assert_none(&violations);
}

/// What `helm template` wants named, each with the value that names it.
const REFERENCES: [(&str, &str); 4] = [
    ("secrets.passwords.existingSecret", ""),
    ("secrets.credentials.existingSecret", ""),
    ("secrets.signingKeys.existingSecret", ""),
    ("tls.mode", "chart"),
];

#[test]
fn a_rendering_without_a_cluster_makes_no_secrets_and_names_what_to_set() {
    let mut violations = Vec::new();
    for (key, value) in REFERENCES {
        let set = format!("{key}={value}");
        let said = template(&["-f", mode("trial").values.to_str().unwrap(), "--set", &set]);
        if said.is_ok {
            violations.push(format!("without {key} secrets are made"));
        }
        for word in [key, "helm template", "k8s/secrets.sh"].into_iter().filter(|word| !said.stderr.contains(word)) {
            violations.push(format!("without {key} the message has no {word:?}: {}", said.stderr.trim()));
        }
    }
    let said = template(&[]);
    if said.is_ok || !REFERENCES.iter().any(|(key, _)| said.stderr.contains(key)) {
        violations.push(format!("without any values: {}", said.stderr.trim()));
    }
    assert_none(&violations);
}
