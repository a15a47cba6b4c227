package kube

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func daemonset(r *rows, o *appsv1.DaemonSet) {
	r.of("daemonset", o.Namespace, signal.LabelDaemonSet, o.Name)
	r.at("kube_daemonset_created", o.CreationTimestamp)
	r.large("kube_daemonset_metadata_generation", o.Generation)
	r.large("kube_daemonset_status_observed_generation", o.Status.ObservedGeneration)
	r.count("kube_daemonset_status_current_number_scheduled", o.Status.CurrentNumberScheduled)
	r.count("kube_daemonset_status_desired_number_scheduled", o.Status.DesiredNumberScheduled)
	r.count("kube_daemonset_status_number_available", o.Status.NumberAvailable)
	r.count("kube_daemonset_status_number_misscheduled", o.Status.NumberMisscheduled)
	r.count("kube_daemonset_status_number_ready", o.Status.NumberReady)
	r.count("kube_daemonset_status_number_unavailable", o.Status.NumberUnavailable)
	r.count("kube_daemonset_status_updated_number_scheduled", o.Status.UpdatedNumberScheduled)
	r.own("daemonset", o.ObjectMeta)
}
