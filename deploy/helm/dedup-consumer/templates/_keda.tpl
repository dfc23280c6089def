{{- /* How KEDA speaks to Kafka, read off the encoder's own settings: {metadata: of the trigger, spec: of its TriggerAuthentication}. */}}
{{- define "dedup.kedaAuthentication" -}}
{{- $properties := .Values.config.kafka.properties | default dict }}
{{- $protocol := get $properties "security.protocol" | default "PLAINTEXT" | toString | upper }}
{{- $metadata := dict }}
{{- $spec := dict }}
{{- if hasSuffix "SSL" $protocol }}
{{- $_ := set $metadata "tls" "enable" }}
{{- with include "dedup.kedaCertificates" .Values.kafka.tls | fromJsonArray }}
{{- $_ := set $spec "secretTargetRef" . }}
{{- end }}
{{- end }}
{{- if hasPrefix "SASL" $protocol }}
{{- $_ := set $metadata "sasl" (include "dedup.kedaMechanism" $properties) }}
{{- $given := include "dedup.secretEnv" (dict "root" . "of" .Values.encoder) }}
{{- $env := list }}
{{- range $parameter := list "username" "password" }}
{{- $name := include "dedup.propertyEnv" (printf "sasl.%s" $parameter) }}
{{- if not (contains $name $given) }}
{{- fail (printf "\n\nencoder.autoscaling.mode is keda, and KEDA has no sasl.%s: it reads the encoder's environment. Name its key in kafka.secretKeys%s.\n" $parameter (ternary ", or set encoder.kafkaUser" "" (eq $parameter "username"))) }}
{{- end }}
{{- $env = append $env (dict "parameter" $parameter "name" $name "containerName" "encoder") }}
{{- end }}
{{- $_ := set $spec "env" $env }}
{{- end }}
{{- toYaml (dict "metadata" $metadata "spec" $spec) }}
{{- end }}

{{- define "dedup.kedaCertificates" -}}
{{- $refs := list }}
{{- with .ca }}{{- if .existingSecret }}
{{- $refs = append $refs (dict "parameter" "ca" "name" .existingSecret "key" .key) }}
{{- end }}{{- end }}
{{- with .client }}{{- if .existingSecret }}
{{- $refs = append $refs (dict "parameter" "cert" "name" .existingSecret "key" .certificateKey) }}
{{- $refs = append $refs (dict "parameter" "key" "name" .existingSecret "key" .privateKeyKey) }}
{{- end }}{{- end }}
{{- toJson $refs }}
{{- end }}

{{- define "dedup.kedaMechanism" -}}
{{- $mechanism := coalesce (get . "sasl.mechanism") (get . "sasl.mechanisms") "GSSAPI" }}
{{- $known := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" }}
{{- if not (hasKey $known $mechanism) }}
{{- fail (printf "\n\nencoder.autoscaling.mode is keda, and config.kafka.properties has sasl.mechanism %s, for which the chart makes no KEDA trigger: use %s, or mode hpa.\n" $mechanism (keys $known | sortAlpha | join ", ")) }}
{{- end }}
{{- get $known $mechanism }}
{{- end }}
