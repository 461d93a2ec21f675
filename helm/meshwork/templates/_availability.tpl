{{/* The disruption budget of a service; nothing where it would keep a node from being emptied for ever. Takes root and service. */}}
{{- define "meshwork.disruptionBudget" -}}
{{- $service := .service -}}
{{- $named := dict "root" .root "component" $service.name "name" $service.fullname -}}
{{- if and $service.settings.podDisruptionBudget.enabled (gt $service.least 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "meshwork.metadata" $named | nindent 2 }}
spec:
  maxUnavailable: {{ $service.settings.podDisruptionBudget.maxUnavailable }}
  # A pod that isn't ready serves nobody: it needn't be waited for.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "meshwork.selector" $named | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The autoscaler of a service. Takes root and service. */}}
{{- define "meshwork.autoscaler" -}}
{{- $service := .service -}}
{{- $settings := $service.settings.autoscaling -}}
{{- if $service.scaled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "meshwork.metadata" (dict "root" .root "component" $service.name "name" $service.fullname) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $service.fullname }}
  minReplicas: {{ $service.least }}
  maxReplicas: {{ $service.pods }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int $settings.targetCPUUtilizationPercentage }}
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
        - type: Percent
          value: 100
          periodSeconds: 30
    scaleDown:
      # Longer than connections live, so that a pod isn't taken away before callers have spread over it.
      stabilizationWindowSeconds: 360
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end }}
{{- end -}}
