{{- define "plimsoll.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "plimsoll.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: plimsoll
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels that pods of a part are found by: call it with (dict "root" $ "part" "manager"). */}}
{{- define "plimsoll.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "plimsoll.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The Secret of a certificate: (dict "root" $ "tls" .Values.x.tls "name" "scaler"). */}}
{{- define "plimsoll.tlsSecret" -}}
{{- default (printf "%s-%s-tls" (include "plimsoll.fullname" .root) .name) .tls.secretName -}}
{{- end -}}

{{- define "plimsoll.managerHost" -}}
{{ include "plimsoll.fullname" . }}-manager.{{ .Release.Namespace }}
{{- end -}}

{{- define "plimsoll.scalerAddress" -}}
{{- default (printf "%s:%v" (include "plimsoll.managerHost" .) .Values.manager.scaler.port) .Values.operator.scalerAddress -}}
{{- end -}}

{{- define "plimsoll.perProvider" -}}
{{- if or (gt (len .Values.collectors.providers) 1) (ne (index .Values.collectors.providers 0).name "default") -}}true{{- end -}}
{{- end -}}

{{/* What a schema can't say. */}}
{{- define "plimsoll.check" -}}
{{- if not .Values.kafka.brokers }}
{{- fail "kafka.brokers is empty: name your brokers, as in --set kafka.brokers={kafka-0.kafka:9092}" }}
{{- end }}
{{- if and (eq .Values.store.kind "etcd") (not .Values.store.etcd.endpoints) }}
{{- fail "store.kind is etcd and store.etcd.endpoints is empty: name etcd's endpoints, or use store.kind=configmap" }}
{{- end }}
{{- if and .Values.kafka.sasl.mechanism (not .Values.kafka.sasl.secretName) }}
{{- fail "kafka.sasl.mechanism is set and kafka.sasl.secretName is not: name the Secret with user name and password" }}
{{- end }}
{{- range $key, $value := .Values.kafka.config }}
{{- if or (contains ";" (toString $value)) (contains "password" $key) }}
{{- fail (printf "kafka.config: %s has a ';' in its value, or is a secret: secrets belong into kafka.sasl.secretName and kafka.tls" $key) }}
{{- end }}
{{- end }}
{{- if and .Values.manager.api.readsNeedRole (not .Values.manager.api.tokens.secretName) }}
{{- fail "manager.api.readsNeedRole is true and manager.api.tokens.secretName is not set: name the Secret with the tokens" }}
{{- end }}
{{- $seen := dict }}
{{- range .Values.collectors.providers }}
{{- if hasKey $seen .name }}
{{- fail (printf "collectors.providers names %s twice: only one StatefulSet may be a provider's" .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- /* A label of each pod is this name, a dash and ten digits; it has 63 characters at most. */}}
{{- $set := printf "%s-collector-%s" (include "plimsoll.fullname" $) .name }}
{{- if gt (len $set) 52 }}
{{- fail (printf "the StatefulSet %s would have %d characters in its name, and Kubernetes makes no pod where it has more than 52: set a shorter fullnameOverride" $set (len $set)) }}
{{- end }}
{{- end }}
{{- range $what, $tls := dict "interceptor.tls" .Values.interceptor.tls "manager.scaler.tls" .Values.manager.scaler.tls "manager.api.tls" .Values.manager.api.tls }}
{{- if and $tls.enabled $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
{{- fail (printf "%s.certManager.enabled is true and its issuerRef has no name: name the issuer" $what) }}
{{- end }}
{{- if and $tls.enabled (not $tls.certManager.enabled) (not $tls.secretName) }}
{{- fail (printf "%s.enabled is true, without certManager and without secretName: name the Secret with the certificate" $what) }}
{{- end }}
{{- end }}
{{- if and .Values.interceptor.tls.enabled .Values.interceptor.tls.certManager.enabled (not .Values.interceptor.tls.certManager.dnsNames) }}
{{- fail "interceptor.tls.certManager.enabled is true and its dnsNames are empty: name the hosts that clients ask for" }}
{{- end }}
{{- end -}}
