{{/* Who calls whom, and who needs which store: targets, allowed peers, network policies and rights are made from this. */}}
{{- define "meshwork.topology" -}}
users:
  calls: []
  stores: [postgresql, nats, redis]
products:
  calls: [users, orders]
  stores: [postgresql, nats, redis]
orders:
  calls: [users, products]
  stores: [postgresql, mongodb, nats]
notifications:
  calls: [users, orders]
  stores: [postgresql, nats, smtp]
gateway:
  calls: [users, products, orders, notifications]
  stores: [redis]
{{- end -}}

{{/* The stores that the job of migrations needs. */}}
{{- define "meshwork.migrated" -}}
stores: [postgresql, mongodb, nats]
{{- end -}}

{{/* The services that call one, with commas between them. Takes the service. */}}
{{- define "meshwork.callers" -}}
{{- $callee := . -}}
{{- $callers := list -}}
{{- range $name, $edges := include "meshwork.topology" $ | fromYaml -}}
{{- if has $callee $edges.calls -}}
{{- $callers = append $callers $name -}}
{{- end -}}
{{- end -}}
{{- join "," $callers -}}
{{- end -}}

{{/* Whether there is a pod for `helm test`. */}}
{{- define "meshwork.tested" -}}
{{- if and .Values.tests.enabled (not .Values.gateway.tls.existingSecret) -}}
true
{{- end -}}
{{- end -}}

{{/* Where a store is: `chart`, `external`, or nothing when there is none. Takes root and store. */}}
{{- define "meshwork.place" -}}
{{- $values := .root.Values -}}
{{- if eq .store "smtp" -}}
{{- if $values.smtp.existingSecret -}}external{{- end -}}
{{- else if (get $values .store).enabled -}}
chart
{{- else -}}
{{- $external := get $values (printf "external%s" (title .store)) -}}
{{- if or $external.existingSecret $external.url -}}external{{- end -}}
{{- end -}}
{{- end -}}

{{/* The values of a store that is not ours. Takes root and store; gives YAML. */}}
{{- define "meshwork.external" -}}
{{- if eq .store "smtp" -}}
{{- toYaml .root.Values.smtp -}}
{{- else -}}
{{- toYaml (get .root.Values (printf "external%s" (title .store))) -}}
{{- end -}}
{{- end -}}
