{{/* The labels that a provider's collectors are found by: (dict "root" $ "provider" "aws"). */}}
{{- define "plimsoll.collector.selector" -}}
{{ include "plimsoll.selector" (dict "root" .root "part" "collector") }}
plimsoll.io/provider: {{ .provider }}
{{- end -}}
