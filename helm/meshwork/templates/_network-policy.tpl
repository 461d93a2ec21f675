{{/* A policy for the pods of a component. Takes root, component, and as YAML texts `ingress` and `egress`, lists of rules. Both
     directions are always closed but for these. */}}
{{- define "meshwork.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "meshwork.metadata" (merge (dict "name" (printf "%s-%s" (include "meshwork.fullname" .root) .component)) .) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "meshwork.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with .ingress | trim }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .egress | trim }}
  egress:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* One end of a rule: pods of components of this release, and their port. Takes root, way (from or to), components and port. */}}
{{- define "meshwork.peersRule" }}
{{- $root := .root }}
- {{ .way }}:
    {{- range .components }}
    - podSelector:
        matchLabels:
          {{- include "meshwork.selector" (dict "root" $root "component" .) | nindent 10 }}
    {{- end }}
  ports:
    - protocol: TCP
      port: {{ .port }}
{{- end -}}

{{/* A rule with peers that values name; without any it holds for everywhere. Takes way, peers and ports. */}}
{{- define "meshwork.openRule" }}
- ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ int . }}
    {{- end }}
  {{- with .peers }}
  {{ $.way }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The rule that lets a pod ask for names. */}}
{{- define "meshwork.dnsRule" }}
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The ports of the stores that this chart runs. */}}
{{- define "meshwork.storePorts" -}}
postgresql: 5432
mongodb: 27017
redis: 6379
nats: 4222
{{- end -}}

{{/* The rules that let a pod reach stores, wherever they are. Takes root and stores. */}}
{{- define "meshwork.storeRules" }}
{{- $root := .root }}
{{- $ports := include "meshwork.storePorts" . | fromYaml }}
{{- range $store := .stores }}
{{- $of := dict "root" $root "store" $store }}
{{- $place := include "meshwork.place" $of }}
{{- if eq $place "chart" }}
{{- include "meshwork.peersRule" (dict "root" $root "way" "to" "components" (list $store) "port" (get $ports $store)) }}
{{- else if eq $place "external" }}
{{- $external := include "meshwork.external" $of | fromYaml }}
{{- include "meshwork.openRule" (dict "way" "to" "peers" $external.peers "ports" $external.ports) }}
{{- end }}
{{- end }}
{{- end -}}
