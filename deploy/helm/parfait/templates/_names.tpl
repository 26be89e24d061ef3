{{- define "parfait.name" -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "parfait.selector" -}}
app.kubernetes.io/name: parfait
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "parfait.labels" -}}
{{ include "parfait.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "parfait.secret" -}}
{{ .Values.existingSecret | default (include "parfait.name" .) }}
{{- end }}
