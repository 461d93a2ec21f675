{{/* The two Services of a service: one address for all pods, and the pods by themselves for callers that balance. Takes root and
     service. */}}
{{- define "meshwork.kubernetesServices" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $named := dict "root" $root "component" $service.name "name" $service.fullname -}}
{{- $isGateway := eq $service.name "gateway" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "meshwork.metadata" $named | nindent 2 }}
  {{- if $isGateway }}
  {{- with $service.settings.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
spec:
  {{- with $root.Values.trafficDistribution }}
  trafficDistribution: {{ . }}
  {{- end }}
  {{- if $isGateway }}
  {{- include "meshwork.gatewayService" $service.settings | nindent 2 }}
  {{- else }}
  type: ClusterIP
  ports:
    - name: grpc
      port: 8080
      targetPort: grpc
  {{- end }}
  selector:
    {{- include "meshwork.selector" $named | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "meshwork.metadata" (merge (dict "name" (printf "%s-headless" $service.fullname)) $named) | nindent 2 }}
spec:
  {{- with $root.Values.trafficDistribution }}
  trafficDistribution: {{ . }}
  {{- end }}
  clusterIP: None
  publishNotReadyAddresses: false
  ports:
    - name: grpc
      port: 8080
      targetPort: grpc
  selector:
    {{- include "meshwork.selector" $named | nindent 4 }}
{{- end -}}

{{/* What is particular to the Service that callers from outside reach. Takes the gateway's settings. */}}
{{- define "meshwork.gatewayService" -}}
{{- $service := .service -}}
type: {{ $service.type }}
{{- if ne $service.type "ClusterIP" }}
externalTrafficPolicy: {{ $service.externalTrafficPolicy }}
{{- end }}
{{- if eq $service.type "LoadBalancer" }}
{{- with $service.loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with $service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
ports:
  - name: grpc
    port: {{ int $service.port }}
    targetPort: grpc
    {{- if not .tls.existingSecret }}
    appProtocol: kubernetes.io/h2c
    {{- end }}
    {{- if and (ne $service.type "ClusterIP") $service.nodePort }}
    nodePort: {{ int $service.nodePort }}
    {{- end }}
{{- end -}}
