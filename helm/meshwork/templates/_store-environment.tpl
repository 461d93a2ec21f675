{{/* The variables that lead services to a store. Takes root, store and services, those that the process is of. */}}
{{- define "meshwork.environment.store" -}}
{{- $place := include "meshwork.place" . -}}
{{- if $place -}}
{{- include (printf "meshwork.environment.%s.%s" .store $place) . -}}
{{- end -}}
{{- end -}}

{{/* A variable from a key of a Secret. Takes variable, secret and key. */}}
{{- define "meshwork.fromSecret" }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{- define "meshwork.environment.postgresql.chart" }}
{{- $root := .root }}
{{- include "meshwork.fromSecret" (dict "variable" "POSTGRESQL_PASSWORD" "secret" (include "meshwork.passwords.name" .root) "key" "postgresql") }}
{{- range .services }}
- name: MESHWORK_{{ upper . }}__POSTGRES__URL
  value: postgres://postgres:$(POSTGRESQL_PASSWORD)@{{ include "meshwork.host" (dict "root" $root "name" (printf "%s-postgresql" (include "meshwork.fullname" $root))) }}:5432/postgres
{{- end }}
{{- end -}}

{{- define "meshwork.environment.postgresql.external" }}
{{- $external := .root.Values.externalPostgresql }}
{{- range .services }}
{{- include "meshwork.fromSecret" (dict "variable" (printf "MESHWORK_%s__POSTGRES__URL" (upper .)) "secret" $external.existingSecret "key" (get $external.keys .)) }}
{{- end }}
{{- end -}}

{{- define "meshwork.environment.mongodb.chart" }}
- name: MESHWORK_ORDERS__MONGO__URI
  value: mongodb://{{ include "meshwork.host" (dict "root" .root "name" (printf "%s-mongodb" (include "meshwork.fullname" .root))) }}:27017
{{- end -}}

{{- define "meshwork.environment.mongodb.external" }}
{{- with .root.Values.externalMongodb }}
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_ORDERS__MONGO__URI" "secret" .existingSecret "key" .uriKey) }}
{{- end }}
{{- end -}}

{{- define "meshwork.environment.redis.chart" }}
{{- include "meshwork.fromSecret" (dict "variable" "REDIS_PASSWORD" "secret" (include "meshwork.passwords.name" .root) "key" "redis") }}
- name: MESHWORK_REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "meshwork.host" (dict "root" .root "name" (printf "%s-redis" (include "meshwork.fullname" .root))) }}:6379
{{- end -}}

{{- define "meshwork.environment.redis.external" }}
{{- with .root.Values.externalRedis }}
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_REDIS_URL" "secret" .existingSecret "key" .urlKey) }}
{{- end }}
{{- end -}}

{{- define "meshwork.environment.nats.chart" }}
- name: MESHWORK_NATS_URL
  value: tls://{{ include "meshwork.host" (dict "root" .root "name" (printf "%s-nats" (include "meshwork.fullname" .root))) }}:4222
- name: MESHWORK_NATS_CA
  value: /stores/nats/ca.crt
- name: MESHWORK_NATS_USER
  value: meshwork
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_NATS_PASSWORD" "secret" (include "meshwork.passwords.name" .root) "key" "nats") }}
{{- end -}}

{{- define "meshwork.environment.nats.external" }}
{{- with .root.Values.externalNats }}
- name: MESHWORK_NATS_URL
  value: {{ .url | quote }}
- name: MESHWORK_NATS_REPLICAS
  value: {{ int .replicas | quote }}
{{- if .existingSecret }}
{{- if .caKey }}
- name: MESHWORK_NATS_CA
  value: /stores/nats/ca.crt
{{- end }}
{{- if .credentialsKey }}
- name: MESHWORK_NATS_CREDENTIALS
  value: /stores/nats/client.creds
{{- else if .userKey }}
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_NATS_USER" "secret" .existingSecret "key" .userKey) }}
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_NATS_PASSWORD" "secret" .existingSecret "key" .passwordKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "meshwork.environment.smtp.external" }}
{{- with .root.Values.smtp }}
{{- include "meshwork.fromSecret" (dict "variable" "MESHWORK_NOTIFICATIONS__SMTP__URL" "secret" .existingSecret "key" .urlKey) }}
{{- end }}
{{- end -}}
