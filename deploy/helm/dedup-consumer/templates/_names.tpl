{{- define "dedup.name" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{- /* At most 40 characters: names of objects add up to 23, and all have to fit into a label. */}}
{{- define "dedup.fullname" -}}
{{- $name := include "dedup.name" . }}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) }}
{{- if gt (len $full) 40 }}
{{- printf "%s-%s" (trunc 31 $full | trimSuffix "-") (sha256sum $full | trunc 8) }}
{{- else }}
{{- $full }}
{{- end }}
{{- end }}

{{- /* All pods of the release. Nothing that an upgrade changes: selectors cannot be changed. */}}
{{- define "dedup.releaseSelector" -}}
app.kubernetes.io/name: {{ include "dedup.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods of a role. Takes {root, component}. */}}
{{- define "dedup.selector" -}}
{{ include "dedup.releaseSelector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Takes {root, component}. */}}
{{- define "dedup.labels" -}}
{{ include "dedup.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels of a pod: none that a new version of the chart alone would change, for that would move indexes. Takes {root, component}. */}}
{{- define "dedup.podLabels" -}}
{{ include "dedup.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dedup.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "dedup.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- /* Takes {root, own, variant}: a role's own repository, tag or digest names another image, of which the common digest is not. */}}
{{- define "dedup.image" -}}
{{- $image := .root.Values.image }}
{{- $repository := .own.repository | default $image.repository }}
{{- $tag := .own.tag | default (printf "%s%s" ($image.tag | default .root.Chart.AppVersion) .variant) }}
{{- $another := or .own.repository .own.tag .variant }}
{{- $digest := .own.digest | default (ternary $image.digest "" (empty $another)) }}
{{- if $digest }}
{{- printf "%s@%s" $repository $digest }}
{{- else }}
{{- printf "%s:%s" $repository $tag }}
{{- end }}
{{- end }}
