{{/* The name of all objects: the release's, and the chart's unless the release is called by it. */}}
{{- define "gavel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a component: never changes, since selectors of a Deployment cannot. */}}
{{- define "gavel.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "gavel.vllm.selector" -}}
app.kubernetes.io/name: vllm
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: model
{{- end -}}

{{- define "gavel.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gavel
{{- end -}}

{{- define "gavel.labels" -}}
{{ include "gavel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "gavel.commonLabels" . }}
{{- end -}}

{{- define "gavel.vllm.labels" -}}
{{ include "gavel.vllm.selector" . }}
{{ include "gavel.commonLabels" . }}
{{- end -}}

{{- define "gavel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gavel.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The secret of the servers' key; empty if they ask for none. */}}
{{- define "gavel.apiKeySecret" -}}
{{- with .Values.remote.apiKey -}}
{{- if .existingSecret -}}{{ .existingSecret }}{{- else if .value -}}{{ include "gavel.fullname" $ }}-servers{{- end -}}
{{- end -}}
{{- end -}}

{{/* The addresses of the servers, as a JSON object {urls}. The pods of a StatefulSet have names of their own. */}}
{{- define "gavel.urls" -}}
{{- $name := include "gavel.fullname" . -}}
{{- $urls := .Values.remote.urls -}}
{{- if .Values.vllm.enabled -}}
{{- if .Values.vllm.autoscaling.enabled -}}
{{- $urls = list (printf "http://%s-vllm.%s:8000" $name .Release.Namespace) -}}
{{- else -}}
{{- $urls = list -}}
{{- range $i := until (int .Values.vllm.replicas) -}}
{{- $urls = append $urls (printf "http://%s-vllm-%d.%s-vllm-pods.%s:8000" $name $i $name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "urls" $urls | toJson -}}
{{- end -}}

{{/* Gavel's configuration as YAML: what follows from the values, then `config` over it. */}}
{{- define "gavel.config" -}}
{{- $config := dict "engine" .Values.engine -}}
{{- if not .Values.config.models -}}
{{- with .Values.model }}{{- $_ := set $config "model" . -}}{{- end -}}
{{- end -}}
{{- if eq .Values.engine "remote" -}}
{{- $remote := dict "sequences" .Values.remote.sequences "retries" .Values.remote.retries -}}
{{- with (include "gavel.urls" . | fromJson).urls }}{{- $_ := set $remote "urls" . -}}{{- end -}}
{{- with .Values.remote.tokenizer }}{{- $_ := set $remote "tokenizer" . -}}{{- end -}}
{{- $_ := set $config "remote" $remote -}}
{{- /* Judgements in flight are at least as many; 256 is Gavel's default. */ -}}
{{- $_ := set $config "limits" (dict "in_flight" (max 256 .Values.remote.sequences)) -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/*
A table of TOML and those in it, from {table, path}. Helm's own toToml writes whole numbers as fractions.
A JSON text, number, boolean or list of them is TOML too.
*/}}
{{- define "gavel.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (include "gavel.isTables" $value)) }}
{{ include "gavel.tomlKey" $key }} = {{ toJson $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- $name := append $path (include "gavel.tomlKey" $key) -}}
{{- if kindIs "map" $value }}

[{{ join "." $name }}]
{{- include "gavel.toml" (dict "table" $value "path" $name) -}}
{{- else if include "gavel.isTables" $value -}}
{{- range $value }}

[[{{ join "." $name }}]]
{{- include "gavel.toml" (dict "table" . "path" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gavel.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* Not empty if a value is a list of tables. */}}
{{- define "gavel.isTables" -}}
{{- if kindIs "slice" . -}}{{- if . -}}{{- if kindIs "map" (first .) -}}yes{{- end -}}{{- end -}}{{- end -}}
{{- end -}}

{{/* The seconds that Gavel's own shutdown may take. */}}
{{- define "gavel.shutdownSeconds" -}}
{{- $limits := (include "gavel.config" . | fromYaml).limits | default dict -}}
{{- divf (dig "shutdown_ms" 30000 $limits) 1000 | ceil | int -}}
{{- end -}}

{{/* The Prometheus query of a metric of Gavel's pods, from {root, metric}. */}}
{{- define "gavel.series" -}}
sum({{ .metric }}{namespace="{{ .root.Release.Namespace }}",pod=~"{{ include "gavel.fullname" .root }}-[a-z0-9]+-[a-z0-9]+"})
{{- end -}}

{{/* Stops what could not work, with the value to change. */}}
{{- define "gavel.check" -}}
{{- with .Values -}}
{{- if not .image.repository -}}{{- fail "image.repository: where your cluster pulls Gavel's image from; `make docker` builds it, there is no public one" -}}{{- end -}}
{{- if and (ne .engine "remote") .vllm.enabled -}}{{- fail "vllm.enabled starts servers that only engine: remote asks" -}}{{- end -}}
{{- if eq .engine "remote" -}}
{{- if not (or .model .config.models) -}}{{- fail "model: the name of the model in requests and verdicts" -}}{{- end -}}
{{- if and .vllm.enabled .remote.urls -}}{{- fail "remote.urls and vllm.enabled: one of the two" -}}{{- end -}}
{{- if not (or .vllm.enabled .remote.urls .config.models) -}}{{- fail "remote.urls: the servers that compute, or vllm.enabled to start one" -}}{{- end -}}
{{- if and .vllm.enabled (not .model) -}}{{- fail "model: the name under which vLLM serves vllm.model" -}}{{- end -}}
{{- if and .vllm.enabled (not .vllm.model) -}}{{- fail "vllm.model: a hub id, or a path on the volume of weights" -}}{{- end -}}
{{- end -}}
{{- if and .remote.apiKey.existingSecret .remote.apiKey.value -}}{{- fail "remote.apiKey: existingSecret or value, not both" -}}{{- end -}}
{{- if and .rubrics .rubricsConfigMap -}}{{- fail "rubrics and rubricsConfigMap: one of the two" -}}{{- end -}}
{{- range list .autoscaling .vllm.autoscaling -}}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) -}}{{- fail "autoscaling: maxReplicas is less than minReplicas" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
