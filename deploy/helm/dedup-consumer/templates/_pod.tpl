{{- /* Every pod: no token, no other user than ours, no more than Pod Security `restricted` allows. Takes the root. */}}
{{- define "dedup.pod" -}}
automountServiceAccountToken: false
# a Service called dedup-… would be an environment variable DEDUP_…
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ quote . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dedup.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Where the pods of a role go. Takes {root, component, of}, `of` being its values. */}}
{{- define "dedup.scheduling" -}}
{{- with .of.priorityClassName }}
priorityClassName: {{ quote . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .of.topologySpreadConstraints }}
  {{- toYaml .of.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "dedup.selector" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Metadata of a role's pods: they are replaced when the settings change. Takes {root, component, of}. */}}
{{- define "dedup.podMetadata" -}}
labels:
  {{- include "dedup.podLabels" . | nindent 2 }}
  {{- with .of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include "dedup.configMapData" .root | sha256sum }}
  {{- with .of.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Takes {of}. Live: the loops turn, also while models and snapshots load. Ready: the stage does its work. */}}
{{- define "dedup.probes" -}}
ports:
  - {name: http, containerPort: 9464}
startupProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ divf .of.startupSeconds 5 | ceil }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- /* SIGTERM is what drains; the pod works on until then. Takes the root. */}}
{{- define "dedup.preStop" -}}
{{- with .Values.preStopSleepSeconds }}
lifecycle:
  preStop:
    sleep: {seconds: {{ . }}}
{{- end }}
{{- end }}

{{- /* Seconds from the wish to end a pod to SIGKILL. Takes {root, drains}: the loops of a process are drained one after the other. */}}
{{- define "dedup.gracePeriod" -}}
{{- $values := .root.Values }}
{{- add (mulf $values.config.limits.drain_seconds .drains | ceil) $values.preStopSleepSeconds 10 }}
{{- end }}

{{- define "dedup.mounts" -}}
- {name: config, mountPath: /etc/dedup, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "dedup.tmpVolume" -}}
name: tmp
emptyDir: {sizeLimit: 64Mi}
{{- end }}
