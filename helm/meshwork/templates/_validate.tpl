{{/* What the schema can't say: values that don't fit together. Collects a sentence for each and fails with all of them. */}}
{{- define "meshwork.validate" -}}
{{- $all := dict "problems" list -}}
{{- if not (regexMatch "^[a-z]" (include "meshwork.fullname" .)) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "the release's name %s begins with no letter, and the names of Services must: set fullnameOverride" .Release.Name)) -}}
{{- end -}}
{{- include "meshwork.validate.stores" (dict "root" . "all" $all) -}}
{{- include "meshwork.validate.services" (dict "root" . "all" $all) -}}
{{- include "meshwork.validate.gateway" (dict "root" . "all" $all) -}}
{{- include "meshwork.validate.routes" (dict "root" . "all" $all) -}}
{{- include "meshwork.validate.tls" (dict "root" . "all" $all) -}}
{{- with $all.problems -}}
{{- fail (printf "\n\nThese values don't fit together:\n- %s" (join "\n- " .)) -}}
{{- end -}}
{{- end -}}

{{/* Notes a problem. Takes all and says. */}}
{{- define "meshwork.validate.add" -}}
{{- $_ := set .all "problems" (append .all.problems .says) -}}
{{- end -}}

{{- define "meshwork.validate.stores" -}}
{{- $root := .root -}}
{{- $all := .all -}}
{{- $values := .root.Values -}}
{{- range $store := list "postgresql" "mongodb" "redis" "nats" -}}
{{- $section := printf "external%s" (title $store) -}}
{{- $external := get $values $section -}}
{{- $named := or $external.existingSecret $external.url -}}
{{- if and (get $values $store).enabled $named -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s names a server, and %s.enabled is true: set %s.enabled to false, or take %s out" $section $store $store $section)) -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.postgresql.enabled $values.externalPostgresql.existingSecret) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "postgresql.enabled is false: name a Secret with URLs in externalPostgresql.existingSecret") -}}
{{- end -}}
{{- if not (or $values.nats.enabled $values.externalNats.url) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "nats.enabled is false: name the servers in externalNats.url") -}}
{{- end -}}
{{- with $values.externalNats -}}
{{- if and .existingSecret (not .url) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "externalNats.existingSecret is set: name the servers in externalNats.url") -}}
{{- end -}}
{{- if .existingSecret -}}
{{- if and .credentialsKey (or .userKey .passwordKey) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "externalNats.credentialsKey takes the place of a login: set externalNats.userKey and externalNats.passwordKey to \"\"") -}}
{{- end -}}
{{- if ne (empty .userKey) (empty .passwordKey) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "externalNats.userKey and externalNats.passwordKey must both be set, or both be \"\"") -}}
{{- end -}}
{{- if and (or .userKey .credentialsKey) (not .caKey) (contains "nats://" .url) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "externalNats.url: a login isn't sent in plain text: write tls://HOST:PORT, or set externalNats.caKey") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $values.postgresql.settings "max_connections" -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "postgresql.settings.max_connections is computed: set databaseConnections of the services, or postgresql.reservedConnections") -}}
{{- end -}}
{{- if $values.networkPolicy.enabled -}}
{{- range $store := list "postgresql" "mongodb" "redis" "nats" "smtp" -}}
{{- $of := dict "root" $root "store" $store -}}
{{- if eq (include "meshwork.place" $of) "external" -}}
{{- if not (include "meshwork.external" $of | fromYaml).peers -}}
{{- $section := ternary "smtp" (printf "external%s" (title $store)) (eq $store "smtp") -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s.peers is empty: say where the server is, such as [{ipBlock: {cidr: 10.0.0.0/24}}], or set networkPolicy.enabled to false" $section)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshwork.validate.services" -}}
{{- $root := .root -}}
{{- $all := .all -}}
{{- range $name := splitList "," (include "meshwork.names" $root) -}}
{{- $at := dict -}}
{{- include "meshwork.service" (dict "root" $root "name" $name "into" $at) -}}
{{- $service := $at.service -}}
{{- $settings := $service.settings -}}
{{- if and $service.single (or $service.scaled (gt $service.pods 1)) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s has more than one pod, and its events lie in a volume of one: set mongodb.enabled to true, or externalMongodb.existingSecret, or %s.replicas to 1 without %s.autoscaling" $name $name $name)) -}}
{{- end -}}
{{- if $service.scaled -}}
{{- if gt $service.least $service.pods -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s.autoscaling.minReplicas is %d, and maxReplicas %d: the least can't be above the most" $name $service.least $service.pods)) -}}
{{- end -}}
{{- if not (get ($settings.resources.requests | default dict) "cpu") -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s.autoscaling.enabled needs %s.resources.requests.cpu: the load is measured by it" $name $name)) -}}
{{- end -}}
{{- end -}}
{{- $budget := $settings.podDisruptionBudget -}}
{{- if and $budget.enabled (gt $service.least 1) (not (kindIs "string" $budget.maxUnavailable)) -}}
{{- if ge (int $budget.maxUnavailable) $service.least -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s.podDisruptionBudget.maxUnavailable is %d of %d pods: nothing would be left, set it lower" $name (int $budget.maxUnavailable) $service.least)) -}}
{{- end -}}
{{- end -}}
{{- $ours := list -}}
{{- range include "meshwork.environment" (dict "root" $root "service" $service) | fromYamlArray -}}
{{- $ours = append $ours .name -}}
{{- end -}}
{{- range $settings.env -}}
{{- if has .name $ours -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "%s.env has %s, which the chart sets: use the value that it is made of" $name .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshwork.validate.gateway" -}}
{{- $all := .all -}}
{{- with .root.Values.gateway.service -}}
{{- if and .nodePort (eq .type "ClusterIP") -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "gateway.service.nodePort is set, and gateway.service.type is ClusterIP: set the type to NodePort or LoadBalancer, or the port to 0") -}}
{{- end -}}
{{- if and (or .loadBalancerClass .loadBalancerSourceRanges) (ne .type "LoadBalancer") -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "gateway.service.loadBalancerClass and loadBalancerSourceRanges are for gateway.service.type LoadBalancer") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshwork.validate.routes" -}}
{{- $all := .all -}}
{{- with .root.Values.gateway.route -}}
{{- range $kind := list "grpc" "http" -}}
{{- $route := get $.root.Values.gateway.route $kind -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "gateway.route.%s.enabled is true, and no Gateway is named: set gateway.route.%s.parentRefs, such as [{name: public}]" $kind $kind)) -}}
{{- end -}}
{{- end -}}
{{- if and .grpc.enabled .http.enabled -}}
{{- $hosts := include "meshwork.hostsOverlap" (dict "one" .grpc.hostnames "other" .http.hostnames) -}}
{{- $parents := include "meshwork.parentsOverlap" (dict "one" .grpc.parentRefs "other" .http.parentRefs) -}}
{{- if and $hosts $parents -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "gateway.route.grpc and gateway.route.http have a host in common, and a listener takes one of them alone: set other gateway.route.grpc.hostnames, other listeners (parentRefs), or the HTTPRoute alone, which passes gRPC on too") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshwork.validate.tls" -}}
{{- $all := .all -}}
{{- with .root.Values.tls -}}
{{- if gt (int .chart.certificateDays) (int .chart.authorityDays) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "tls.chart.certificateDays is above tls.chart.authorityDays: a certificate can't outlive its authority") -}}
{{- end -}}
{{- $names := without (values .existing) "" -}}
{{- if and $names (ne .mode "existing") -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" "tls.existing names Secrets: set tls.mode to existing") -}}
{{- end -}}
{{- $hours := dict -}}
{{- range $key := list "duration" "renewBefore" "natsDuration" "authorityDuration" -}}
{{- $_ := set $hours $key (get $.root.Values.tls.certManager $key | trimSuffix "h" | int) -}}
{{- end -}}
{{- range $key := list "duration" "natsDuration" -}}
{{- if ge $hours.renewBefore (get $hours $key) -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "tls.certManager.renewBefore must be below tls.certManager.%s" $key)) -}}
{{- end -}}
{{- if gt (get $hours $key) $hours.authorityDuration -}}
{{- include "meshwork.validate.add" (dict "all" $all "says" (printf "tls.certManager.%s is above tls.certManager.authorityDuration: a certificate can't outlive its authority" $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
