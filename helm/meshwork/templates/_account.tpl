{{/* The account of a service in the cluster. Takes root and service. */}}
{{- define "meshwork.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "meshwork.metadata" (dict "root" .root "component" .service.name "name" .service.fullname) | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* The volume of a service that keeps something of its own. Takes root and service. */}}
{{- define "meshwork.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "meshwork.metadata" (dict "root" .root "component" .service.name "name" .service.fullname) | nindent 2 }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with .service.settings.persistence }}
  {{- with .storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
  {{- end }}
{{- end -}}
