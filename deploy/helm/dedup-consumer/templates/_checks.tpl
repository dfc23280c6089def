{{- /* What a schema cannot say. All faults at once, each with what to do. */}}
{{- define "dedup.checks" -}}
{{- $faults := concat
  (include "dedup.secretFaults" . | fromJsonArray)
  (include "dedup.kafkaFaults" . | fromJsonArray)
  (include "dedup.replicaFaults" . | fromJsonArray) }}
{{- if $faults }}
{{- fail (printf "\n\n%s\n" (join "\n\n" $faults)) }}
{{- end }}
{{- end }}

{{- define "dedup.secretFaults" -}}
{{- $faults := list }}
{{- $create := printf "kubectl -n %s create secret generic" .Release.Namespace }}
{{- if not (or .Values.redis.existingSecret (and .Values.matcher.redisSecret .Values.tests.redisSecret)) }}
{{- $faults = append $faults (printf "redis.existingSecret is missing: the address of Redis is a secret. Make one and name it:\n  %s dedup-redis --from-literal=url=redis://:PASSWORD@redis:6379/0" $create) }}
{{- end }}
{{- if not .Values.privacy.existingSecret }}
{{- $faults = append $faults (printf "privacy.existingSecret is missing: it keys the n-gram hashes and the cluster ids. Make one, keep a copy, and name it:\n  %s dedup-privacy --from-literal=key=\"$(openssl rand -hex 32)\"" $create) }}
{{- end }}
{{- if and .Values.kafka.existingSecret (not .Values.kafka.secretKeys) }}
{{- $faults = append $faults "kafka.existingSecret is set, and kafka.secretKeys says of none of its keys what it is: set kafka.secretKeys, such as {sasl.password: password}." }}
{{- end }}
{{- if and .Values.kafka.secretKeys (not .Values.kafka.existingSecret) }}
{{- $roles := list (dict "at" "encoder" "on" true) (dict "at" "matcher" "on" true) (dict "at" "tests" "on" true)
  (dict "at" "topicsJob" "on" .Values.topicsJob.enabled) (dict "at" "loadtest" "on" .Values.loadtest.enabled) }}
{{- range $role := $roles }}
{{- if and $role.on (not (get $.Values $role.at).kafkaSecret) }}
{{- $faults = append $faults (printf "kafka.secretKeys is set, and %s has no Secret to read them from: set kafka.existingSecret or %s.kafkaSecret." $role.at $role.at) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "dedup.kafkaFaults" -}}
{{- $faults := list }}
{{- $properties := .Values.config.kafka.properties | default dict }}
{{- $protocol := get $properties "security.protocol" | default "PLAINTEXT" | toString | upper }}
{{- if not .Values.config.kafka.bootstrap_servers }}
{{- $faults = append $faults "config.kafka.bootstrap_servers is missing: name the brokers, host:port[,host:port]." }}
{{- end }}
{{- if eq .Values.encoder.autoscaling.mode "keda" }}
{{- range $broker := .Values.config.kafka.bootstrap_servers | nospace | splitList "," | compact }}
{{- if not (contains "." $broker) }}
{{- $faults = append $faults (printf "config.kafka.bootstrap_servers names %s: KEDA asks the brokers from a namespace of its own, where that name means nothing. Write it whole, such as %s.%s.svc:9092, here and in what the brokers advertise." $broker (splitList ":" $broker | first) $.Release.Namespace) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (or .Values.kafka.tls.ca.existingSecret .Values.kafka.tls.client.existingSecret) (not (hasSuffix "SSL" $protocol)) }}
{{- $faults = append $faults (printf "kafka.tls is set, and config.kafka.properties has security.protocol %s: set it to SSL or SASL_SSL." $protocol) }}
{{- end }}
{{- if not (include "dedup.profile" . | fromYaml).input }}
{{- $faults = append $faults (printf "config.profile is %s: say signup, listing, or /etc/dedup/profiles/<name> for one of `profiles`, and give that a name and an input." .Values.config.profile) }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{- define "dedup.replicaFaults" -}}
{{- $faults := list }}
{{- $partitions := .Values.config.topics.partitions | int }}
{{- $standby := (.Values.config.state | default dict).standby }}
{{- $scaling := .Values.encoder.autoscaling }}
{{- if eq $scaling.mode "none" }}
{{- if gt (int .Values.encoder.replicas) $partitions }}
{{- $faults = append $faults (printf "encoder.replicas is %d and config.topics.partitions %d: those above it would stand idle." (int .Values.encoder.replicas) $partitions) }}
{{- end }}
{{- else }}
{{- if gt (int $scaling.maxReplicas) $partitions }}
{{- $faults = append $faults (printf "encoder.autoscaling.maxReplicas is %d and config.topics.partitions %d: those above it would stand idle." (int $scaling.maxReplicas) $partitions) }}
{{- end }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- $faults = append $faults "encoder.autoscaling.minReplicas is above maxReplicas." }}
{{- end }}
{{- end }}
{{- if and (gt (int .Values.matcher.replicas) $partitions) (not $standby) }}
{{- $faults = append $faults (printf "matcher.replicas is %d and config.topics.partitions %d: those above it would own nothing. With config.state.standby they stand by." (int .Values.matcher.replicas) $partitions) }}
{{- end }}
{{- toJson $faults }}
{{- end }}
