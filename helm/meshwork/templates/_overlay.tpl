{{/* Lays `over` upon `under`, in place: maps key by key, all else as a whole. Unlike sprig's mergeOverwrite it takes 0, false and
     "" for values; null leaves what is there. Prints nothing. */}}
{{- define "meshwork.overlay" -}}
{{- $under := .under -}}
{{- range $key, $value := .over -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $under $key)) -}}
{{- include "meshwork.overlay" (dict "under" (get $under $key) "over" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $under $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
