package kube

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// kind is one resource of the API: how it is read, and what is made of it.
type kind struct {
	group, resource string
	fields          string // field selector; "" is all
	labels          string // label selector, likewise
	example         runtime.Object
	list            func(context.Context, *clients, metav1.ListOptions) (runtime.Object, error)
	watch           func(context.Context, *clients, metav1.ListOptions) (watch.Interface, error)
	rows            func(*rows, runtime.Object)
}

// lister is what all typed clients have in common.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func of[T, L runtime.Object](group, resource string, client func(*clients) lister[L], say func(*rows, T)) kind {
	var example T
	return kind{
		group: group, resource: resource, example: example,
		list: func(ctx context.Context, c *clients, o metav1.ListOptions) (runtime.Object, error) {
			return client(c).List(ctx, o)
		},
		watch: func(ctx context.Context, c *clients, o metav1.ListOptions) (watch.Interface, error) {
			return client(c).Watch(ctx, o)
		},
		rows: func(r *rows, o runtime.Object) {
			if t, ok := o.(T); ok {
				say(r, t)
			}
		},
	}
}

// podsOf is the kind of the pods that a field selector finds.
func podsOf(selector string) kind {
	k := of("", "pods", func(c *clients) lister[*corev1.PodList] { return c.core.Pods("") }, pod)
	k.fields = selector
	return k
}

// kinds is the table of what the leader reads. Of pods it reads those that no
// node has yet: nobody else would speak of them.
func kinds(c Config) []kind {
	all := []kind{
		podsOf("spec.nodeName="),
		of("", "nodes", func(c *clients) lister[*corev1.NodeList] { return c.core.Nodes() }, node),
		of("", "namespaces", func(c *clients) lister[*corev1.NamespaceList] { return c.core.Namespaces() }, namespace),
		of("", "services", func(c *clients) lister[*corev1.ServiceList] { return c.core.Services("") }, service),
		of("", "persistentvolumes", func(c *clients) lister[*corev1.PersistentVolumeList] { return c.core.PersistentVolumes() }, persistentVolume),
		of("", "persistentvolumeclaims", func(c *clients) lister[*corev1.PersistentVolumeClaimList] { return c.core.PersistentVolumeClaims("") }, volumeClaim),
		of("", "resourcequotas", func(c *clients) lister[*corev1.ResourceQuotaList] { return c.core.ResourceQuotas("") }, resourceQuota),
		of("", "limitranges", func(c *clients) lister[*corev1.LimitRangeList] { return c.core.LimitRanges("") }, limitRange),
		of("", "serviceaccounts", func(c *clients) lister[*corev1.ServiceAccountList] { return c.core.ServiceAccounts("") }, serviceAccount),
		of("", "replicationcontrollers", func(c *clients) lister[*corev1.ReplicationControllerList] {
			return c.core.ReplicationControllers("")
		}, replicationController),
		of("apps", "deployments", func(c *clients) lister[*appsv1.DeploymentList] { return c.apps.Deployments("") }, deployment),
		of("apps", "replicasets", func(c *clients) lister[*appsv1.ReplicaSetList] { return c.apps.ReplicaSets("") }, replicaset),
		of("apps", "daemonsets", func(c *clients) lister[*appsv1.DaemonSetList] { return c.apps.DaemonSets("") }, daemonset),
		of("apps", "statefulsets", func(c *clients) lister[*appsv1.StatefulSetList] { return c.apps.StatefulSets("") }, statefulset),
		of("batch", "jobs", func(c *clients) lister[*batchv1.JobList] { return c.batch.Jobs("") }, job),
		of("batch", "cronjobs", func(c *clients) lister[*batchv1.CronJobList] { return c.batch.CronJobs("") }, cronjob),
		of("autoscaling", "horizontalpodautoscalers", func(c *clients) lister[*autoscalingv2.HorizontalPodAutoscalerList] {
			return c.autoscaling.HorizontalPodAutoscalers("")
		}, autoscaler),
		of("discovery.k8s.io", "endpointslices", func(c *clients) lister[*discoveryv1.EndpointSliceList] { return c.discovery.EndpointSlices("") }, endpointSlice),
		of("networking.k8s.io", "ingresses", func(c *clients) lister[*networkingv1.IngressList] { return c.networking.Ingresses("") }, ingress),
		of("policy", "poddisruptionbudgets", func(c *clients) lister[*policyv1.PodDisruptionBudgetList] {
			return c.policy.PodDisruptionBudgets("")
		}, disruptionBudget),
		of("storage.k8s.io", "storageclasses", func(c *clients) lister[*storagev1.StorageClassList] { return c.storage.StorageClasses() }, storageClass),
	}
	if c.Secrets {
		all = append(all, of("", "secrets", func(c *clients) lister[*corev1.SecretList] { return c.core.Secrets("") }, secret))
	}
	return slices.DeleteFunc(all, func(k kind) bool { return slices.Contains(c.Exclude, k.resource) })
}
