{{/*
"true" where the first alert of the list reports what the second one would: it is on, and has the same severity. So an alert
that somebody turned off or made quieter silences no other. Arguments: prometheusRule.alerts, the first alert, the second one.
Both are critical unless the values say otherwise.
*/}}
{{- define "zoho-operator.tellsFor" -}}
{{- $first := default dict (get (index . 0) (index . 1)) }}
{{- $second := default dict (get (index . 0) (index . 2)) }}
{{- and (dig "enabled" true $first) (eq (default "critical" $first.severity) (default "critical" $second.severity)) }}
{{- end }}

{{/* Groups of rules, as YAML: those of files/prometheus/rules.yaml, with what the values say about each. */}}
{{- define "zoho-operator.ruleGroups" -}}
{{- $alerts := default dict .Values.prometheusRule.alerts }}
{{- $budget := max 4 (sub (int .Values.config.maxLiveTokens) 1) }}
{{- $facts := dict "Template" .Template "alerts" $alerts "runbook" (include "zoho-operator.runbookUrl" .) "budget" $budget
  "namespace" .Release.Namespace "installation" (printf "%s/%s" .Release.Namespace (include "zoho-operator.instance" .)) "fullname" (include "zoho-operator.fullname" .) "name" (include "zoho-operator.name" .) }}
{{- $groups := list }}
{{- range tpl (.Files.Get "files/prometheus/rules.yaml") $facts | fromYamlArray }}
{{- $rules := list }}
{{- range .rules }}
{{- $chosen := default dict (get $alerts .alert) }}
{{- if dig "enabled" true $chosen }}
{{- $_ := set .labels "severity" (default .labels.severity $chosen.severity) }}
{{- $_ := set . "for" (default (get . "for") (get $chosen "for")) }}
{{- $_ := set . "labels" (merge .labels (default dict $.Values.prometheusRule.alertLabels)) }}
{{- $rules = append $rules . }}
{{- end }}
{{- end }}
{{- if $rules }}
{{- $groups = append $groups (dict "name" .name "rules" $rules) }}
{{- end }}
{{- end }}
{{- toYaml $groups }}
{{- end }}

{{/* Where docs/runbooks.md is served. */}}
{{- define "zoho-operator.runbookUrl" -}}
{{- trimSuffix "/" .Values.prometheusRule.runbookUrl }}
{{- end }}
