package manifest

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	jsonyaml "sigs.k8s.io/yaml"
)

// What no renderer makes is at least what it says: every field is one that the
// API knows, selectors find their pods, and a pod has every volume it mounts.
func TestHandWrittenManifestsHoldTogether(t *testing.T) {
	f := func(file string, workloads int) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pods := map[string]corev1.PodTemplateSpec{}
		var services []corev1.Service
		for _, doc := range strings.Split(string(text), "\n---\n") {
			var head struct {
				Kind string `json:"kind"`
			}
			if err := jsonyaml.Unmarshal([]byte(doc), &head); err != nil {
				t.Fatal(err)
			}
			into := map[string]any{
				"ConfigMap": &corev1.ConfigMap{}, "Deployment": &appsv1.Deployment{}, "Namespace": &corev1.Namespace{}, "NetworkPolicy": &networkingv1.NetworkPolicy{},
				"Service": &corev1.Service{}, "StatefulSet": &appsv1.StatefulSet{},
			}[head.Kind]
			if into == nil {
				t.Fatalf("%s: an unexpected %q", file, head.Kind)
			}
			if err := jsonyaml.UnmarshalStrict([]byte(doc), into); err != nil {
				t.Errorf("%s: %s: %v", file, head.Kind, err)
			}
			switch o := into.(type) {
			case *corev1.Service:
				services = append(services, *o)
			case *appsv1.Deployment:
				pods[o.Name] = o.Spec.Template
				fits(t, o.Name, o.Spec.Selector.MatchLabels, o.Spec.Template, nil)
			case *appsv1.StatefulSet:
				pods[o.Name] = o.Spec.Template
				fits(t, o.Name, o.Spec.Selector.MatchLabels, o.Spec.Template, o.Spec.VolumeClaimTemplates)
			}
		}
		if len(pods) != workloads {
			t.Errorf("%s: %d workloads", file, len(pods))
		}
		for _, s := range services {
			for _, p := range s.Spec.Ports {
				named := false
				for _, c := range pods[s.Name].Spec.Containers {
					for _, q := range c.Ports {
						named = named || q.Name == p.TargetPort.StrVal
					}
				}
				if !named || s.Spec.Selector["app.kubernetes.io/name"] != s.Name {
					t.Errorf("%s: the service %s leads nowhere", file, s.Name)
				}
			}
		}
	}
	f("../kubernetes/offline/influxdb.yaml", 1)
	f("../kubernetes/offline/grafana.yaml", 1)
	f("../examples/node/kubernetes.yaml", 2)
}

// fits reports a selector that does not find its pods, a mount without a volume,
// and a container that is not confined.
func fits(t *testing.T, name string, selector map[string]string, pod corev1.PodTemplateSpec, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	for k, v := range selector {
		if pod.Labels[k] != v {
			t.Errorf("%s: its selector %s=%s does not find its pods", name, k, v)
		}
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range claims {
		volumes[c.Name] = true
	}
	if sc := pod.Spec.SecurityContext; sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || sc.SeccompProfile == nil {
		t.Errorf("%s: may be root", name)
	}
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: mounts %s, which it has not", name, m.Name)
			}
		}
		sc := c.SecurityContext
		if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || sc.Capabilities == nil || len(sc.Capabilities.Drop) == 0 {
			t.Errorf("%s: is not confined", name)
		}
	}
}
