package kube

import (
	policyv1 "k8s.io/api/policy/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func disruptionBudget(r *rows, o *policyv1.PodDisruptionBudget) {
	r.of("poddisruptionbudget", o.Namespace, signal.LabelDisruptionBudget, o.Name)
	r.at("kube_poddisruptionbudget_created", o.CreationTimestamp)
	r.count("kube_poddisruptionbudget_status_current_healthy", o.Status.CurrentHealthy)
	r.count("kube_poddisruptionbudget_status_desired_healthy", o.Status.DesiredHealthy)
	r.count("kube_poddisruptionbudget_status_pod_disruptions_allowed", o.Status.DisruptionsAllowed)
	r.count("kube_poddisruptionbudget_status_expected_pods", o.Status.ExpectedPods)
	r.large("kube_poddisruptionbudget_status_observed_generation", o.Status.ObservedGeneration)
	r.own("poddisruptionbudget", o.ObjectMeta)
}
