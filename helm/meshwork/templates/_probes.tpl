{{/* The probes of a service. Its gRPC port speaks TLS, which the kubelet doesn't: another port tells of its health in plain text. */}}
{{- define "meshwork.probes" -}}
startupProbe:
  grpc:
    port: 9091
    service: startup
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: {{ .service.settings.startupAttempts }}
livenessProbe:
  grpc:
    port: 9091
    service: liveness
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  grpc:
    port: 9091
    service: readiness
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 3
{{- end -}}
