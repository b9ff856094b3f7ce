{{/* Parts of pod templates. Most are called with (dict "root" $ "part" "manager" "values" .Values.manager). */}}

{{- define "plimsoll.pod.security" -}}
runAsNonRoot: true
{{- range $what, $id := .Values.podSecurity }}
{{- if not (kindIs "invalid" $id) }}
{{ $what }}: {{ int $id }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "plimsoll.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "plimsoll.container.image" -}}
image: {{ include "plimsoll.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "plimsoll.container.security" . | nindent 2 }}
{{- end -}}

{{- define "plimsoll.pod.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* With "labels": those that the pods to spread share. */}}
{{- define "plimsoll.pod.spread" -}}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where pods run; "values" has nodeSelector, tolerations, affinity. */}}
{{- define "plimsoll.pod.place" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A value as text. A number of a value file is floating point to helm, which would write a million as 1e+06. */}}
{{- define "plimsoll.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* Arguments that all parts take. */}}
{{- define "plimsoll.args.common" -}}
- --log={{ .root.Values.log.level }}
- --log-format={{ .root.Values.log.format }}
- --kafka={{ join "," .root.Values.kafka.brokers }}
{{- end -}}

{{/* What users add; last, so that it can be seen beside what the chart says. templates/checks.yaml refuses what the chart says itself. */}}
{{- define "plimsoll.args.own" -}}
{{- range $flag, $value := .values.settings }}
- {{ printf "--%s=%s" $flag (include "plimsoll.text" $value) | quote }}
{{- end }}
{{- range .values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "plimsoll.args.store" -}}
{{- if eq .Values.store.kind "etcd" -}}
- --store=etcd
- --etcd={{ join "," .Values.store.etcd.endpoints }}
- --etcd-prefix={{ .Values.store.etcd.prefix }}
{{- else -}}
- --store=configmap
- --store-namespace={{ .Release.Namespace }}
- --store-prefix={{ include "plimsoll.fullname" . }}
{{- end -}}
{{- end -}}

{{- define "plimsoll.kafka.config" -}}
{{- $settings := list -}}
{{- $tls := .Values.kafka.tls -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- if or $tls.enabled $sasl.mechanism -}}
{{- $protocol := ternary (ternary "sasl_ssl" "ssl" (ne $sasl.mechanism "")) "sasl_plaintext" $tls.enabled -}}
{{- $settings = append $settings (printf "security.protocol=%s" $protocol) -}}
{{- end -}}
{{- if $tls.enabled -}}
{{- if $tls.ca.secretName -}}
{{- $settings = append $settings "ssl.ca.location=/etc/plimsoll/kafka/ca/ca.crt" -}}
{{- else -}}
{{- /* Left alone, librdkafka's own OpenSSL looks for the system's authorities where the image has none. */ -}}
{{- $settings = append $settings "ssl.ca.location=probe" -}}
{{- end -}}
{{- if $tls.client.secretName -}}
{{- $settings = append $settings "ssl.certificate.location=/etc/plimsoll/kafka/client/tls.crt" -}}
{{- $settings = append $settings "ssl.key.location=/etc/plimsoll/kafka/client/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if $sasl.mechanism -}}
{{- $settings = append $settings (printf "sasl.mechanisms=%s" $sasl.mechanism) -}}
{{- $settings = append $settings "sasl.username=$(KAFKA_USERNAME)" -}}
{{- $settings = append $settings "sasl.password=$(KAFKA_PASSWORD)" -}}
{{- end -}}
{{- range $key, $value := .Values.kafka.config -}}
{{- $settings = append $settings (printf "%s=%s" $key (include "plimsoll.text" $value)) -}}
{{- end -}}
{{- join ";" $settings -}}
{{- end -}}

{{/* Secrets come by reference; the kubelet puts them in where the settings name them. */}}
{{- define "plimsoll.env.common" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- if .root.Values.kafka.sasl.mechanism }}
{{- range $variable, $key := dict "KAFKA_USERNAME" .root.Values.kafka.sasl.usernameKey "KAFKA_PASSWORD" .root.Values.kafka.sasl.passwordKey }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $.root.Values.kafka.sasl.secretName }}, key: {{ $key }}}
{{- end }}
{{- end }}
{{- with include "plimsoll.kafka.config" .root }}
- name: PLIMSOLL_KAFKA_CONFIG
  value: {{ . | quote }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "plimsoll.volumes.kafka" -}}
{{- with .Values.kafka.tls }}
{{- if and .enabled .ca.secretName }}
- name: kafka-ca
  secret:
    secretName: {{ .ca.secretName }}
    items: [{key: {{ .ca.key }}, path: ca.crt}]
{{- end }}
{{- if and .enabled .client.secretName }}
- name: kafka-client
  secret: {secretName: {{ .client.secretName }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "plimsoll.mounts.kafka" -}}
{{- with .Values.kafka.tls }}
{{- if and .enabled .ca.secretName }}
- {name: kafka-ca, mountPath: /etc/plimsoll/kafka/ca, readOnly: true}
{{- end }}
{{- if and .enabled .client.secretName }}
- {name: kafka-client, mountPath: /etc/plimsoll/kafka/client, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}
