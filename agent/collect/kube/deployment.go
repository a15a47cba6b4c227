package kube

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/causeway-agent/causeway/agent/signal"
)

func deployment(r *rows, o *appsv1.Deployment) {
	r.of("deployment", o.Namespace, signal.LabelDeployment, o.Name)
	r.at("kube_deployment_created", o.CreationTimestamp)
	r.large("kube_deployment_metadata_generation", o.Generation)
	r.large("kube_deployment_status_observed_generation", o.Status.ObservedGeneration)
	r.count("kube_deployment_status_replicas", o.Status.Replicas)
	r.count("kube_deployment_status_replicas_ready", o.Status.ReadyReplicas)
	r.count("kube_deployment_status_replicas_available", o.Status.AvailableReplicas)
	r.count("kube_deployment_status_replicas_unavailable", o.Status.UnavailableReplicas)
	r.count("kube_deployment_status_replicas_updated", o.Status.UpdatedReplicas)
	r.number("kube_deployment_spec_replicas", o.Spec.Replicas)
	r.flag("kube_deployment_spec_paused", o.Spec.Paused)
	for _, c := range o.Status.Conditions {
		r.holds("kube_deployment_status_condition", "condition", string(c.Type), "status", status(c.Status), "reason", c.Reason)
	}
	if u := o.Spec.Strategy.RollingUpdate; u != nil && o.Spec.Replicas != nil {
		rolling := func(name string, v *intstr.IntOrString, roundUp bool) {
			if v == nil {
				return
			}
			// The server has checked it; of what cannot be read there is nothing to say.
			if n, err := intstr.GetScaledValueFromIntOrPercent(v, int(*o.Spec.Replicas), roundUp); err == nil {
				r.large(name, int64(n))
			}
		}
		rolling("kube_deployment_spec_strategy_rollingupdate_max_unavailable", u.MaxUnavailable, false)
		rolling("kube_deployment_spec_strategy_rollingupdate_max_surge", u.MaxSurge, true)
	}
	r.own("deployment", o.ObjectMeta)
}

// replicaset says nothing but the count of one that is scaled to zero and has
// no pod left: a Deployment keeps ten of them for a roll-back.
func replicaset(r *rows, o *appsv1.ReplicaSet) {
	r.of("replicaset", o.Namespace, signal.LabelReplicaSet, o.Name)
	if o.Spec.Replicas != nil && *o.Spec.Replicas == 0 && o.Status.Replicas == 0 && o.Status.ObservedGeneration >= o.Generation {
		return
	}
	r.at("kube_replicaset_created", o.CreationTimestamp)
	r.large("kube_replicaset_metadata_generation", o.Generation)
	r.large("kube_replicaset_status_observed_generation", o.Status.ObservedGeneration)
	r.count("kube_replicaset_status_replicas", o.Status.Replicas)
	r.count("kube_replicaset_status_fully_labeled_replicas", o.Status.FullyLabeledReplicas)
	r.count("kube_replicaset_status_ready_replicas", o.Status.ReadyReplicas)
	r.number("kube_replicaset_spec_replicas", o.Spec.Replicas)
	r.owners("kube_replicaset_owner", o.OwnerReferences)
	r.own("replicaset", o.ObjectMeta)
}

func replicationController(r *rows, o *corev1.ReplicationController) {
	r.of("replicationcontroller", o.Namespace, signal.LabelReplicationController, o.Name)
	r.at("kube_replicationcontroller_created", o.CreationTimestamp)
	r.large("kube_replicationcontroller_metadata_generation", o.Generation)
	r.large("kube_replicationcontroller_status_observed_generation", o.Status.ObservedGeneration)
	r.count("kube_replicationcontroller_status_replicas", o.Status.Replicas)
	r.count("kube_replicationcontroller_status_fully_labeled_replicas", o.Status.FullyLabeledReplicas)
	r.count("kube_replicationcontroller_status_ready_replicas", o.Status.ReadyReplicas)
	r.count("kube_replicationcontroller_status_available_replicas", o.Status.AvailableReplicas)
	r.number("kube_replicationcontroller_spec_replicas", o.Spec.Replicas)
}
