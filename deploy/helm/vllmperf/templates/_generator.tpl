{{- define "vllmperf.generator" -}}
- name: load-generator
  image: {{ include "vllmperf.generatorImage" . }}
  imagePullPolicy: {{ .Values.loadGenerator.image.pullPolicy }}
  command: [vllmperf]
  args:
    - serve
    - {{ printf "--host=%s" .Values.loadGenerator.listen | quote }}
    - --port={{ int .Values.loadGenerator.port }}
    - --data=/data
    - --queue-limit={{ int .Values.loadGenerator.queueLimit }}
    - --parallel-runs={{ int .Values.loadGenerator.parallelRuns }}
    - {{ printf "--allow-target=%s:%s" (include "vllmperf.targetHost" .) (include "vllmperf.targetPort" .) | quote }}
    {{- if not (and .Values.vllm.enabled .Values.modelStorage.enabled) }}
    - --allow-target=hub # for the tokenizer of the model
    {{- end }}
    {{- if and .Values.vllm.enabled .Values.aggregate }}
    - --allow-target=$(POD_IP):{{ int .Values.vllm.port }}
    {{- end }}
    {{- range .Values.loadGenerator.allowTargets }}
    - {{ printf "--allow-target=%s" . | quote }}
    {{- end }}
    {{- if and .Values.benchmarkSpecs (not .Values.aggregate) }}
    - --specs=/etc/vllmperf/specs.yaml
    {{- end }}
    {{- with .Values.loadGenerator.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: HOME, value: /tmp}
    {{- include "vllmperf.tokenEnv" . | nindent 4 }}
    {{- include "vllmperf.hfEnv" . | trim | nindent 4 }}
    {{- if not .Values.aggregate }}
    {{- include "vllmperf.resultsEnv" . | trim | nindent 4 }}
    {{- end }}
    {{- with .Values.loadGenerator.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: http, containerPort: {{ int .Values.loadGenerator.port }}}
  startupProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 1
    failureThreshold: 120
  readinessProbe: # answers while a load waits for the server, and says so
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 5
  livenessProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 20
    timeoutSeconds: 20
    failureThreshold: 6
  resources:{{ toYaml .Values.loadGenerator.resources | nindent 4 }}
  securityContext:{{ include "vllmperf.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /data}
    - {name: generator-tmp, mountPath: /tmp}
    {{- if and .Values.benchmarkSpecs (not .Values.aggregate) }}
    - {name: specs, mountPath: /etc/vllmperf, readOnly: true}
    {{- end }}
    {{- if and .Values.vllm.enabled .Values.modelStorage.enabled }}
    # where loads look for a model's tokenizer: the folder of its name in the data folder
    - {name: model-storage, mountPath: /data/{{ .Values.servedModel }}, subPath: {{ .Values.servedModel | quote }}, readOnly: true}
    {{- end }}
{{- end }}

{{/* The texts that the image brings, such as app/sonnet.txt, in the data folder, where loads look for them. */}}
{{- define "vllmperf.texts" -}}
- name: texts
  image: {{ include "vllmperf.generatorImage" . }}
  imagePullPolicy: {{ .Values.loadGenerator.image.pullPolicy }}
  command: [python3, -c, "import shutil; shutil.copytree('/app', '/data/app', dirs_exist_ok=True)"]
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  securityContext:{{ include "vllmperf.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /data}
{{- end }}
