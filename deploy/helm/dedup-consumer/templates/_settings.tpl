{{- /* The settings file: what the user says, and what follows from the chart's own volumes, ports and Secrets. */}}
{{- define "dedup.settings" -}}
{{- $own := dict
  "topics" (dict "create" false)
  "state" (dict "directory" "/var/lib/dedup")
  "http" (dict "port" 9464) }}
{{- $tls := dict }}
{{- with .Values.kafka.tls.ca.existingSecret }}
{{- $_ := set $tls "ssl.ca.location" "/etc/dedup/kafka-tls/ca.crt" }}
{{- end }}
{{- with .Values.kafka.tls.client.existingSecret }}
{{- $_ := set $tls "ssl.certificate.location" "/etc/dedup/kafka-tls/tls.crt" }}
{{- $_ := set $tls "ssl.key.location" "/etc/dedup/kafka-tls/tls.key" }}
{{- end }}
{{- with $tls }}
{{- $_ := set $own "kafka" (dict "properties" .) }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) }}
{{- end }}

{{- /* Data of a ConfigMap. */}}
{{- define "dedup.configMapData" -}}
settings.yaml: |
  {{- include "dedup.settings" . | nindent 2 }}
{{- range $name, $text := .Values.profiles }}
profile.{{ $name }}: |
  {{- $text | trim | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The volume of /etc/dedup. Takes {root, configMap}. */}}
{{- define "dedup.configVolume" -}}
{{- $values := .root.Values -}}
name: config
projected:
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ .configMap }}
        items:
          - {key: settings.yaml, path: settings.yaml}
          {{- range $name, $_ := $values.profiles }}
          - {key: profile.{{ $name }}, path: profiles/{{ $name }}}
          {{- end }}
    {{- range $service := list "kafka" "redis" }}
    {{- $tls := (get $values $service).tls }}
    {{- with $tls.ca.existingSecret }}
    - secret:
        name: {{ quote . }}
        items:
          - {key: {{ quote $tls.ca.key }}, path: {{ $service }}-tls/ca.crt}
    {{- end }}
    {{- with $tls.client.existingSecret }}
    - secret:
        name: {{ quote . }}
        items:
          - {key: {{ quote $tls.client.certificateKey }}, path: {{ $service }}-tls/tls.crt}
          - {key: {{ quote $tls.client.privateKeyKey }}, path: {{ $service }}-tls/tls.key}
    {{- end }}
    {{- end }}
{{- end }}

{{- /* Environment from Secrets. Takes {root, of, redis, privacy}: a pod gets those of what it speaks to, `of` being its role's values. */}}
{{- define "dedup.secretEnv" -}}
{{- $values := .root.Values }}
{{- $kafka := .of.kafkaSecret | default $values.kafka.existingSecret }}
{{- with .of.kafkaUser }}
- {name: {{ include "dedup.propertyEnv" "sasl.username" }}, value: {{ quote . }}}
{{- end }}
{{- range $property, $key := ternary (omit $values.kafka.secretKeys "sasl.username") $values.kafka.secretKeys (ne .of.kafkaUser "") }}
- name: {{ include "dedup.propertyEnv" $property }}
  valueFrom: {secretKeyRef: {name: {{ quote $kafka }}, key: {{ quote $key }}}}
{{- end }}
{{- if .redis }}
- name: DEDUP_REDIS__URL
  valueFrom: {secretKeyRef: {name: {{ .of.redisSecret | default $values.redis.existingSecret | quote }}, key: {{ quote $values.redis.secretKeys.url }}}}
{{- end }}
{{- if .privacy }}
{{- range $setting, $key := $values.privacy.secretKeys }}
- name: DEDUP_PRIVACY__{{ upper $setting }}
  valueFrom: {secretKeyRef: {name: {{ quote $values.privacy.existingSecret }}, key: {{ quote $key }}}}
{{- end }}
{{- end }}
{{- end }}

{{- /* librdkafka property → environment variable. */}}
{{- define "dedup.propertyEnv" -}}
DEDUP_KAFKA__PROPERTIES__{{ . | replace "." "_" | upper }}
{{- end }}

{{- /* The profile as YAML: one of `profiles`, or what the chart has to know of those that come with the service. */}}
{{- define "dedup.profile" -}}
{{- $known := dict
  "signup" "{name: signup, input: signups}"
  "listing" "{name: listing, input: listings}" }}
{{- range $name, $text := .Values.profiles }}
{{- $_ := set $known (printf "/etc/dedup/profiles/%s" $name) $text }}
{{- end }}
{{- get $known .Values.config.profile }}
{{- end }}

{{- /* Ports of the brokers, as a JSON list. */}}
{{- define "dedup.brokerPorts" -}}
{{- $ports := list }}
{{- range splitList "," .Values.config.kafka.bootstrap_servers }}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | default "9092" | int) }}
{{- end }}
{{- uniq $ports | toJson }}
{{- end }}
