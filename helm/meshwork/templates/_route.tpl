{{/* A route of the Gateway API to the gateway. Takes root, kind, name and route, its values. */}}
{{- define "meshwork.route" -}}
{{- $route := .route -}}
{{- $service := printf "%s-gateway" (include "meshwork.fullname" .root) -}}
apiVersion: gateway.networking.k8s.io/v1
kind: {{ .kind }}
metadata:
  {{- include "meshwork.metadata" (dict "root" .root "component" "gateway" "name" (printf "%s-%s" $service .name)) | nindent 2 }}
    {{- with $route.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $route.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml $route.parentRefs | nindent 4 }}
  {{- with $route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- with $route.additionalRules }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    - backendRefs:
        - name: {{ $service }}
          port: {{ int .root.Values.gateway.service.port }}
      {{- range $key := list "matches" "filters" "timeouts" }}
      {{- with get $route $key }}
      {{ $key }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* Whether two lists of hosts have one in common: nothing if not. Takes one and other; an empty one is all hosts. */}}
{{- define "meshwork.hostsOverlap" -}}
{{- $overlap := or (empty .one) (empty .other) -}}
{{- range $one := .one -}}
{{- range $other := $.other -}}
{{- $isIn := and (hasPrefix "*." $one) (hasSuffix (trimPrefix "*" $one) $other) -}}
{{- $holds := and (hasPrefix "*." $other) (hasSuffix (trimPrefix "*" $other) $one) -}}
{{- $overlap = or $overlap (eq $one $other) $isIn $holds -}}
{{- end -}}
{{- end -}}
{{- if $overlap -}}true{{- end -}}
{{- end -}}

{{/* Whether two lists of Gateways have a listener in common: nothing if not. Takes one and other. */}}
{{- define "meshwork.parentsOverlap" -}}
{{- $overlap := false -}}
{{- range $one := .one -}}
{{- range $other := $.other -}}
{{- $isSame := true -}}
{{- range $key := list "group" "kind" "name" "namespace" -}}
{{- $isSame = and $isSame (eq (get $one $key | default "") (get $other $key | default "")) -}}
{{- end -}}
{{- range $key := list "sectionName" "port" -}}
{{- $a := get $one $key | toString -}}
{{- $b := get $other $key | toString -}}
{{- $isSame = and $isSame (or (not (hasKey $one $key)) (not (hasKey $other $key)) (eq $a $b)) -}}
{{- end -}}
{{- $overlap = or $overlap $isSame -}}
{{- end -}}
{{- end -}}
{{- if $overlap -}}true{{- end -}}
{{- end -}}
