{{/* The variables of a service. Takes root and service. */}}
{{- define "meshwork.environment" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $values := $root.Values -}}
{{- $own := printf "MESHWORK_%s__" (upper $service.name) -}}
{{- include "meshwork.environment.process" . }}
- name: MESHWORK_OPS
  value: {{ include "meshwork.listen" (dict "root" $root "port" 9090) }}
- name: MESHWORK_HEALTH
  value: {{ include "meshwork.listen" (dict "root" $root "port" 9091) }}
- name: MESHWORK_MIGRATIONS
  value: wait
- name: {{ $own }}LISTEN
  value: {{ include "meshwork.listen" (dict "root" $root "port" 8080) }}
- name: {{ $own }}SERVER__DRAIN_DELAY
  value: {{ $values.drain.delay }}s
- name: {{ $own }}SERVER__DRAIN_GRACE
  value: {{ $values.drain.grace }}s
{{- if eq $service.name "gateway" }}
{{- include "meshwork.environment.gateway" . }}
{{- else }}
- name: {{ $own }}SERVER__TLS__CERTIFICATE
  value: /tls/tls.crt
- name: {{ $own }}SERVER__TLS__KEY
  value: /tls/tls.key
- name: {{ $own }}SERVER__TLS__CLIENT_CA
  value: /tls/ca.crt
- name: {{ $own }}SERVER__TLS__ALLOWED_PEERS
  value: {{ include "meshwork.peers" . | quote }}
# The gateway names the addresses of its callers.
- name: {{ $own }}SERVER__TRUSTED_PROXIES
  value: {{ include "meshwork.proxies" . | quote }}
{{- end }}
{{- if $service.calls }}
- name: {{ $own }}CLIENT__TLS__CA
  value: /tls/ca.crt
- name: {{ $own }}CLIENT__TLS__CERTIFICATE
  value: /tls/tls.crt
- name: {{ $own }}CLIENT__TLS__KEY
  value: /tls/tls.key
{{- end }}
{{- if and $service.calls (eq $values.discovery "kubernetes") }}
# Empty where nobody labels pods with their node's zone: then all zones are alike.
- name: MESHWORK_ZONE
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['topology.kubernetes.io/zone']
{{- end }}
{{- range $callee := $service.calls }}
- name: {{ include "meshwork.targetKey" (dict "caller" $service.name "callee" $callee) }}
  value: {{ include "meshwork.target" (dict "root" $root "callee" $callee) }}
{{- end }}
{{- if eq $service.name "gateway" }}
- name: MESHWORK_GATEWAY__AUTH__USERS
  value: {{ include "meshwork.target" (dict "root" $root "callee" "users") }}
{{- end }}
{{- if eq $service.name "users" }}
- name: MESHWORK_USERS__CREDENTIALS
  value: /credentials
- name: MESHWORK_USERS__DATA
  value: /signing-keys
# While Redis is away each pod admits its share of the limits.
- name: MESHWORK_USERS__SIGN_IN__INSTANCES
  value: {{ max $service.pods 1 | quote }}
{{- else if ne $service.name "gateway" }}
- name: {{ $own }}AUTH__CREDENTIALS
  value: /credentials/{{ $service.name }}.json
{{- end }}
{{- if eq $service.name "notifications" }}
- name: MESHWORK_NOTIFICATIONS__MAIL_FROM
  value: {{ $service.settings.mailFrom | quote }}
{{- end }}
{{- range $store := $service.stores }}
{{- include "meshwork.environment.store" (dict "root" $root "store" $store "services" (list $service.name)) }}
{{- end }}
{{- if has "postgresql" $service.stores }}
- name: {{ $own }}POSTGRES__MAX_CONNECTIONS
  value: {{ int $service.settings.databaseConnections | quote }}
{{- end }}
{{- end -}}

{{/* All addresses of a pod, with a port, as YAML. Takes root and port. */}}
{{- define "meshwork.listen" -}}
{{- if eq .root.Values.ipFamily "IPv6" -}}
{{ printf "[::]:%d" .port | quote }}
{{- else -}}
0.0.0.0:{{ .port }}
{{- end -}}
{{- end -}}

{{/* What every process of the image needs. Takes root. */}}
{{- define "meshwork.environment.process" -}}
- name: MESHWORK_DATA
  value: /data
- name: MESHWORK_LOG__FORMAT
  value: {{ .root.Values.log.format }}
{{- with .root.Values.log.filter }}
- name: MESHWORK_LOG__FILTER
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What only the gateway has. Takes root and service. */}}
{{- define "meshwork.environment.gateway" }}
{{- with .service.settings }}
{{- if .tls.existingSecret }}
- name: MESHWORK_GATEWAY__SERVER__TLS__CERTIFICATE
  value: /gateway-tls/tls.crt
- name: MESHWORK_GATEWAY__SERVER__TLS__KEY
  value: /gateway-tls/tls.key
{{- end }}
- name: MESHWORK_GATEWAY__SERVER__MAX_CONNECTION_AGE
  value: {{ .maxConnectionAge }}
- name: MESHWORK_GATEWAY__RATE_LIMIT__BURST
  value: {{ .rateLimit.burst | int | quote }}
- name: MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND
  value: {{ .rateLimit.perSecond | quote }}
{{- include "meshwork.environment.edge" . }}
{{- end }}
# While Redis is away each pod admits its share of the limit.
- name: MESHWORK_GATEWAY__RATE_LIMIT__INSTANCES
  value: {{ max .service.pods 1 | quote }}
{{- end -}}

{{/* How the gateway meets callers and what is before it; what it does so by itself is left out. Takes its settings. */}}
{{- define "meshwork.environment.edge" }}
{{- if not .rateLimit.headers }}
- name: MESHWORK_GATEWAY__RATE_LIMIT__HEADERS
  value: "false"
{{- end }}
{{- if not .http.enabled }}
- name: MESHWORK_GATEWAY__HTTP__ENABLED
  value: "false"
{{- end }}
{{- with .http.corsOrigins }}
- name: MESHWORK_GATEWAY__HTTP__CORS_ORIGINS
  value: {{ toJson . | quote }}
{{- end }}
{{- if ne (int64 .http.maxBody) 4194304 }}
- name: MESHWORK_GATEWAY__HTTP__MAX_BODY
  value: {{ int64 .http.maxBody | quote }}
{{- end }}
{{- if not .http.docs }}
- name: MESHWORK_GATEWAY__HTTP__DOCS
  value: "false"
{{- end }}
{{- with .trustedProxies }}
- name: MESHWORK_GATEWAY__SERVER__TRUSTED_PROXIES
  value: {{ toJson . | quote }}
{{- end }}
{{- if not .forwardedFor }}
- name: MESHWORK_GATEWAY__SERVER__FORWARDED_FOR
  value: "false"
{{- end }}
{{- if .routes }}
- name: MESHWORK_GATEWAY__ROUTES
  value: /routes/routes.toml
{{- end }}
{{- if not .accessLog.enabled }}
- name: MESHWORK_GATEWAY__ACCESS_LOG__ENABLED
  value: "false"
{{- end }}
{{- if ne (float64 .accessLog.sample) 1.0 }}
- name: MESHWORK_GATEWAY__ACCESS_LOG__SAMPLE
  value: {{ .accessLog.sample | quote }}
{{- end }}
{{- end -}}

{{/* The variable that names a service to its caller. Takes caller and callee. */}}
{{- define "meshwork.targetKey" -}}
{{- if eq .caller "gateway" -}}
MESHWORK_GATEWAY__UPSTREAMS__{{ upper .callee }}
{{- else if eq .callee "users" -}}
MESHWORK_{{ upper .caller }}__AUTH__USERS
{{- else -}}
MESHWORK_{{ upper .caller }}__{{ upper .callee }}
{{- end -}}
{{- end -}}

{{/* Where a service is. Takes root and callee. */}}
{{- define "meshwork.target" -}}
{{- $headless := printf "%s-%s-headless" (include "meshwork.fullname" .root) .callee -}}
{{- if eq .root.Values.discovery "kubernetes" -}}
k8s:///{{ $headless }}.{{ .root.Release.Namespace }}:grpc
{{- else -}}
dns:///{{ include "meshwork.host" (dict "root" .root "name" $headless) }}:8080
{{- end -}}
{{- end -}}

{{/* Whose certificates may name the addresses of other callers, as a JSON list. Takes root. */}}
{{- define "meshwork.proxies" -}}
{{- list (include "meshwork.host" (dict "root" .root "name" (printf "%s-gateway" (include "meshwork.fullname" .root)))) | toJson -}}
{{- end -}}

{{/* Whose certificates may call a service, as a JSON list. Takes root and service. */}}
{{- define "meshwork.peers" -}}
{{- $root := .root -}}
{{- $peers := list -}}
{{- range splitList "," (include "meshwork.callers" .service.name) -}}
{{- $peers = append $peers (include "meshwork.host" (dict "root" $root "name" (printf "%s-%s" (include "meshwork.fullname" $root) .))) -}}
{{- end -}}
{{- concat $peers $root.Values.tls.extraPeers | toJson -}}
{{- end -}}
