package kube

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// LogAdvice is what a pod's annotations say about one container's log.
type LogAdvice struct {
	Skip      bool   // it is not to be read
	Parse     string // name of a parser; "" is none
	Multiline string // name of a rule, or the regular expression an entry begins with; "" is none
	Source    string // the program that writes it; "" is not said
	Service   string // what to call the service instead of the pod's; "" is not said
}

// Annotations about logs. Each of ours and of Fluent Bit's may carry the name
// of a container, as causeway.dev/logs.CONTAINER and fluentbit.io/exclude-CONTAINER.
const (
	annotationLogs      = "causeway.dev/logs" // "false" is Skip
	annotationParse     = "causeway.dev/parse"
	annotationMultiline = "causeway.dev/multiline"

	datadogPrefix  = "ad.datadoghq.com/" // CONTAINER.logs, CONTAINER.logs_exclude; docs.datadoghq.com, read 2026-11
	fluentExclude  = "fluentbit.io/exclude"
	fluentParser   = "fluentbit.io/parser" // docs.fluentbit.io, kubernetes filter, read 2026-11
	datadogNewLine = "multi_line"
)

// adviceFor reads a pod's annotations about one container's log. Our own count
// before those of others, and a container's before the pod's.
func adviceFor(o *corev1.Pod, container string) LogAdvice {
	a := o.Annotations
	var v LogAdvice
	if text := a[datadogPrefix+container+".logs"]; text != "" {
		v = datadogAdvice(text)
	}
	v.Parse = first(a[fluentParser+"-"+container], a[fluentParser])
	v.Skip = isTrue(first(a[fluentExclude+"-"+container], a[fluentExclude])) ||
		isTrue(first(a[datadogPrefix+container+".logs_exclude"], a[datadogPrefix+"logs_exclude"]))
	v.Parse = first(a[annotationParse+"."+container], a[annotationParse], v.Parse)
	v.Multiline = first(a[annotationMultiline+"."+container], a[annotationMultiline], v.Multiline)
	if ours := first(a[annotationLogs+"."+container], a[annotationLogs]); ours != "" {
		v.Skip = isFalse(ours)
	}
	return v
}

// datadogAdvice reads the JSON list that Datadog's agent takes: of its first
// entry the source, the service and a rule about lines that belong together.
// Rules that leave lines out or hide parts of them are for the agent's own
// rules to repeat; half of them here would be worse than none.
func datadogAdvice(text string) LogAdvice {
	var list []struct {
		Source  string `json:"source"`
		Service string `json:"service"`
		Rules   []struct {
			Type    string `json:"type"`
			Pattern string `json:"pattern"`
		} `json:"log_processing_rules"`
	}
	if json.Unmarshal([]byte(text), &list) != nil || len(list) == 0 {
		return LogAdvice{}
	}
	v := LogAdvice{Source: list[0].Source, Service: list[0].Service}
	for _, r := range list[0].Rules {
		if r.Type == datadogNewLine && v.Multiline == "" {
			v.Multiline = strings.TrimSpace(r.Pattern)
		}
	}
	return v
}
