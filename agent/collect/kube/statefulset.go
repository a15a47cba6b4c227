package kube

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func statefulset(r *rows, o *appsv1.StatefulSet) {
	r.of("statefulset", o.Namespace, signal.LabelStatefulSet, o.Name)
	r.at("kube_statefulset_created", o.CreationTimestamp)
	r.large("kube_statefulset_metadata_generation", o.Generation)
	r.large("kube_statefulset_status_observed_generation", o.Status.ObservedGeneration)
	r.number("kube_statefulset_replicas", o.Spec.Replicas)
	r.count("kube_statefulset_status_replicas", o.Status.Replicas)
	r.count("kube_statefulset_status_replicas_available", o.Status.AvailableReplicas)
	r.count("kube_statefulset_status_replicas_current", o.Status.CurrentReplicas)
	r.count("kube_statefulset_status_replicas_ready", o.Status.ReadyReplicas)
	r.count("kube_statefulset_status_replicas_updated", o.Status.UpdatedReplicas)
	if rev := o.Status.CurrentRevision; rev != "" {
		r.holds("kube_statefulset_status_current_revision", "revision", rev)
	}
	if rev := o.Status.UpdateRevision; rev != "" {
		r.holds("kube_statefulset_status_update_revision", "revision", rev)
	}
	r.own("statefulset", o.ObjectMeta)
}
