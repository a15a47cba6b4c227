package kube

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	appsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	autoscalingv2 "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	batchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1 "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingv1 "k8s.io/client-go/kubernetes/typed/networking/v1"
	policyv1 "k8s.io/client-go/kubernetes/typed/policy/v1"
	storagev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/causeway-agent/causeway/agent/collect"
)

// clients are the typed clients this room uses, all over one HTTP client. The
// set of all of client-go would make the binary much larger.
type clients struct {
	core         corev1.CoreV1Interface
	apps         appsv1.AppsV1Interface
	batch        batchv1.BatchV1Interface
	autoscaling  autoscalingv2.AutoscalingV2Interface
	discovery    discoveryv1.DiscoveryV1Interface
	networking   networkingv1.NetworkingV1Interface
	policy       policyv1.PolicyV1Interface
	storage      storagev1.StorageV1Interface
	coordination coordinationv1.CoordinationV1Interface
	dynamic      dynamic.Interface // of what has no type here
}

// tokenFile is where Kubernetes puts a pod's token; kubernetes.io, "Accessing
// the API from a Pod".
const tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// restConfig finds the API server: by the kubeconfig file, or else by what
// Kubernetes gives every pod. An error that wraps collect.ErrAbsent says that
// there is neither.
func restConfig(c Config) (*rest.Config, error) {
	rc, err := findConfig(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rc.QPS, rc.Burst = c.QPS, c.Burst
	rc.UserAgent = "causeway"
	rc.WarningHandler = rest.NoWarnings{} // about versions of the API, for whoever writes this file
	return rc, nil
}

func findConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		rc, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
		}
		return rc, nil
	}
	rc, err := rest.InClusterConfig()
	switch {
	case err == nil:
		return rc, nil
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, fmt.Errorf("no Kubernetes: this is no pod; name a file in collect.kubernetes.kubeconfig: %w", collect.ErrAbsent)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("no Kubernetes: %s is not there; set automountServiceAccountToken for the pod: %w", tokenFile, collect.ErrAbsent)
	}
	return nil, fmt.Errorf("service account: %w", err)
}

func newClients(rc *rest.Config) (*clients, error) {
	h, err := rest.HTTPClientFor(rc)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	c := &clients{}
	return c, errors.Join(
		make1(&c.core, rc, h, corev1.NewForConfigAndClient),
		make1(&c.apps, rc, h, appsv1.NewForConfigAndClient),
		make1(&c.batch, rc, h, batchv1.NewForConfigAndClient),
		make1(&c.autoscaling, rc, h, autoscalingv2.NewForConfigAndClient),
		make1(&c.discovery, rc, h, discoveryv1.NewForConfigAndClient),
		make1(&c.networking, rc, h, networkingv1.NewForConfigAndClient),
		make1(&c.policy, rc, h, policyv1.NewForConfigAndClient),
		make1(&c.storage, rc, h, storagev1.NewForConfigAndClient),
		make1(&c.coordination, rc, h, coordinationv1.NewForConfigAndClient),
		make1(&c.dynamic, rc, h, dynamic.NewForConfigAndClient),
	)
}

// make1 makes one client; I is an interface that C implements.
func make1[I any, C any](into *I, rc *rest.Config, h *http.Client, make func(*rest.Config, *http.Client) (C, error)) error {
	v, err := make(rc, h)
	if err != nil {
		return err
	}
	*into = any(v).(I)
	return nil
}

// explain says what an answer of the API server means for the one who runs the
// agent; a refusal names the rule that is missing.
func explain(err error, verb, group, resource string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s %s: forbidden; a rule of the agent's role must have apiGroups [%q], resources [%q], verbs [%q]: %w",
			verb, resource, group, resource, verb, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s %s: the API server does not accept the agent's token: %w", verb, resource, err)
	case apierrors.IsNotFound(err) && verb == "list":
		return fmt.Errorf("list %s: this API server does not serve them: %w", resource, err)
	}
	return fmt.Errorf("%s %s: %w", verb, resource, err)
}

// explainPath is explain for paths that are no resources.
func explainPath(err error, path string) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("get %s: forbidden; a rule of the agent's cluster role must have nonResourceURLs [%q], verbs [\"get\"]: %w", path, path, err)
	}
	return fmt.Errorf("get %s: %w", path, err)
}

// brief cuts what servers write at length.
func brief(err error) string {
	s := strings.TrimSpace(err.Error())
	if len(s) > 500 {
		return s[:500] + "…"
	}
	return s
}
