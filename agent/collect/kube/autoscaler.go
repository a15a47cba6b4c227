package kube

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/causeway-agent/causeway/agent/signal"
)

func autoscaler(r *rows, o *autoscalingv2.HorizontalPodAutoscaler) {
	r.of("horizontalpodautoscaler", o.Namespace, signal.LabelHPA, o.Name)
	r.at("kube_horizontalpodautoscaler_created", o.CreationTimestamp)
	r.holds("kube_horizontalpodautoscaler_info", "scaletargetref_api_version", o.Spec.ScaleTargetRef.APIVersion,
		"scaletargetref_kind", o.Spec.ScaleTargetRef.Kind, "scaletargetref_name", o.Spec.ScaleTargetRef.Name)
	r.large("kube_horizontalpodautoscaler_metadata_generation", o.Generation)
	r.count("kube_horizontalpodautoscaler_spec_max_replicas", o.Spec.MaxReplicas)
	r.number("kube_horizontalpodautoscaler_spec_min_replicas", o.Spec.MinReplicas)
	for _, m := range o.Spec.Metrics {
		name, container, t := specMetric(m)
		r.target("kube_horizontalpodautoscaler_spec_target_metric", name, container, t.Value, t.AverageValue, t.AverageUtilization)
	}
	for _, m := range o.Status.CurrentMetrics {
		name, container, v := statusMetric(m)
		r.target("kube_horizontalpodautoscaler_status_target_metric", name, container, v.Value, v.AverageValue, v.AverageUtilization)
	}
	for _, c := range o.Status.Conditions {
		r.holds("kube_horizontalpodautoscaler_status_condition", "condition", string(c.Type), "status", status(c.Status))
	}
	r.count("kube_horizontalpodautoscaler_status_current_replicas", o.Status.CurrentReplicas)
	r.count("kube_horizontalpodautoscaler_status_desired_replicas", o.Status.DesiredReplicas)
	r.own("horizontalpodautoscaler", o.ObjectMeta)
}

// target adds what is set of a metric's three ways to be stated.
func (r *rows) target(family, name, container string, value, average *resource.Quantity, utilization *int32) {
	add := func(kind string, v float64) {
		r.gauge(family, "1", v, "metric_name", name, "metric_target_type", kind, "container", container)
	}
	if value != nil && !value.IsZero() {
		add("value", value.AsApproximateFloat64())
	}
	if average != nil {
		add("average", average.AsApproximateFloat64())
	}
	if utilization != nil {
		add("utilization", float64(*utilization))
	}
}

func specMetric(m autoscalingv2.MetricSpec) (name, container string, t autoscalingv2.MetricTarget) {
	switch {
	case m.Object != nil:
		return m.Object.Metric.Name, "", m.Object.Target
	case m.Pods != nil:
		return m.Pods.Metric.Name, "", m.Pods.Target
	case m.Resource != nil:
		return string(m.Resource.Name), "", m.Resource.Target
	case m.ContainerResource != nil:
		return string(m.ContainerResource.Name), m.ContainerResource.Container, m.ContainerResource.Target
	case m.External != nil:
		return m.External.Metric.Name, "", m.External.Target
	}
	return "", "", t
}

func statusMetric(m autoscalingv2.MetricStatus) (name, container string, v autoscalingv2.MetricValueStatus) {
	switch {
	case m.Object != nil:
		return m.Object.Metric.Name, "", m.Object.Current
	case m.Pods != nil:
		return m.Pods.Metric.Name, "", m.Pods.Current
	case m.Resource != nil:
		return string(m.Resource.Name), "", m.Resource.Current
	case m.ContainerResource != nil:
		return string(m.ContainerResource.Name), m.ContainerResource.Container, m.ContainerResource.Current
	case m.External != nil:
		return m.External.Metric.Name, "", m.External.Current
	}
	return "", "", v
}
