{{/* What is made once and kept. Values are made at most once in a run, whoever asks first: all templates of a run share
     `.Values`, where they are kept under a key that no value can have. */}}

{{/* Fails unless a live cluster answers: without one nobody could tell what is there already, and each run would make new
     secrets. A list of accounts that is empty is an answer too, also in a namespace that will be made by this very install. */}}
{{- define "meshwork.live" -}}
{{- if not (lookup "v1" "ServiceAccount" .Release.Namespace "") -}}
{{- $missing := list -}}
{{- if include "meshwork.passwords.made" . -}}
{{- $missing = append $missing "secrets.passwords.existingSecret" -}}
{{- end -}}
{{- range list "credentials" "signingKeys" -}}
{{- if not (get $.Values.secrets .).existingSecret -}}
{{- $missing = append $missing (printf "secrets.%s.existingSecret" .) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.tls.mode "chart" -}}
{{- $missing = append $missing "tls.mode to existing or certManager" -}}
{{- end -}}
{{- fail (printf "\n\nThis run sees no cluster (helm template, --dry-run=client, Argo CD): it can't keep secrets that are there, and would make new ones each time.\nName Secrets of your own; set %s.\nk8s/secrets.sh prints such Secrets, and the chart's README says what is in them. With a cluster, use helm install --dry-run=server to look." (join ", " $missing)) -}}
{{- end -}}
{{- end -}}

{{/* The map in which this run keeps what it has made. Takes root and a map `into`, whose key `memo` it sets. */}}
{{- define "meshwork.memo" -}}
{{- if not (hasKey .root.Values "(made)") -}}
{{- $_ := set .root.Values "(made)" dict -}}
{{- end -}}
{{- $_ := set .into "memo" (get .root.Values "(made)") -}}
{{- end -}}

{{/* The `data` of a Secret that is there, or an empty map. Takes root, name and `into`, whose key `found` it sets. */}}
{{- define "meshwork.found" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name | default dict -}}
{{- $_ := set .into "found" ($secret.data | default dict) -}}
{{- $_ := set .into "annotations" (($secret.metadata | default dict).annotations | default dict) -}}
{{- end -}}

{{- define "meshwork.passwords.name" -}}
{{- default (printf "%s-passwords" (include "meshwork.fullname" .)) .Values.secrets.passwords.existingSecret -}}
{{- end -}}

{{- define "meshwork.credentials.name" -}}
{{- default (printf "%s-credentials" (include "meshwork.fullname" .)) .Values.secrets.credentials.existingSecret -}}
{{- end -}}

{{- define "meshwork.signingKeys.name" -}}
{{- default (printf "%s-signing-keys" (include "meshwork.fullname" .)) .Values.secrets.signingKeys.existingSecret -}}
{{- end -}}

{{/* Whether this chart makes passwords: those of the stores that it runs. */}}
{{- define "meshwork.passwords.made" -}}
{{- if and (not .Values.secrets.passwords.existingSecret) (or .Values.postgresql.enabled .Values.redis.enabled .Values.nats.enabled) -}}
true
{{- end -}}
{{- end -}}

{{/* The data of the passwords, in base64, as YAML. */}}
{{- define "meshwork.passwords.data" -}}
{{- $at := dict -}}
{{- include "meshwork.memo" (dict "root" . "into" $at) -}}
{{- if not (hasKey $at.memo "passwords") -}}
{{- include "meshwork.live" . -}}
{{- include "meshwork.found" (dict "root" . "name" (include "meshwork.passwords.name" .) "into" $at) -}}
{{- $data := deepCopy $at.found -}}
{{- range list "postgresql" "redis" "nats" -}}
{{- if not (get $data .) -}}
{{- $_ := set $data . (randAlphaNum 32 | b64enc) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $at.memo "passwords" $data -}}
{{- end -}}
{{- toYaml $at.memo.passwords -}}
{{- end -}}

{{/* The data of the credentials, in base64, as YAML. */}}
{{- define "meshwork.credentials.data" -}}
{{- $at := dict -}}
{{- include "meshwork.memo" (dict "root" . "into" $at) -}}
{{- if not (hasKey $at.memo "credentials") -}}
{{- include "meshwork.live" . -}}
{{- include "meshwork.found" (dict "root" . "name" (include "meshwork.credentials.name" .) "into" $at) -}}
{{- $data := deepCopy $at.found -}}
{{- range $label, $email := dict "staff" "staff@meshwork.local" "products" "products@services.meshwork.local" "orders" "orders@services.meshwork.local" "notifications" "notifications@services.meshwork.local" -}}
{{- $key := printf "%s.json" $label -}}
{{- if not (get $data $key) -}}
{{- $_ := set $data $key (dict "email" $email "password" (randAlphaNum 32) | toJson | b64enc) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $at.memo "credentials" $data -}}
{{- end -}}
{{- toYaml $at.memo.credentials -}}
{{- end -}}

{{/* The data of the signing keys, in base64, as YAML. Keys that were added stay. */}}
{{- define "meshwork.signingKeys.data" -}}
{{- $at := dict -}}
{{- include "meshwork.memo" (dict "root" . "into" $at) -}}
{{- if not (hasKey $at.memo "signingKeys") -}}
{{- include "meshwork.live" . -}}
{{- include "meshwork.found" (dict "root" . "name" (include "meshwork.signingKeys.name" .) "into" $at) -}}
{{- $data := deepCopy $at.found -}}
{{- if not $data -}}
{{- $_ := set $data "signing-key.pem" (genPrivateKey "ed25519" | b64enc) -}}
{{- end -}}
{{- $_ := set $at.memo "signingKeys" $data -}}
{{- end -}}
{{- toYaml $at.memo.signingKeys -}}
{{- end -}}

{{/* Sums of what a process reads at its start alone, so that a change of it makes new pods. Takes root and service. Secrets that are
     named by values can't be seen here. */}}
{{- define "meshwork.checksums" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $lines := list -}}
{{- $hasPassword := false -}}
{{- range $service.stores -}}
{{- if and (has . (list "postgresql" "redis" "nats")) (eq (include "meshwork.place" (dict "root" $root "store" .)) "chart") -}}
{{- $hasPassword = true -}}
{{- end -}}
{{- end -}}
{{- if and $hasPassword (include "meshwork.passwords.made" $root) -}}
{{- $lines = append $lines (printf "checksum/passwords: %s" (include "meshwork.passwords.data" $root | sha256sum)) -}}
{{- end -}}
{{- if and (ne $service.name "gateway") (not $root.Values.secrets.credentials.existingSecret) -}}
{{- $lines = append $lines (printf "checksum/credentials: %s" (include "meshwork.credentials.data" $root | sha256sum)) -}}
{{- end -}}
{{- if and (eq $service.name "users") (not $root.Values.secrets.signingKeys.existingSecret) -}}
{{- $lines = append $lines (printf "checksum/signing-keys: %s" (include "meshwork.signingKeys.data" $root | sha256sum)) -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}
