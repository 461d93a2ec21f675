{{/* The volumes of a service. Takes root and service. */}}
{{- define "meshwork.volumes" -}}
{{- $root := .root -}}
{{- $service := .service -}}
- name: data
  {{- if $service.single }}
  persistentVolumeClaim:
    claimName: {{ $service.fullname }}
  {{- else }}
  emptyDir:
    sizeLimit: 256Mi
  {{- end }}
- name: tls
  secret:
    secretName: {{ include "meshwork.tls.secret" (dict "root" $root "name" $service.name) }}
    defaultMode: 0440
{{- if eq $service.name "gateway" }}
{{- with $service.settings.tls.existingSecret }}
- name: gateway-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if $service.settings.routes }}
- name: routes
  configMap:
    name: {{ $service.fullname }}-routes
{{- end }}
{{- else }}
- name: credentials
  secret:
    secretName: {{ include "meshwork.credentials.name" $root }}
    defaultMode: 0440
    items:
      {{- range (eq $service.name "users" | ternary (list "staff" "products" "orders" "notifications") (list $service.name)) }}
      - key: {{ . }}.json
        path: {{ . }}.json
      {{- end }}
{{- end }}
{{- if eq $service.name "users" }}
- name: signing-keys
  secret:
    secretName: {{ include "meshwork.signingKeys.name" $root }}
    defaultMode: 0440
{{- end }}
{{- include "meshwork.storeVolumes" (dict "root" $root "stores" $service.stores) }}
{{- end -}}

{{/* Where they are mounted. Takes root and service. */}}
{{- define "meshwork.mounts" -}}
{{- $service := .service -}}
- name: data
  mountPath: /data
- name: tls
  mountPath: /tls
  readOnly: true
{{- if eq $service.name "gateway" }}
{{- if $service.settings.tls.existingSecret }}
- name: gateway-tls
  mountPath: /gateway-tls
  readOnly: true
{{- end }}
{{- if $service.settings.routes }}
# As a folder: a file that is mounted by itself never changes.
- name: routes
  mountPath: /routes
  readOnly: true
{{- end }}
{{- else }}
- name: credentials
  mountPath: /credentials
  readOnly: true
{{- end }}
{{- if eq $service.name "users" }}
- name: signing-keys
  mountPath: /signing-keys
  readOnly: true
{{- end }}
{{- include "meshwork.storeMounts" (dict "root" .root "stores" $service.stores) }}
{{- end -}}

{{/* The Secret and the items of it that a store's clients need as files, as YAML; nothing when they need none. Takes root and store. */}}
{{- define "meshwork.storeFiles" -}}
{{- $place := include "meshwork.place" . -}}
{{- $external := dict -}}
{{- if eq $place "external" -}}
{{- $external = include "meshwork.external" . | fromYaml -}}
{{- end -}}
{{- if and (eq $place "chart") (eq .store "nats") -}}
secretName: {{ include "meshwork.tls.secret" (dict "root" .root "name" "nats") }}
items:
  - key: ca.crt
    path: ca.crt
{{- else if and $external.existingSecret (or $external.caKey $external.credentialsKey) -}}
secretName: {{ $external.existingSecret }}
items:
  {{- with $external.caKey }}
  - key: {{ . }}
    path: ca.crt
  {{- end }}
  {{- with $external.credentialsKey }}
  - key: {{ . }}
    path: client.creds
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "meshwork.storeVolumes" -}}
{{- $root := .root -}}
{{- range .stores -}}
{{- $files := include "meshwork.storeFiles" (dict "root" $root "store" .) }}
{{- if $files }}
- name: store-{{ . }}
  secret:
    {{- $files | nindent 4 }}
    defaultMode: 0440
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "meshwork.storeMounts" -}}
{{- $root := .root -}}
{{- range .stores -}}
{{- if include "meshwork.storeFiles" (dict "root" $root "store" .) }}
- name: store-{{ . }}
  mountPath: /stores/{{ . }}
  readOnly: true
{{- end -}}
{{- end -}}
{{- end -}}
