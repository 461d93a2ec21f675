{{/* A store of a trial install: one pod and its Service. Takes root, name, port, user (its id), and as YAML texts `container` (command,
     arguments, variables, probes, mounts), `volumes`, and perhaps `init` (containers that run before), `annotations` and `monitor`
     (a port for probes); `data` says whether it has a volume. Of the image nothing is used but its command, arguments and one password. */}}
{{- define "meshwork.store" -}}
{{- $root := .root -}}
{{- $store := get $root.Values .name -}}
{{- $fullname := printf "%s-%s" (include "meshwork.fullname" $root) .name -}}
{{- $named := dict "root" $root "component" .name "name" $fullname -}}
{{- $keeps := and .data $store.persistence.enabled -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "meshwork.metadata" $named | nindent 2 }}
spec:
  replicas: 1
  serviceName: {{ $fullname }}
  {{- if $keeps }}
  # Data outlives the release: NOTES.txt says how it is removed.
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  {{- end }}
  selector:
    matchLabels:
      {{- include "meshwork.selector" $named | nindent 6 }}
  template:
    metadata:
      # Without the release's version, so that a new one doesn't restart the store.
      labels:
        {{- include "meshwork.selector" $named | nindent 8 }}
        app.kubernetes.io/part-of: meshwork
        {{- with $root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .annotations }}
      annotations:
        {{- . | nindent 8 }}
      {{- end }}
    spec:
      automountServiceAccountToken: false
      {{- include "meshwork.pod" (dict "root" $root "user" .user) | nindent 6 }}
      terminationGracePeriodSeconds: 60
      {{- with .init }}
      initContainers:
        {{- . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ $store.image.repository }}:{{ $store.image.tag }}
          imagePullPolicy: {{ $store.image.pullPolicy }}
          ports:
            - name: {{ .name }}
              containerPort: {{ .port }}
            {{- with .monitor }}
            - name: monitor
              containerPort: {{ . }}
            {{- end }}
          {{- .container | nindent 10 }}
          resources:
            {{- toYaml $store.resources | nindent 12 }}
          securityContext:
            {{- include "meshwork.containerSecurity" . | nindent 12 }}
      volumes:
        {{- .volumes | nindent 8 }}
        {{- if and .data (not $keeps) }}
        - name: data
          emptyDir: {}
        {{- end }}
  {{- if $keeps }}
  volumeClaimTemplates:
    - metadata:
        name: data
        # No labels that a release changes: these can't be changed.
        labels:
          {{- include "meshwork.selector" $named | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $store.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $store.persistence.size }}
  {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "meshwork.metadata" $named | nindent 2 }}
spec:
  type: ClusterIP
  ports:
    - name: {{ .name }}
      port: {{ .port }}
      targetPort: {{ .name }}
  selector:
    {{- include "meshwork.selector" $named | nindent 4 }}
{{- end -}}

{{/* The probes of a store that can be told by its port alone. Takes the port's name. */}}
{{- define "meshwork.storeProbes" -}}
startupProbe:
  tcpSocket:
    port: {{ . }}
  periodSeconds: 2
  failureThreshold: 90
livenessProbe:
  tcpSocket:
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  tcpSocket:
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
{{- end -}}

{{/* The password of a store, as its container's only variable. Takes root, key and variable. */}}
{{- define "meshwork.storePassword" -}}
env:
  - name: {{ .variable }}
    valueFrom:
      secretKeyRef:
        name: {{ include "meshwork.passwords.name" .root }}
        key: {{ .key }}
{{- end -}}

{{/* The sum of a store's password, where this chart makes it. Takes root and key. */}}
{{- define "meshwork.storeChecksum" -}}
{{- if include "meshwork.passwords.made" .root -}}
checksum/password: {{ get (include "meshwork.passwords.data" .root | fromYaml) .key | sha256sum }}
{{- end -}}
{{- end -}}
