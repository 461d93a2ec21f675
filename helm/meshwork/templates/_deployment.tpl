{{/* The Deployment of a service. Takes root and service. */}}
{{- define "meshwork.deployment" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $settings := $service.settings -}}
{{- $named := dict "root" $root "component" $service.name "name" $service.fullname -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "meshwork.metadata" $named | nindent 2 }}
spec:
  {{- if not $service.scaled }}
  replicas: {{ $service.pods }}
  {{- end }}
  revisionHistoryLimit: {{ $settings.revisionHistoryLimit }}
  minReadySeconds: {{ $settings.minReadySeconds }}
  strategy:
    {{- if $service.single }}
    # Its volume is one pod's.
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
    {{- end }}
  selector:
    matchLabels:
      {{- include "meshwork.selector" $named | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "meshwork.labels" $named | nindent 8 }}
        {{- with $settings.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- $annotations := include "meshwork.podAnnotations" . }}
      {{- if $annotations }}
      annotations:
        {{- $annotations | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $service.fullname }}
      # Only who watches EndpointSlices asks the API server for something.
      automountServiceAccountToken: {{ and (eq $root.Values.discovery "kubernetes") (not (empty $service.calls)) }}
      {{- include "meshwork.pod" (dict "root" $root "user" 65532) | nindent 6 }}
      # The time to be noticed, the time for calls, and what the process takes to end by itself.
      terminationGracePeriodSeconds: {{ add $root.Values.drain.delay $root.Values.drain.grace 15 }}
      {{- with $settings.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $settings.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $settings.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $settings.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $settings.topologySpread.enabled }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: {{ $settings.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "meshwork.selector" $named | nindent 14 }}
          # Each rollout is spread by itself: pods of the one before it are about to go.
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      containers:
        - name: meshwork
          image: {{ include "meshwork.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [serve, {{ $service.name }}]
          env:
            {{- include "meshwork.environment" . | nindent 12 }}
            {{- with $settings.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - name: grpc
              containerPort: 8080
            - name: ops
              containerPort: 9090
            - name: health
              containerPort: 9091
          {{- include "meshwork.probes" . | nindent 10 }}
          resources:
            {{- toYaml $settings.resources | nindent 12 }}
          securityContext:
            {{- include "meshwork.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "meshwork.mounts" . | nindent 12 }}
            {{- with $settings.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "meshwork.volumes" . | nindent 8 }}
        {{- with $settings.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* The annotations of a service's pods: they change with what a process reads at its start alone. Takes root and service. */}}
{{- define "meshwork.podAnnotations" -}}
{{- with .service.settings.podAnnotations }}
{{- toYaml . }}
{{ end -}}
{{- $sums := include "meshwork.checksums" . -}}
{{- $sums -}}
{{- end -}}
