{{/* What the schema cannot say: values that do not fit together. Each sentence says what to do. */}}
{{- define "zoho-operator.validate" -}}
{{- $wrong := concat (include "zoho-operator.wrongInstallation" . | fromYamlArray) (include "zoho-operator.wrongTimes" . | fromYamlArray)
  (include "zoho-operator.wrongMonitoring" . | fromYamlArray) }}
{{- if $wrong }}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) }}
{{- end }}
{{- end }}

{{- define "zoho-operator.wrongInstallation" -}}
{{- if eq false .Values.enabled }}
- >-
  enabled=false does nothing in this chart: it is for charts that depend on this one. Uninstall the release, or add `condition:
  {{ .Chart.Name }}.enabled` to the dependency in the parent's Chart.yaml.
{{- end }}
{{- if has .Release.Namespace .Values.watchNamespaces }}
- >-
  watchNamespaces names {{ .Release.Namespace }}, the operator's own namespace. ZohoCredentials there are refused, since it holds the
  mint ledgers and the hash key: take it out, or install the release in another namespace.
{{- end }}
{{- range $server := .Values.config.endpointCentralUrls }}
{{- if and $.Values.watchNamespaces (kindIs "map" $server) }}
{{- range $server.namespaces }}
{{- if not (has . $.Values.watchNamespaces) }}
- >-
  config.endpointCentralUrls lets namespace {{ . }} use {{ $server.url }}, but watchNamespaces does not name it: add it there, or take
  it out here.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := list }}
{{- range include "zoho-operator.ownArguments" . | fromYamlArray }}
{{- $own = append $own (regexReplaceAll "=.*" . "") }}
{{- end }}
{{- range .Values.extraArgs }}
{{- $flag := regexReplaceAll "=.*" . "" }}
{{- if and (has $flag $own) (not (has $flag (include "zoho-operator.repeatable" . | fromYamlArray))) }}
- >-
  extraArgs repeats {{ $flag }}, which the chart sets: the operator would not start. Set the value of that name instead.
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- $flag := .name | default "" | trimPrefix "ZOHO_OPERATOR_" | lower | replace "_" "-" | printf "--%s" }}
{{- if and (hasPrefix "ZOHO_OPERATOR_" (default "" .name)) (has $flag $own) }}
- >-
  extraEnv sets {{ .name }}, which has no effect, since the chart sets {{ $flag }}: set the value of that name instead.
{{- end }}
{{- end }}
{{- if eq (int .Values.config.metricsPort) (int .Values.config.healthPort) }}
- "config.metricsPort and config.healthPort are both {{ .Values.config.metricsPort }}: choose two ports."
{{- end }}
{{- if and (or .Values.networkPolicy.apiServerCIDRs .Values.networkPolicy.extraEgress) (not .Values.networkPolicy.enabled) }}
- >-
  networkPolicy.apiServerCIDRs or networkPolicy.extraEgress is set, but egress is not limited: set networkPolicy.enabled=true, or take
  them out.
{{- end }}
{{- end }}

{{/* Flags that may stand more than once. */}}
{{- define "zoho-operator.repeatable" -}}
[--watch-namespaces, --labels, --accounts-url, --api-url, --data-centers, --accounts-host, --api-host, --endpoint-central-url, --ca-file]
{{- end }}

{{- define "zoho-operator.wrongTimes" -}}
{{- with .Values.leaderElection }}
{{- if .enabled }}
{{- $lease := include "zoho-operator.milliseconds" .leaseDuration | int }}
{{- $deadline := include "zoho-operator.milliseconds" .renewDeadline | int }}
{{- $retry := include "zoho-operator.milliseconds" .retryPeriod | int }}
{{- if or (mod $lease 1000) (lt $lease 1000) (gt $lease 600000) }}
- "leaderElection.leaseDuration {{ .leaseDuration }} is not in whole seconds from 1s to 10m: choose such a time, for example 15s."
{{- end }}
{{- if ge $deadline $lease }}
- >-
  leaderElection.renewDeadline {{ .renewDeadline }} is not shorter than leaseDuration {{ .leaseDuration }}: the leader has to stop before
  another replica takes over. Shorten renewDeadline, or lengthen leaseDuration.
{{- end }}
{{- if or (lt $retry 100) (gt (mul 2 $retry) $deadline) }}
- >-
  leaderElection.retryPeriod {{ .retryPeriod }} is not from 100ms to half of renewDeadline {{ .renewDeadline }}: after a renewal that
  failed there has to be time for another one. Shorten retryPeriod, or lengthen renewDeadline.
{{- end }}
{{- end }}
{{- end }}
{{- if lt (include "zoho-operator.gracePeriod" . | int) 25 }}
- >-
  terminationGracePeriodSeconds {{ .Values.terminationGracePeriodSeconds }} is too short: the operator finishes token requests within
  20 s after it is told to stop. Choose 25 or more.
{{- end }}
{{- end }}

{{- define "zoho-operator.wrongMonitoring" -}}
{{- $podMonitor := default dict .Values.podMonitor }}
{{- with .Values.serviceMonitor }}
{{- if and .enabled $podMonitor.enabled }}
- "serviceMonitor.enabled and podMonitor.enabled are both true, so that every pod would be scraped twice: choose one."
{{- end }}
{{- if and $podMonitor.enabled $.Values.metrics.authentication (not .authorization) }}
- >-
  podMonitor.enabled with metrics.authentication needs serviceMonitor.authorization: a PodMonitor cannot use the token of Prometheus'
  ServiceAccount. Name a Secret with a token there, or use serviceMonitor.enabled.
{{- end }}
{{- if and (or $.Values.prometheusRule.enabled $.Values.dashboards.enabled) (or .enabled $podMonitor.enabled) (not .honorLabels) }}
- >-
  serviceMonitor.honorLabels=false takes the label `namespace` from the credentials' series, and alerts and dashboard need it: set it to
  true, or turn prometheusRule.enabled and dashboards.enabled off.
{{- end }}
{{- if and .interval .scrapeTimeout }}
{{- if gt (include "zoho-operator.milliseconds" .scrapeTimeout | int) (include "zoho-operator.milliseconds" .interval | int) }}
- >-
  serviceMonitor.scrapeTimeout {{ .scrapeTimeout }} is longer than serviceMonitor.interval {{ .interval }}, which Prometheus refuses:
  shorten it.
{{- end }}
{{- end }}
{{- end }}
{{- if and (or .Values.prometheusRule.enabled .Values.dashboards.enabled) (not (regexMatch "^https?://[^/]" .Values.prometheusRule.runbookUrl)) }}
- >-
  prometheusRule.runbookUrl {{ .Values.prometheusRule.runbookUrl }} is no absolute URL: name the address, with https://, where
  docs/runbooks.md is served. Where it comes from a former release, upgrade with --reset-then-reuse-values instead of --reuse-values.
{{- end }}
{{- end }}

{{/* A duration as Go writes it, in milliseconds. */}}
{{- define "zoho-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 }}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+(ms|[hms])" . -1 }}
{{- $unit := regexReplaceAll "[0-9]+" . "" }}
{{- $sum = add $sum (mul (atoi (trimSuffix $unit .)) (get $units $unit)) }}
{{- end }}
{{- $sum }}
{{- end }}

{{- define "zoho-operator.gracePeriod" -}}
{{- kindIs "invalid" .Values.terminationGracePeriodSeconds | ternary 30 .Values.terminationGracePeriodSeconds }}
{{- end }}
