{{/* Name of the chart in names and labels. */}}
{{- define "zoho-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of all objects. Room is left for suffixes: the names of Services and labels end at 63 characters. */}}
{{- define "zoho-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "zoho-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of this installation, as the operator knows it. */}}
{{- define "zoho-operator.instance" -}}
{{- default (include "zoho-operator.fullname" .) .Values.config.instance }}
{{- end }}

{{/* Secret with the key of all hashes. */}}
{{- define "zoho-operator.hashKey" -}}
{{- default (printf "%s-hash-key" (include "zoho-operator.instance" .)) .Values.hashKey.existingSecret }}
{{- end }}

{{/* Labels that select the operator's pods; they cannot change in an upgrade. */}}
{{- define "zoho-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zoho-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of everything the chart installs. The chart's own win over commonLabels. */}}
{{- define "zoho-operator.labels" -}}
{{- $own := include "zoho-operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/part-of" "zoho-operator" }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{/* Labels of the operator's pods alone; the one that helm test starts has the others. */}}
{{- define "zoho-operator.operatorLabels" -}}
{{ include "zoho-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of the pod: what selects it wins over podLabels, and these over commonLabels. */}}
{{- define "zoho-operator.podLabels" -}}
{{- $own := include "zoho-operator.labels" . | fromYaml }}
{{- toYaml (merge (include "zoho-operator.operatorLabels" . | fromYaml) .Values.podLabels $own) }}
{{- end }}

{{- define "zoho-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "zoho-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/*
Is the ValidatingAdmissionPolicy asked for, and does the cluster have the kind? `helm template` knows no cluster.
dig: an upgrade with --reuse-values brings the values of the former chart, which may have been without this one.
*/}}
{{- define "zoho-operator.hasAdmissionPolicy" -}}
{{- and (dig "enabled" true (default dict .Values.admissionPolicy)) (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy") }}
{{- end }}

{{/* Policies have no namespace, so the release's is in the name: two of its namespaces may have a release of one name. */}}
{{- define "zoho-operator.admissionPolicyName" -}}
{{- printf "%s.%s" (include "zoho-operator.fullname" .) .Release.Namespace }}
{{- end }}

{{/* dig: a parent chart may say `global: null`. */}}
{{- define "zoho-operator.registry" -}}
{{- default .Values.image.registry (dig "imageRegistry" "" (default dict .Values.global)) }}
{{- end }}

{{- define "zoho-operator.image" -}}
{{- $registry := include "zoho-operator.registry" . }}
{{- $name := .Values.image.repository }}
{{- if $registry }}
{{- $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Pull secrets of the release and of the chart, each once, as objects with a name. */}}
{{- define "zoho-operator.imagePullSecrets" -}}
{{- $names := list }}
{{- range concat (dig "imagePullSecrets" list (default dict .Values.global) | default list) .Values.imagePullSecrets }}
{{- $names = append $names (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .) }}
{{- end }}
{{- range uniq $names }}
- name: {{ . }}
{{- end }}
{{- end }}

{{/*
What the operator may do with users' objects. The same rules stand in one ClusterRole, or in a Role of every namespace
of watchNamespaces.
*/}}
{{- define "zoho-operator.rules" -}}
# What to keep valid. get: the object as stored, before a token is requested.
- apiGroups: [zoho-operator.dev]
  resources: [zohocredentials]
  verbs: [get, list, watch]
# What became of it. The spec is never written.
- apiGroups: [zoho-operator.dev]
  resources: [zohocredentials/status]
  verbs: [patch]
{{- if eq .Values.rbac.secretAccess "watch" }}
# list, watch: the metadata of Secrets, to notice when a source or a target changes. Kubernetes knows no smaller right:
#   who may list Secrets may read them all.
{{- end }}
# get: the content of the sources and targets that ZohoCredentials name.
# create, patch: targets.
# delete: targets whose name was changed, once their token has expired. OwnerReferencesPermissionEnforcement also asks
#   for it before an owner is entered in a Secret that is taken over.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, {{ if eq .Values.rbac.secretAccess "watch" }}list, watch, {{ end }}create, patch, delete]
# One Event for each transition; patch, since repeated ones are counted up.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The operator's flags, of its pod and of the pod that helm test starts. */}}
{{- define "zoho-operator.arguments" -}}
{{ include "zoho-operator.ownArguments" . }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Those that the values say. */}}
{{- define "zoho-operator.ownArguments" -}}
- --operator-namespace={{ .Release.Namespace }}
- --instance={{ include "zoho-operator.instance" . }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
- --secret-access={{ .Values.rbac.secretAccess }}
{{- with .Values.hashKey.existingSecret }}
- --hash-key-secret={{ . }}
{{- end }}
{{- if .Values.config.resetHashKey }}
- --reset-hash-key=true
{{- end }}
{{- range $key, $value := .Values.commonLabels }}
- {{ printf "--labels=%s=%s" $key $value | quote }}
{{- end }}
{{- range $dataCenter, $url := .Values.config.accountsUrls }}
- {{ printf "--accounts-url=%s=%s" $dataCenter $url | quote }}
{{- end }}
{{- range $product, $url := .Values.config.apiUrls }}
- {{ printf "--api-url=%s=%s" $product $url | quote }}
{{- end }}
{{- with .Values.config.dataCenters }}
- --data-centers={{ join "," . }}
{{- end }}
{{- range .Values.config.accountsHosts }}
- --accounts-host={{ . }}
{{- end }}
{{- range .Values.config.apiHosts }}
- --api-host={{ . }}
{{- end }}
{{- range .Values.config.endpointCentralUrls }}
{{- if kindIs "map" . }}
- {{ printf "--endpoint-central-url=%s=%s" .url (join "," .namespaces) | quote }}
{{- else }}
- {{ printf "--endpoint-central-url=%s" . | quote }}
{{- end }}
{{- end }}
{{- if .Values.config.requireSourceConsent }}
- --require-source-consent=true
{{- end }}
{{- if .Values.config.allowReplication }}
- --allow-replication=true
{{- end }}
{{- if .Values.caBundle.configMap }}
- --ca-file=/etc/zoho-operator/ca-configmap/{{ .Values.caBundle.key }}
{{- end }}
{{- if .Values.caBundle.secret }}
- --ca-file=/etc/zoho-operator/ca-secret/{{ .Values.caBundle.key }}
{{- end }}
{{- range .Values.config.caFiles }}
- {{ printf "--ca-file=%s" . | quote }}
{{- end }}
- --max-attempts-per-10m={{ .Values.config.maxAttemptsPer10m }}
- --max-live-tokens={{ .Values.config.maxLiveTokens }}
- --mint-rate={{ .Values.config.mintRate }}
- --concurrency={{ .Values.config.concurrency }}
- --leader-elect={{ .Values.leaderElection.enabled }}
- --leader-elect-lease-duration={{ .Values.leaderElection.leaseDuration }}
- --leader-elect-renew-deadline={{ .Values.leaderElection.renewDeadline }}
- --leader-elect-retry-period={{ .Values.leaderElection.retryPeriod }}
- --metrics-bind-address=:{{ .Values.config.metricsPort }}
- --health-probe-bind-address=:{{ .Values.config.healthPort }}
- --metrics-authentication={{ .Values.metrics.authentication }}
{{- if .Values.metrics.certificateSecret }}
- --metrics-certificate=/etc/zoho-operator/metrics-certificate
{{- end }}
- --log-format={{ .Values.config.logFormat }}
- --log-level={{ .Values.config.logLevel }}
{{- with .Values.config.logFilter }}
- {{ printf "--log-filter=%s" . | quote }}
{{- end }}
{{- end }}

{{/* What the operator's pod and the pod that helm test starts have in common. */}}
{{- define "zoho-operator.podSpec" -}}
{{- with include "zoho-operator.imagePullSecrets" . | trim }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "zoho-operator.serviceAccountName" . }}
automountServiceAccountToken: true
# Service links would make variables named ZOHO_OPERATOR_*, like those of the flags.
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "zoho-operator.volumes" . | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "zoho-operator.containerSpec" -}}
image: {{ include "zoho-operator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "zoho-operator.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "zoho-operator.volumeMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "zoho-operator.env" -}}
{{- with .Values.proxy }}
{{- if .existingSecret }}
- name: HTTPS_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: HTTPS_PROXY
{{- else if .httpsProxy }}
- name: HTTPS_PROXY
  value: {{ .httpsProxy | quote }}
{{- end }}
{{- if .noProxy }}
- name: NO_PROXY
  value: {{ .noProxy | quote }}
{{- else if .existingSecret }}
- name: NO_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: NO_PROXY
      optional: true
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mounted as folders: files mounted by subPath never change. */}}
{{- define "zoho-operator.volumeMounts" -}}
{{- if .Values.caBundle.configMap }}
- name: ca-configmap
  mountPath: /etc/zoho-operator/ca-configmap
  readOnly: true
{{- end }}
{{- if .Values.caBundle.secret }}
- name: ca-secret
  mountPath: /etc/zoho-operator/ca-secret
  readOnly: true
{{- end }}
{{- if .Values.metrics.certificateSecret }}
- name: metrics-certificate
  mountPath: /etc/zoho-operator/metrics-certificate
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "zoho-operator.volumes" -}}
{{- if .Values.caBundle.configMap }}
- name: ca-configmap
  configMap:
    name: {{ .Values.caBundle.configMap }}
{{- end }}
{{- if .Values.caBundle.secret }}
- name: ca-secret
  secret:
    secretName: {{ .Values.caBundle.secret }}
{{- end }}
{{- if .Values.metrics.certificateSecret }}
- name: metrics-certificate
  secret:
    secretName: {{ .Values.metrics.certificateSecret }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How Prometheus scrapes a pod, in the words that ServiceMonitor and PodMonitor have in common. */}}
{{- define "zoho-operator.scrape" -}}
{{- with .Values.serviceMonitor }}
port: metrics
honorLabels: {{ .honorLabels }}
{{- if $.Values.metrics.certificateSecret }}
scheme: https
tlsConfig:
  {{- if .tlsConfig }}
  {{- toYaml .tlsConfig | nindent 2 }}
  {{- else }}
  serverName: {{ include "zoho-operator.fullname" $ }}-metrics.{{ $.Release.Namespace }}.svc
  ca:
    secret:
      name: {{ $.Values.metrics.certificateSecret }}
      key: ca.crt
  {{- end }}
{{- end }}
{{- if and $.Values.metrics.authentication .authorization }}
authorization:
  {{- toYaml .authorization | nindent 2 }}
{{- end }}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
