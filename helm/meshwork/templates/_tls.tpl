{{/* Who has a certificate: all services, and NATS where this chart runs it. */}}
{{- define "meshwork.tls.owners" -}}
{{- include "meshwork.names" . -}}
{{- if .Values.nats.enabled -}},nats{{- end -}}
{{- end -}}

{{/* The Secret of a certificate. Takes root and name. */}}
{{- define "meshwork.tls.secret" -}}
{{- $made := printf "%s-tls-%s" (include "meshwork.fullname" .root) .name -}}
{{- if eq .root.Values.tls.mode "existing" -}}
{{- default $made (get .root.Values.tls.existing .name) -}}
{{- else -}}
{{- $made -}}
{{- end -}}
{{- end -}}

{{/* The DNS names of a certificate, with commas between them, the one first that peers are known by. Takes root and name. */}}
{{- define "meshwork.tls.names" -}}
{{- $root := .root -}}
{{- $service := printf "%s-%s" (include "meshwork.fullname" .root) .name -}}
{{- $hosts := list $service -}}
{{- if ne .name "nats" -}}
{{- $hosts = append $hosts (printf "%s-headless" $service) -}}
{{- end -}}
{{- $names := list -}}
{{- range $hosts -}}
{{- $within := printf "%s.%s" . $root.Release.Namespace -}}
{{- $names = concat $names (list (printf "%s.svc.%s" $within $root.Values.clusterDomain) (printf "%s.svc" $within) $within .) -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* The authority's certificate and key, in base64, as YAML: what is there, or a new one. */}}
{{- define "meshwork.tls.authority" -}}
{{- $at := dict -}}
{{- include "meshwork.memo" (dict "root" . "into" $at) -}}
{{- if not (hasKey $at.memo "authority") -}}
{{- include "meshwork.live" . -}}
{{- $name := printf "%s-ca" (include "meshwork.fullname" .) -}}
{{- include "meshwork.found" (dict "root" . "name" $name "into" $at) -}}
{{- $authority := dict "tls.crt" (get $at.found "tls.crt") "tls.key" (get $at.found "tls.key") "expires" (get $at.annotations "meshwork.local/expires") -}}
{{- if not (and (get $authority "tls.crt") (get $authority "tls.key")) -}}
{{- $days := int .Values.tls.chart.authorityDays -}}
{{- $made := genCAWithKey (printf "%s authority" (include "meshwork.fullname" .)) $days (genPrivateKey "ecdsa") -}}
{{- $expires := add (now | unixEpoch | int64) (mul $days 86400) | toString -}}
{{- $authority = dict "tls.crt" ($made.Cert | b64enc) "tls.key" ($made.Key | b64enc) "expires" $expires -}}
{{- end -}}
{{- $_ := set $at.memo "authority" $authority -}}
{{- end -}}
{{- toYaml $at.memo.authority -}}
{{- end -}}

{{/* A certificate by that authority, as YAML with `data` and `annotations`. The one that is there is kept unless it is in the last third
     of its time, is of another authority, or is for other names. Takes root and name. */}}
{{- define "meshwork.tls.leaf" -}}
{{- $root := .root -}}
{{- $at := dict -}}
{{- include "meshwork.memo" (dict "root" $root "into" $at) -}}
{{- $key := printf "leaf %s" .name -}}
{{- if not (hasKey $at.memo $key) -}}
{{- $authority := include "meshwork.tls.authority" $root | fromYaml -}}
{{- $names := concat list (splitList "," (include "meshwork.tls.names" .)) -}}
{{- $days := int $root.Values.tls.chart.certificateDays -}}
{{- $now := now | unixEpoch | int64 -}}
{{- include "meshwork.found" (dict "root" $root "name" (include "meshwork.tls.secret" .) "into" $at) -}}
{{- $issued := get $at.annotations "meshwork.local/issued" | default "0" | int64 -}}
{{- $expires := get $at.annotations "meshwork.local/expires" | default "0" | int64 -}}
{{- $renewal := sub $expires (div (sub $expires $issued) 3) -}}
{{- $of := dict
  "meshwork.local/authority" (get $authority "tls.crt" | sha256sum | trunc 16)
  "meshwork.local/names" (join "," $names | sha256sum | trunc 16)
-}}
{{- $isSame := and
  (get $at.found "tls.crt") (get $at.found "tls.key")
  (eq (get $of "meshwork.local/authority") (get $at.annotations "meshwork.local/authority" | default ""))
  (eq (get $of "meshwork.local/names") (get $at.annotations "meshwork.local/names" | default ""))
-}}
{{- $data := dict "tls.crt" (get $at.found "tls.crt") "tls.key" (get $at.found "tls.key") -}}
{{- if or (not $isSame) (ge $now $renewal) -}}
{{- $issued = $now -}}
{{- $expires = add $now (mul $days 86400) -}}
{{- if gt $expires (get $authority "expires" | default "0" | int64) -}}
{{- fail (printf "\n\nThe authority in the Secret %s-ca ends before a certificate of %d days would: lower tls.chart.certificateDays, or delete that Secret, and `helm upgrade` makes a new authority and new certificates (README, \"Rotation\")." (include "meshwork.fullname" $root) $days) -}}
{{- end -}}
{{- $made := genSignedCertWithKey .name nil $names $days (buildCustomCert (get $authority "tls.crt") (get $authority "tls.key")) (genPrivateKey "ecdsa") -}}
{{- $data = dict "tls.crt" ($made.Cert | b64enc) "tls.key" ($made.Key | b64enc) -}}
{{- end -}}
{{- $_ := set $data "ca.crt" (get $authority "tls.crt") -}}
{{- $_ := set $of "meshwork.local/issued" ($issued | toString) -}}
{{- $_ := set $of "meshwork.local/expires" ($expires | toString) -}}
{{- $_ := set $at.memo $key (dict "data" $data "annotations" $of) -}}
{{- end -}}
{{- toYaml (get $at.memo $key) -}}
{{- end -}}
