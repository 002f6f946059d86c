{{/* Flags of the server that not every version has. since: the first version that takes it, until: the first that does not.
num-scheduler-steps went with the engine V0. Up to 0.8.4 a switch took True or False, then argparse's --no- form alone. */}}
{{- define "vllmperf.flagTable" -}}
num-scheduler-steps: {since: 0.5.5, until: 0.10.1}
switch-with-value: {since: 0.0.0, until: 0.8.5}
{{- end }}

{{- define "vllmperf.serverVersion" -}}
{{- $given := .Values.vllm.version | default .Values.vllm.image.tag -}}
{{- $version := regexFind "[0-9]+\\.[0-9]+\\.[0-9]+" $given -}}
{{- if not $version }}
{{- fail (printf "vllm.image.tag %q does not say which version of vLLM it is: set vllm.version, like --set vllm.version=0.11.0" $given) }}
{{- end -}}
{{ $version }}
{{- end }}

{{- define "vllmperf.knows" -}}
{{- $range := index (include "vllmperf.flagTable" .root | fromYaml) .flag -}}
{{- if semverCompare (printf ">=%s, <%s" $range.since $range.until) (include "vllmperf.serverVersion" .root) }}yes{{ end -}}
{{- end }}

{{- define "vllmperf.serverArgs" -}}
{{- with .Values.vllm }}
{{- if .args }}
{{- toYaml .args }}
{{- else }}
- --model={{ if $.Values.modelStorage.enabled }}{{ $.Values.modelStorage.mountPath }}/{{ end }}{{ $.Values.servedModel }}
- --served-model-name={{ $.Values.servedModel }}
{{- if ne .tensorParallelSize nil }}
- --tensor-parallel-size={{ int .tensorParallelSize }}
{{- end }}
{{- if ne .maxNumBatchedTokens nil }}
- --max-num-batched-tokens={{ int .maxNumBatchedTokens }}
{{- end }}
{{- if ne .maxModelLen nil }}
- --max-model-len={{ int .maxModelLen }}
{{- end }}
{{- if and (ne .numSchedulerSteps nil) (include "vllmperf.knows" (dict "root" $ "flag" "num-scheduler-steps")) }}
- --num-scheduler-steps={{ int .numSchedulerSteps }}
{{- end }}
{{- if ne .enableChunkedPrefill nil }}
{{- if include "vllmperf.knows" (dict "root" $ "flag" "switch-with-value") }}
- --enable-chunked-prefill={{ ternary "True" "False" .enableChunkedPrefill }}
{{- else }}
- --{{ ternary "" "no-" .enableChunkedPrefill }}enable-chunked-prefill
{{- end }}
{{- end }}
{{- if ne .seed nil }}
- --seed={{ int .seed }}
{{- end }}
{{- if ne (int .port) 8000 }}
- --port={{ int .port }}
{{- end }}
{{- with .extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vllmperf.serverResources" -}}
{{- $count := .Values.vllm.gpu.count -}}
{{- if eq $count nil }}{{ $count = .Values.vllm.tensorParallelSize | default 1 }}{{ end -}}
{{- $resources := deepCopy .Values.vllm.resources -}}
{{- if int $count }}
{{- $resources = merge $resources (dict "limits" (dict .Values.vllm.gpu.resource (int $count))) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{- define "vllmperf.server" -}}
- name: vllm
  image: {{ printf "%s:%s" .Values.vllm.image.repository .Values.vllm.image.tag | quote }}
  imagePullPolicy: {{ .Values.vllm.image.pullPolicy }}
  {{- with .Values.vllm.command }}
  command:{{ toYaml . | nindent 4 }}
  {{- end }}
  args:{{ include "vllmperf.serverArgs" . | trim | nindent 4 }}
  env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    # The user of the container has no entry in /etc/passwd: caches of vLLM, Torch and Triton go below HOME.
    - {name: HOME, value: /home/vllm}
    - {name: USER, value: vllm}
    - {name: HF_HOME, value: /home/vllm/huggingface}
    {{- include "vllmperf.hfEnv" . | trim | nindent 4 }}
    {{- with .Values.vllm.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: vllm, containerPort: {{ int .Values.vllm.port }}}
  startupProbe:
    httpGet: {path: /health, port: vllm}
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: {{ max 1 (div (int .Values.vllm.startupTimeoutSeconds) 5) }}
  readinessProbe:
    httpGet: {path: /health, port: vllm}
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: 3
  livenessProbe: # a server under full load answers late: a minute of silence is what ends it
    httpGet: {path: /health, port: vllm}
    periodSeconds: 20
    timeoutSeconds: 20
    failureThreshold: 3
  resources:{{ include "vllmperf.serverResources" . | nindent 4 }}
  securityContext:{{ include "vllmperf.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: shm, mountPath: /dev/shm}
    - {name: vllm-home, mountPath: /home/vllm}
    - {name: vllm-tmp, mountPath: /tmp}
    {{- if .Values.modelStorage.enabled }}
    - {name: model-storage, mountPath: {{ .Values.modelStorage.mountPath }}, readOnly: true}
    {{- end }}
{{- end }}

{{- define "vllmperf.download" -}}
- name: download-model
  image: {{ printf "%s:%s" .Values.vllm.image.repository .Values.vllm.image.tag | quote }}
  imagePullPolicy: {{ .Values.vllm.image.pullPolicy }}
  command: [python3, -c]
  args:
    - |
      import sys
      from huggingface_hub import snapshot_download
      snapshot_download(sys.argv[1], local_dir=sys.argv[2])
    - {{ .Values.servedModel | quote }}
    - {{ .Values.modelStorage.mountPath }}/{{ .Values.servedModel }}
  env:
    - {name: HOME, value: /home/vllm}
    - {name: HF_HOME, value: /home/vllm/huggingface}
    {{- include "vllmperf.hfEnv" . | trim | nindent 4 }}
  resources:
    requests: {cpu: "1", memory: 1Gi}
    limits: {memory: 8Gi}
  securityContext:{{ include "vllmperf.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: vllm-home, mountPath: /home/vllm}
    - {name: vllm-tmp, mountPath: /tmp}
    - {name: model-storage, mountPath: {{ .Values.modelStorage.mountPath }}}
{{- end }}
