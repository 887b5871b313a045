{{- define "punchstream.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "punchstream.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "punchstream.selector" -}}
app.kubernetes.io/name: punchstream
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "punchstream.labels" -}}
{{ include "punchstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* The port of health and metrics: those of attendance/health.py, in its order. */}}
{{- define "punchstream.port" -}}
{{- $ports := dict "push" 9641 "pull" 9642 "directory" 9643 "stream" 9644 "sink" 9645 "completeness" 9646 "ledger" 9647 "console" 9648 -}}
{{- get $ports . -}}
{{- end -}}

{{/* What the names of the settings begin with that a process reads: no stage gets the secrets of another. */}}
{{- define "punchstream.reads" -}}
{{- $all := list "KAFKA_" "CLOCK_" "DEDUP_" "FUTURE_TOLERANCE" "LOG_" "TRACING_" "UNREAD_DAYS" "DEAD_LETTER_DAYS" "PUNCHSTREAM_DEVICES" -}}
{{- $own := dict
  "push" (list "PUSH_" "SEAL_")
  "pull" (list "PULL_" "PUSH_PAYLOAD_FIELDS" "SEAL_")
  "directory" (list "ERPNEXT_" "DIRECTORY_")
  "stream" (list "PUNCH_WINDOW" "WAITING_" "STREAM_")
  "sink" (list "ERPNEXT_" "SINK_")
  "completeness" (list "ERPNEXT_" "COMPLETENESS_")
  "ledger" (list "LEDGER_" "ERPNEXT_" "PULL_")
  "console" (list "CONSOLE_" "LEDGER_" "ERPNEXT_" "SEAL_" "PULL_" "PUSH_PAYLOAD_FIELDS")
  "operator" (list "ERPNEXT_" "LEDGER_" "SEAL_" "PULL_" "PUSH_PAYLOAD_FIELDS" "SINK_")
-}}
{{- concat $all (get $own .) | toJson -}}
{{- end -}}

{{- define "punchstream.env" -}}
{{- $root := .root -}}{{- $part := .part -}}
{{- $settings := mergeOverwrite (dict) $root.Values.settings (dig $part "settings" (dict) $root.Values.stages) -}}
{{- if $root.Values.strimzi.enabled -}}
{{- $settings = mergeOverwrite $settings (include "punchstream.strimziSettings" . | fromYaml) -}}
{{- end -}}
{{- $reads := include "punchstream.reads" $part | fromJsonArray -}}
{{- range $name := concat (keys $settings) (keys $root.Values.secretSettings) | uniq | sortAlpha -}}
{{- $value := get $settings $name -}}
{{- $secret := get $root.Values.secretSettings $name -}}
{{- range $prefix := $reads -}}
{{- if hasPrefix $prefix $name }}
{{- if $secret }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret.secret | quote }}, key: {{ $secret.key | quote }}}
{{- else if ne (toString $value) "" }}
- name: {{ $name }}
  value: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "punchstream.strimziSettings" -}}
KAFKA_SASL_MECHANISM: SCRAM-SHA-512
KAFKA_SASL_USERNAME: {{ include "punchstream.name" .root }}-{{ .part }}
KAFKA_SASL_PASSWORD_FILE: /etc/punchstream/kafka/password
KAFKA_SECURITY_PROTOCOL: SASL_SSL
KAFKA_SSL_CAFILE: /etc/punchstream/kafka-ca/ca.crt
{{- end -}}

{{- define "punchstream.kafkaSecret" -}}
{{- if .root.Values.strimzi.enabled -}}{{ include "punchstream.name" .root }}-{{ .part }}{{- else -}}{{ .root.Values.kafkaFiles.secret }}{{- end -}}
{{- end -}}

{{- define "punchstream.caSecret" -}}
{{- if .Values.strimzi.enabled -}}{{ .Values.strimzi.cluster }}-cluster-ca-cert{{- else -}}{{ .Values.kafkaFiles.caSecret }}{{- end -}}
{{- end -}}

{{/* What every pod has: no root, no right, nothing that can be written but its volumes. */}}
{{- define "punchstream.pod" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
# A Service named push would set PUSH_PORT, which is a setting.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: tmp
    emptyDir: {}
  - name: data
    emptyDir: {}
{{- with include "punchstream.kafkaSecret" . }}
  - name: kafka
    secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- with include "punchstream.caSecret" .root }}
  - name: kafka-ca
    secret: {secretName: {{ . | quote }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "punchstream.container" -}}
image: {{ include "punchstream.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: data, mountPath: /var/lib/punchstream}
{{- if include "punchstream.kafkaSecret" . }}
  - {name: kafka, mountPath: /etc/punchstream/kafka, readOnly: true}
{{- end }}
{{- if include "punchstream.caSecret" .root }}
  - {name: kafka-ca, mountPath: /etc/punchstream/kafka-ca, readOnly: true}
{{- end }}
{{- end -}}
