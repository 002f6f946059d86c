{{/* The name of a Service must begin with a letter and holds no dots; 44 leave room for -aggregate-01234567 in the 63 of a Job's. */}}
{{- define "vllmperf.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if not (contains .Chart.Name $release) }}{{ $release = printf "%s-%s" $release .Chart.Name }}{{ end -}}
{{- if regexMatch "^[0-9]" $release }}{{ $release = printf "release-%s" $release }}{{ end -}}
{{ $release | trunc 44 | trimSuffix "-" }}
{{- end }}

{{- define "vllmperf.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "vllmperf.labels" -}}
{{ include "vllmperf.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "vllmperf.generatorImage" -}}
{{ printf "%s:%s" .Values.loadGenerator.image.repository (.Values.loadGenerator.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}

{{/* Where a load goes when it does not say. */}}
{{- define "vllmperf.targetHost" -}}
{{- if not .Values.vllm.enabled }}{{ .Values.target.host }}
{{- else if .Values.aggregate }}localhost
{{- else }}{{ .Values.vllm.host }}{{ end -}}
{{- end }}
{{- define "vllmperf.targetPort" -}}
{{- if .Values.vllm.enabled }}{{ int .Values.vllm.port }}{{ else }}{{ int .Values.target.port }}{{ end -}}
{{- end }}

{{/* benchmarkSpecs, each with host, port and model. */}}
{{- define "vllmperf.specs" -}}
{{- $own := dict "host" (include "vllmperf.targetHost" . | trimAll "[]") "port" (include "vllmperf.targetPort" . | int) "model" .Values.servedModel -}}
{{- $specs := list -}}
{{- range .Values.benchmarkSpecs }}
{{- $specs = append $specs (ternary (merge (deepCopy .) $own) . (eq (.kind | default "start-load") "start-load")) -}}
{{- end -}}
{{ toYaml (dict "benchmarkSpecs" $specs) }}
{{- end }}

{{/* Secrets: which one, and whether this chart makes it. */}}
{{- define "vllmperf.tokenSecret" -}}
{{ .Values.loadGenerator.token.existingSecret | default (printf "%s-token" (include "vllmperf.fullname" .)) }}
{{- end }}
{{- define "vllmperf.tokenKey" -}}
{{ ternary .Values.loadGenerator.token.key "token" (ne .Values.loadGenerator.token.existingSecret "") }}
{{- end }}
{{- define "vllmperf.hfSecret" -}}
{{- if .Values.hfTokenSecret.name }}{{ .Values.hfTokenSecret.name }}
{{- else if .Values.hfToken }}{{ include "vllmperf.fullname" . }}-hf{{ end -}}
{{- end }}
{{- define "vllmperf.hfKey" -}}
{{ ternary .Values.hfTokenSecret.key "HF_TOKEN" (ne .Values.hfTokenSecret.name "") }}
{{- end }}
{{- define "vllmperf.bucketSecret" -}}
{{- if .Values.results.existingSecret }}{{ .Values.results.existingSecret }}
{{- else if .Values.results.accessKeyId }}{{ include "vllmperf.fullname" . }}-results{{ end -}}
{{- end }}

{{- define "vllmperf.modelClaim" -}}
{{ .Values.modelStorage.existingClaim | default (printf "%s-model-storage" (include "vllmperf.fullname" .)) }}
{{- end }}

{{- define "vllmperf.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}
{{- define "vllmperf.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int .Values.securityContext.runAsUser }}
runAsGroup: {{ int .Values.securityContext.runAsGroup }}
fsGroup: {{ int .Values.securityContext.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "vllmperf.hfEnv" -}}
{{- with include "vllmperf.hfSecret" . }}
- name: HF_TOKEN
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ include "vllmperf.hfKey" $ | quote }}}}
{{- end }}
{{- end }}

{{- define "vllmperf.tokenEnv" -}}
- name: VLLMPERF_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "vllmperf.tokenSecret" . | quote }}, key: {{ include "vllmperf.tokenKey" . | quote }}}}
{{- end }}

{{- define "vllmperf.resultsEnv" -}}
{{- with .Values.results }}
{{- if .bucket }}
- {name: BENCHMARK_RESULTS_BUCKET, value: {{ .bucket | quote }}}
- {name: BENCHMARK_RESULTS_DIRECTORY, value: {{ .directory | quote }}}
{{- with .endpointUrl }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- with include "vllmperf.bucketSecret" $ }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ include "vllmperf.bucketSecret" $ | quote }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
