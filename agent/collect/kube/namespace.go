package kube

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func namespace(r *rows, o *corev1.Namespace) {
	r.of("namespace", "")
	r.id = signal.Labels(signal.LabelNamespace, o.Name)
	r.at("kube_namespace_created", o.CreationTimestamp)
	if o.Status.Phase != "" {
		r.holds("kube_namespace_status_phase", "phase", string(o.Status.Phase))
	}
	r.own("namespace", o.ObjectMeta)
}

func resourceQuota(r *rows, o *corev1.ResourceQuota) {
	r.of("resourcequota", o.Namespace, signal.LabelResourceQuota, o.Name)
	r.at("kube_resourcequota_created", o.CreationTimestamp)
	for res, q := range o.Status.Hard {
		r.gauge("kube_resourcequota", "1", q.AsApproximateFloat64(), "resource", string(res), "type", "hard")
	}
	for res, q := range o.Status.Used {
		r.gauge("kube_resourcequota", "1", q.AsApproximateFloat64(), "resource", string(res), "type", "used")
	}
	r.own("resourcequota", o.ObjectMeta)
}

func limitRange(r *rows, o *corev1.LimitRange) {
	r.of("limitrange", o.Namespace, signal.LabelLimitRange, o.Name)
	r.at("kube_limitrange_created", o.CreationTimestamp)
	for _, l := range o.Spec.Limits {
		add := func(constraint string, list corev1.ResourceList) {
			for res, q := range list {
				r.gauge("kube_limitrange", "1", q.AsApproximateFloat64(), "resource", string(res), "type", string(l.Type), "constraint", constraint)
			}
		}
		add("min", l.Min)
		add("max", l.Max)
		add("default", l.Default)
		add("defaultRequest", l.DefaultRequest)
		add("maxLimitRequestRatio", l.MaxLimitRequestRatio)
	}
}

// serviceAccount adds to a count, and says nothing else.
func serviceAccount(r *rows, o *corev1.ServiceAccount) { r.of("serviceaccount", o.Namespace) }

func secret(r *rows, o *corev1.Secret) {
	r.of("secret", o.Namespace, signal.LabelSecret, o.Name)
	r.holds("kube_secret_type", "type", string(o.Type))
}
