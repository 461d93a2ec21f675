{{/* All that is known of a service, as a map under the key `service`: `settings` (defaults with its own section upon them), `calls`,
     `stores`, `fullname`, `pods` (the most that are wanted) and `single` (whether it keeps something of its own, so that there
     can be one pod only). Takes root, name and a map `into`, whose key it sets. Prints nothing. */}}
{{- define "meshwork.service" -}}
{{- $root := .root -}}
{{- $settings := deepCopy $root.Values.defaults -}}
{{- include "meshwork.overlay" (dict "under" $settings "over" (deepCopy (get $root.Values .name))) -}}
{{- $edges := get (include "meshwork.topology" $ | fromYaml) .name -}}
{{- $scaled := $settings.autoscaling.enabled -}}
{{- $mongo := include "meshwork.place" (dict "root" $root "store" "mongodb") -}}
{{- $service := dict
  "name" .name
  "fullname" (printf "%s-%s" (include "meshwork.fullname" $root) .name)
  "settings" $settings
  "calls" $edges.calls
  "stores" $edges.stores
  "scaled" $scaled
  "least" (int (ternary $settings.autoscaling.minReplicas $settings.replicas $scaled))
  "pods" (int (ternary $settings.autoscaling.maxReplicas $settings.replicas $scaled))
  "single" (and (eq .name "orders") (eq $mongo ""))
  "component" .name
-}}
{{- $_ := set .into "service" $service -}}
{{- end -}}

{{/* The names of all services, in the order of their objects. */}}
{{- define "meshwork.names" -}}
gateway,users,products,orders,notifications
{{- end -}}
