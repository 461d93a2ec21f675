{{/* How many connections to PostgreSQL there may be at once, if all services share a server:

       the sum over the services of (pool of a pod × 2 × most pods)
     + 2 for jobs of migrations, of which two may run at once
     + postgresql.reservedConnections

     Twice the pods, since a rollout starts a new pod for each old one that drains, and the old one has its pool until it has
     ended. A pod has no connection beside its pool. Read replicas count for themselves. */}}
{{- define "meshwork.connections" -}}
{{- $root := . -}}
{{- $sum := 2 -}}
{{- range splitList "," (include "meshwork.names" .) -}}
{{- $at := dict -}}
{{- include "meshwork.service" (dict "root" $root "name" . "into" $at) -}}
{{- if has "postgresql" $at.service.stores -}}
{{- $sum = add $sum (mul (int $at.service.settings.databaseConnections) 2 $at.service.pods) -}}
{{- end -}}
{{- end -}}
{{- add $sum (int .Values.postgresql.reservedConnections) -}}
{{- end -}}
