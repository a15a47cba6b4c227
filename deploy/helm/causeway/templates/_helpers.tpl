{{- define "causeway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "causeway.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "causeway.name" .) .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "causeway.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "causeway.labels" -}}
app.kubernetes.io/name: causeway
app.kubernetes.io/instance: {{ include "causeway.fullname" . }}
app.kubernetes.io/part-of: causeway
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "causeway.selector" -}}
app.kubernetes.io/name: causeway
app.kubernetes.io/instance: {{ include "causeway.fullname" . }}
{{- end }}

{{- define "causeway.secret" -}}
{{- default (include "causeway.fullname" .) .Values.existingSecret }}
{{- end }}

{{- /* agent.yaml. YAML 1.1 reads off as false, and the agent wants the word. */ -}}
{{- define "causeway.config" -}}
{{- $c := deepCopy .Values.config }}
{{- $kube := dig "collect" "kubernetes" dict $c }}
{{- range list "objects" "events" }}
{{- if eq (toString (dig . "" $kube)) "false" }}{{ $_ := set $kube . "off" }}{{ end }}
{{- end }}
{{- toYaml $c }}
{{- end }}

{{- /* What follows from agent.yaml, as deploy/manifest derives it; a test holds the one to the other. */ -}}
{{- define "causeway.plan" -}}
{{- $c := .Values.config }}
{{- $collect := default dict $c.collect }}
{{- $kube := default dict $collect.kubernetes }}
{{- $containers := default dict $collect.containers }}
{{- $kubelet := default dict $containers.kubelet }}
{{- $host := default dict $collect.host }}
{{- $logs := default dict $collect.logs }}
{{- $podLogs := default dict $logs.pods }}
{{- $statsd := default dict $collect.statsd }}
{{- $otlp := default dict $collect.otlp }}
{{- $prom := default dict $collect.prometheus }}
{{- $agent := default dict $c.agent }}
{{- $p := dict }}
{{- $_ := set $p "node" (ne .Values.role "cluster") }}
{{- $_ := set $p "apart" (has .Values.role (list "cluster" "all")) }}
{{- $on := ne (toString (dig "enabled" "auto" $kube)) "false" }}
{{- $inCluster := $on }}
{{- $_ := set $p "pods" (and $on (ne (toString (dig "pods" true $kube)) "false")) }}
{{- $_ := set $p "objects" (not (has (toString (dig "objects" "leader" $kube)) (list "off" "false"))) }}
{{- $_ := set $p "events" (not (has (toString (dig "events" "leader" $kube)) (list "off" "false"))) }}
{{- $_ := set $p "apiServer" (ne (toString (dig "api_server" true $kube)) "false") }}
{{- $_ := set $p "leads" (and (ne .Values.role "node") $on (or $p.objects $p.events $p.apiServer)) }}
{{- $_ := set $p "secrets" (eq (toString (dig "secrets" false $kube)) "true") }}
{{- $_ := set $p "exclude" (default list $kube.exclude) }}
{{- $_ := set $p "leaseName" (default "causeway" $kube.lease_name) }}
{{- $_ := set $p "leaseNamespace" (default .Release.Namespace $kube.lease_namespace) }}
{{- $_ := set $p "leader" (include "causeway.fullname" .) }}
{{- if $p.apart }}{{ $_ := set $p "leader" (printf "%s-cluster" $p.leader) }}{{ end }}
{{- $on := ne (toString (dig "enabled" "auto" $containers)) "false" }}
{{- $_ := set $p "cadvisor" (and $on (eq (dig "provider" "auto" $containers) "cadvisor")) }}
{{- $_ := set $p "kubelet" (and $on (not $p.cadvisor)) }}
{{- $_ := set $p "proxy" (and $p.kubelet (eq (toString (dig "allow_proxy" false $kubelet)) "true")) }}
{{- $_ := set $p "containerd" (dir (default "/run/containerd/containerd.sock" $containers.containerd_socket)) }}
{{- $_ := set $p "host" (ne (toString (dig "enabled" true $host)) "false") }}
{{- $_ := set $p "hostMoved" (and $p.host (ne (default "/" $host.root) "/")) }}
{{- $_ := set $p "dataDir" (default "/var/lib/causeway" $agent.data_dir) }}
{{- $_ := set $p "token" (or $agent.token $agent.token_file) }}
{{- $listen := splitList ":" (default "127.0.0.1:9580" $agent.listen) }}
{{- $_ := set $p "statusPort" (last $listen | int) }}
{{- $_ := set $p "statusLocal" (has (initial $listen | join ":") (list "127.0.0.1" "localhost" "[::1]")) }}

{{- $dirs := list }}
{{- $_ := set $p "podLogs" "" }}
{{- if ne (toString (dig "enabled" "auto" $podLogs)) "false" }}
{{- $_ := set $p "podLogs" (clean (default "/var/log/pods" $podLogs.path)) }}
{{- $dirs = append $dirs $p.podLogs }}
{{- end }}
{{- range $logs.files }}
{{- $dirs = append $dirs (regexReplaceAll "/[^/]*[*?\\[].*$" (dir .path) "" | default "/") }}
{{- end }}
{{- $outer := list }}
{{- range sortAlpha $dirs }}
{{- $d := . }}{{ $covered := false }}
{{- range $outer }}{{ if or (eq $d .) (hasPrefix (printf "%s/" (trimSuffix "/" .)) $d) }}{{ $covered = true }}{{ end }}{{ end }}
{{- if not $covered }}{{ $outer = append $outer $d }}{{ end }}
{{- end }}
{{- $_ := set $p "logs" $outer }}

{{- $_ := set $p "cgroups" false }}
{{- $_ := set $p "listen" "" }}
{{- $ports := list }}{{ $sockets := list }}{{ $open := list }}{{ $changed := false }}
{{- if ne (toString (dig "enabled" true $statsd)) "false" }}
{{- $_ := set $p "cgroups" (eq (default "/sys/fs/cgroup" $statsd.cgroups) "/sys/fs/cgroup") }}
{{- range $i, $l := default (list "udp://127.0.0.1:8125") $statsd.listen }}
{{- if hasPrefix "udp://" $l }}
{{- $parts := splitList ":" (trimPrefix "udp://" $l) }}
{{- $ports = append $ports (dict "name" (ternary "statsd" (printf "statsd%d" $i) (eq $i 0)) "port" (last $parts | int) "protocol" "UDP") }}
{{- if has (initial $parts | join ":") (list "127.0.0.1" "localhost" "[::1]") }}{{ $changed = true }}{{ $l = printf "udp://:%s" (last $parts) }}{{ end }}
{{- else }}
{{- $sockets = append $sockets (dir (regexReplaceAll "^unix(gram)?://" $l "")) | uniq }}
{{- end }}
{{- $open = append $open $l }}
{{- end }}
{{- if $changed }}{{ $_ := set $p "listen" (join "," $open) }}{{ end }}
{{- end }}
{{- $_ := set $p "sockets" $sockets }}
{{- $otlpOpen := dict }}
{{- if has (toString (dig "enabled" false $otlp)) (list "true" "auto") }}
{{- range $key, $default := dict "grpc" "127.0.0.1:4317" "http" "127.0.0.1:4318" }}
{{- $address := dig $key $default $otlp }}
{{- if $address }}
{{- $parts := splitList ":" $address }}
{{- $ports = append $ports (dict "name" (printf "otlp-%s" $key) "port" (last $parts | int) "protocol" "TCP") }}
{{- if has (initial $parts | join ":") (list "127.0.0.1" "localhost" "[::1]") }}{{ $_ := set $otlpOpen (upper $key) (printf ":%s" (last $parts)) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $p "otlpOpen" $otlpOpen }}
{{- $_ := set $p "ports" $ports }}

{{- $_ := set $p "scrapes" (and $p.node (ne (toString (dig "enabled" "auto" $prom)) "false")) }}
{{- $_ := set $p "annotations" (and $p.scrapes (ne (toString (dig "annotations" true $prom)) "false")) }}
{{- $_ := set $p "monitors" (and $p.scrapes $inCluster (ne (toString (dig "monitors" "auto" $prom)) "false")) }}
{{- $_ := set $p "services" (or $p.monitors (and $p.scrapes $inCluster (ne (toString (dig "services" true $prom)) "false"))) }}
{{- $urls := list }}
{{- if and $p.node $p.kubelet }}{{ $urls = list "https://node:10250" (default "" $kubelet.url) }}{{ end }}
{{- /* local is there without being written. */}}
{{- $store := and (has "local" $c.active) (not (hasKey (default dict $c.destinations) "local")) }}
{{- range $name, $d := $c.destinations }}
{{- $urls = concat $urls (list (default "" $d.proxy_url)) }}
{{- if eq (toString (dig "embedded" false $d)) "true" }}
{{- if has $name $c.active }}{{ $store = true }}{{ end }}
{{- else }}{{ $urls = append $urls (default (ternary "http://127.0.0.1:8086" "" (eq $d.type "influxdb")) $d.url) }}{{ end }}
{{- end }}
{{- if $p.scrapes }}{{ range $prom.targets }}{{ $urls = append $urls .url }}{{ end }}{{ end }}
{{- if $p.node }}{{ range $collect.probes }}{{ $urls = concat $urls (list (default "" .url) (ternary (printf "tcp://%s" .address) "" (hasKey . "address"))) }}{{ end }}{{ end }}
{{- $out := list 443 6443 }}
{{- range $urls }}
{{- if . }}
{{- $u := urlParse . }}
{{- $parts := splitList ":" $u.host }}
{{- $n := ternary 443 80 (eq $u.scheme "https") }}
{{- if gt (len $parts) 1 }}{{ $n = last $parts | int }}{{ end }}
{{- if not (has $u.hostname (list "127.0.0.1" "localhost" "::1")) }}{{ $out = append $out $n }}{{ end }}
{{- end }}
{{- end }}
{{- $padded := list }}
{{- range $out }}{{ $padded = append $padded (printf "%05d" (int .)) }}{{ end }}
{{- $_ := set $p "outward" ($padded | uniq | sortAlpha) }}
{{- $_ := set $p "store" $store }}
{{- $_ := set $p "mounts" (or (not .Values.autopilot) (gt (len $outer) 0)) }}

{{- $vars := list }}
{{- range regexFindAll "\\$\\$|\\$\\{[A-Za-z_][A-Za-z0-9_]*" (toYaml $c) -1 }}
{{- if ne . "$$" }}{{ $vars = append $vars (trimPrefix "${" .) }}{{ end }}
{{- end }}
{{- $_ := set $p "vars" (without ($vars | uniq | sortAlpha) "NODE_NAME" "NODE_IP" "POD_NAME" "POD_NAMESPACE" "POD_UID") }}
{{- $_ := set $p "spool" (default dict $c.spool) }}
{{- toJson $p }}
{{- end }}

{{- define "causeway.rule" -}}
- apiGroups: [{{ .group | quote }}]
  resources: {{ toJson .resources }}
  verbs: {{ toJson .verbs }}
{{- end }}

{{- /* The most that a spool of the pod's own may have, in bytes, against what config says. */ -}}
{{- define "causeway.bytes" -}}
{{- $s := toString . | trim }}
{{- $n := regexFind "^[0-9]+" $s | int64 }}
{{- $unit := regexReplaceAll "^[0-9.]+ *" $s "" }}
{{- mul $n (dict "" 1 "B" 1 "kB" 1000 "KB" 1000 "MB" 1000000 "GB" 1000000000 "TB" 1000000000000 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "TiB" 1099511627776 | dig $unit 1) }}
{{- end }}

{{- define "causeway.pod" -}}
{{- $root := .root }}{{ $p := .plan }}{{ $node := eq .component "node" }}
{{- $v := $root.Values }}{{ $auto := $v.autopilot }}
{{- $asRoot := and $node $p.mounts }}
metadata:
  labels:
    {{- include "causeway.selector" $root | nindent 4 }}
    app.kubernetes.io/part-of: causeway
    app.kubernetes.io/component: {{ .component }}
    {{- with $v.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    {{- if $v.rolloutOnConfigChange }}
    causeway.dev/config: {{ include "causeway.config" $root | sha256sum | trunc 16 | quote }}
    {{- end }}
    cluster-autoscaler.kubernetes.io/safe-to-evict: "true"
    {{- with $v.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ ternary (include "causeway.fullname" $root) $p.leader $node }}
  automountServiceAccountToken: false
  enableServiceLinks: false # a Service called causeway would make CAUSEWAY_ variables
  dnsPolicy: ClusterFirst
  priorityClassName: {{ default (ternary (include "causeway.fullname" $root) "" $v.priorityClass.create) $v.priorityClass.name | quote }}
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  {{- with $v.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- if $asRoot }}
    runAsUser: 0 # container logs and the spool's folder are root's
    runAsGroup: 0
    {{- else }}
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  nodeSelector: {{ toYaml $v.nodeSelector | nindent 4 }}
  {{- with ternary $v.tolerations $v.cluster.tolerations $node }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if $v.affinity }}
    {{- toYaml $v.affinity | nindent 4 }}
    {{- else }}
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}]
    {{- if not $node }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "causeway.selector" $root | nindent 16 }}
                app.kubernetes.io/component: cluster
    {{- end }}
    {{- end }}
  containers:
    - name: causeway
      image: {{ printf "%s:%s" $v.image.repository (default $root.Chart.AppVersion $v.image.tag) | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [run, -c, /etc/causeway/agent.yaml]
      env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: NODE_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
        - {name: CAUSEWAY_AGENT__ROLE, value: {{ ternary (ternary "auto" "node" (eq $v.role "auto")) "cluster" $node }}}
        {{- if $p.statusLocal }}
        - {name: CAUSEWAY_AGENT__LISTEN, value: ":{{ $p.statusPort }}"}
        {{- end }}
        {{- if not $p.token }}
        - {name: CAUSEWAY_AGENT__TOKEN, value: $(POD_UID)}
        {{- end }}
        {{- range $p.vars }}
        - {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ include "causeway.secret" $root }}, key: {{ . }}, optional: true}}}
        {{- end }}
        {{- if $node }}
        {{- if and $p.host $auto }}
        - {name: CAUSEWAY_COLLECT__HOST__FILESYSTEMS__EXCLUDE_TYPES, value: "*"}
        - {name: CAUSEWAY_COLLECT__HOST__INTERFACES__EXCLUDE, value: "*"}
        {{- else if and $p.host (not $p.hostMoved) }}
        - {name: CAUSEWAY_COLLECT__HOST__ROOT, value: /host}
        {{- if not $v.host.root }}
        - {name: CAUSEWAY_COLLECT__HOST__FILESYSTEMS__EXCLUDE_TYPES, value: "*"}
        {{- end }}
        {{- if $p.cgroups }}
        - {name: CAUSEWAY_COLLECT__STATSD__CGROUPS, value: /host/sys/fs/cgroup}
        {{- end }}
        {{- end }}
        {{- with $p.listen }}
        - {name: CAUSEWAY_COLLECT__STATSD__LISTEN, value: {{ . | quote }}}
        {{- end }}
        {{- range $key, $address := $p.otlpOpen }}
        - {name: CAUSEWAY_COLLECT__OTLP__{{ $key }}, value: {{ $address | quote }}}
        {{- end }}
        {{- end }}
        {{- if or (not $node) $auto }}
        {{- range list (list "metrics" "1GiB" 512) (list "logs" "4GiB" 1024) (list "events" "64MiB" 64) }}
        {{- $has := include "causeway.bytes" (dig (index . 0) "max_size" (index . 1) $p.spool) | int64 }}
        {{- if gt $has (mul (index . 2) 1048576) }}
        - {name: CAUSEWAY_SPOOL__{{ index . 0 | upper }}__MAX_SIZE, value: {{ index . 2 }}MiB}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with $v.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - {name: status, containerPort: {{ $p.statusPort }}, protocol: TCP}
        {{- if $node }}
        {{- range $p.ports }}
        - {name: {{ .name }}, containerPort: {{ .port }}, protocol: {{ .protocol }}{{ if $v.hostPorts }}, hostPort: {{ .port }}{{ end }}}
        {{- end }}
        {{- end }}
      startupProbe: {httpGet: {path: /livez, port: status}, periodSeconds: 2, failureThreshold: 30, timeoutSeconds: 5}
      livenessProbe: {httpGet: {path: /livez, port: status}, periodSeconds: 15, failureThreshold: 6, timeoutSeconds: 5}
      readinessProbe: {httpGet: {path: /readyz, port: status}, periodSeconds: 15, failureThreshold: 6, timeoutSeconds: 5}
      terminationMessagePolicy: FallbackToLogsOnError
      resources:
        {{- with ternary $v.resources $v.cluster.resources $node }}
        {{- toYaml . | nindent 8 }}
        {{- else }}
        {{- $most := ternary (ternary "768Mi" "256Mi" $p.store) "512Mi" $node }}
        {{- if $auto }}
        requests: {cpu: 100m, memory: {{ $most }}, ephemeral-storage: 2Gi}
        limits: {cpu: 100m, memory: {{ $most }}, ephemeral-storage: 2Gi}
        {{- else }}
        requests: {cpu: 50m, memory: {{ ternary (ternary "128Mi" "64Mi" $p.store) "128Mi" $node }}, ephemeral-storage: {{ ternary "64Mi" "2Gi" $node }}}
        limits: {memory: {{ $most }}}
        {{- end }}
        {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        privileged: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/causeway, readOnly: true}
        - {name: secrets, mountPath: /var/run/secrets/causeway, readOnly: true}
        - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- include "causeway.mounts" (merge (dict "what" "mounts") .) | nindent 8 }}
        {{- with $v.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - {name: config, configMap: {name: {{ include "causeway.fullname" $root }}}}
    - {name: secrets, secret: {secretName: {{ include "causeway.secret" $root }}, optional: true}}
    - name: token
      projected:
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3600}
          - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
          - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
    - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
    {{- include "causeway.mounts" (merge (dict "what" "volumes") .) | nindent 4 }}
    {{- with $v.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}

{{- /* The folders, once as mounts and once as volumes, so that the two agree. */ -}}
{{- define "causeway.mounts" -}}
{{- $p := .plan }}{{ $v := .root.Values }}{{ $list := list }}
{{- if eq .component "node" }}
{{- if and $p.host (not $v.autopilot) (not $p.hostMoved) }}
{{- if $v.host.root }}
{{- $list = append $list (dict "name" "host" "path" "/" "at" "/host" "type" "Directory" "readOnly" true "propagation" "HostToContainer") }}
{{- else }}
{{- $list = append $list (dict "name" "proc" "path" "/proc" "at" "/host/proc" "type" "Directory" "readOnly" true) }}
{{- $list = append $list (dict "name" "sys" "path" "/sys" "at" "/host/sys" "type" "Directory" "readOnly" true) }}
{{- end }}
{{- end }}
{{- if and $p.cadvisor (not $v.autopilot) }}
{{- $list = append $list (dict "name" "cgroups" "path" "/sys/fs/cgroup" "at" "/sys/fs/cgroup" "type" "Directory" "readOnly" true) }}
{{- $list = append $list (dict "name" "containerd" "path" $p.containerd "at" $p.containerd "type" "Directory" "readOnly" true) }}
{{- end }}
{{- range $i, $d := $p.logs }}
{{- $list = append $list (dict "name" (ternary "pod-logs" (printf "logs-%d" $i) (eq $d $p.podLogs)) "path" $d "at" $d "readOnly" true) }}
{{- end }}
{{- range $i, $d := $p.sockets }}
{{- $list = append $list (dict "name" (printf "sockets-%d" $i) "path" $d "at" $d "type" "DirectoryOrCreate") }}
{{- end }}
{{- end }}
{{- if or (ne .component "node") $v.autopilot }}
{{- $list = append $list (dict "name" "data" "at" $p.dataDir) }}
{{- else }}
{{- $list = append $list (dict "name" "data" "path" $p.dataDir "at" $p.dataDir "type" "DirectoryOrCreate") }}
{{- end }}
{{- $what := .what }}
{{- range $list }}
{{- if eq $what "mounts" }}
- {name: {{ .name }}, mountPath: {{ .at }}{{ if .readOnly }}, readOnly: true{{ end }}{{ with .propagation }}, mountPropagation: {{ . }}{{ end }}}
{{- else if .path }}
- {name: {{ .name }}, hostPath: {path: {{ .path }}{{ with .type }}, type: {{ . }}{{ end }}}}
{{- else }}
- {name: {{ .name }}, emptyDir: {sizeLimit: 1792Mi}}
{{- end }}
{{- end }}
{{- end }}
