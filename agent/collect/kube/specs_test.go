package kube

import (
	"fmt"
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestWhatContainersAskForAndHowTheyAre(t *testing.T) {
	f := func(init bool, container, status, want string) {
		t.Helper()
		kind := "containers"
		statuses := "containerStatuses"
		if init {
			kind, statuses = "initContainers", "initContainerStatuses"
		}
		o := object[*corev1.Pod](t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"+
			"spec: {%s: [{name: c, image: i, %s}]}\nstatus: {%s: [{name: c, %s}]}",
			kind, container, statuses, status))
		c := newPodSpec(o).Containers[0]
		var parts []string
		for _, n := range []struct {
			name string
			v    float64
		}{
			{"cpu", c.CPURequest}, {"cpu<", c.CPULimit}, {"mem", c.MemoryRequest}, {"mem<", c.MemoryLimit}, {"disk", c.StorageRequest}, {"disk<", c.StorageLimit},
		} {
			if !math.IsNaN(n.v) {
				parts = append(parts, fmt.Sprint(n.name, " ", n.v))
			}
		}
		parts = append(parts, c.State)
		if c.Reason != "" {
			parts = append(parts, "for "+c.Reason)
		}
		if c.Ready {
			parts = append(parts, "ready")
		}
		if c.Restarts > 0 {
			parts = append(parts, fmt.Sprint("restarted ", c.Restarts))
		}
		if c.Last != "" {
			parts = append(parts, fmt.Sprint("last ", c.Last, " ", c.LastExitCode, " at ", c.LastFinished))
		}
		if c.Uninteresting {
			parts = append(parts, "done")
		}
		if got := strings.Join(parts, ", "); got != want {
			t.Errorf("%s | %s:\ngot  %s\nwant %s", container, status, got, want)
		}
	}
	f(false, "resources: {requests: {cpu: 700m, memory: 64Mi, ephemeral-storage: 1Gi}, limits: {cpu: 2, memory: 1G, ephemeral-storage: 2Gi}}",
		"ready: true, restartCount: 3, state: {running: {}}",
		"cpu 0.7, cpu< 2, mem 6.7108864e+07, mem< 1e+09, disk 1.073741824e+09, disk< 2.147483648e+09, running, ready, restarted 3")
	f(false, "resources: {limits: {cpu: 0}}", "ready: false", "cpu< 0, ")
	f(false, "", "state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {reason: OOMKilled, exitCode: 137, finishedAt: '1970-01-01T00:01:00Z'}}",
		"waiting, for CrashLoopBackOff, last OOMKilled 137 at 60")
	f(false, "", "state: {terminated: {reason: Completed, exitCode: 0, finishedAt: '1970-01-01T00:02:00Z'}}, "+
		"lastState: {terminated: {reason: Error, exitCode: 1}}",
		"terminated, for Completed, last Completed 0 at 120")
	f(true, "", "state: {terminated: {reason: Completed, exitCode: 0, finishedAt: '1970-01-01T00:02:00Z'}}",
		"terminated, for Completed, last Completed 0 at 120, done")
	f(true, "", "state: {terminated: {reason: Error, exitCode: 1, finishedAt: '1970-01-01T00:02:00Z'}}",
		"terminated, for Error, last Error 1 at 120")
	f(true, "restartPolicy: Always", "state: {terminated: {reason: Completed, exitCode: 0, finishedAt: '1970-01-01T00:02:00Z'}}",
		"terminated, for Completed, last Completed 0 at 120")
}

func TestSpecsAreOfThePodsThatAreHere(t *testing.T) {
	p := newTestKube(t, nil).Pods()
	if err := p.Specs(t.Context(), func(*PodSpec) {}); err == nil || !strings.Contains(err.Error(), "not been read yet") {
		t.Errorf("before the first list: %v", err)
	}
	static := "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd, uid: mirror, annotations: {kubernetes.io/config.hash: hash}}\n" +
		"spec: {hostNetwork: true}\nstatus: {startTime: '1970-01-01T00:01:00Z'}"
	p = podsWith(t, nil, aPod, static)
	var got []string
	list := func() {
		t.Helper()
		got = nil
		if err := p.Specs(t.Context(), func(s *PodSpec) {
			got = append(got, fmt.Sprint(s.Namespace, "/", s.Name, " ", s.UID, " ", s.HostNetwork, " ", s.Start, " ", len(s.Containers)))
		}); err != nil {
			t.Error(err)
		}
	}
	if list(); strings.Join(got, ", ") != "/etcd hash true 60000 0, shop/web-5d-x u1 false 0 2" {
		t.Errorf("got %v", got)
	}
	if err := p.Delete(object[*corev1.Pod](t, aPod)); err != nil {
		t.Fatal(err)
	}
	if list(); len(got) != 1 {
		t.Errorf("after a deletion: %v", got)
	}
}

func TestChangesChangesWithWhatEachYields(t *testing.T) {
	p := podsWith(t, nil, aPod)
	f := func(what string, want bool, do func() error) {
		t.Helper()
		was := p.Changes()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if got := p.Changes() != was; got != want {
			t.Errorf("%s: changed %v", what, got)
		}
	}
	update := func(text string) func() error { return func() error { return p.Update(object[*corev1.Pod](t, text)) } }
	f("the same", false, update(aPod))
	f("an annotation that is no label", true, update(strings.Replace(aPod, "owner: me", "owner: you", 1)))
	f("its address", true, update(strings.Replace(aPod, "10.0.0.7", "10.0.0.8", 1)))
	f("the number of its restarts", false,
		update(strings.NewReplacer("10.0.0.7", "10.0.0.8", "name: app, containerID", "name: app, restartCount: 4, containerID").Replace(aPod)))
	f("its deletion", true, func() error { return p.Delete(object[*corev1.Pod](t, aPod)) }) // its labels are still answered for
	f("its deletion again", false, func() error { return p.Delete(object[*corev1.Pod](t, aPod)) })
	if p.Labels(signal.Labels(signal.LabelPodUID, "u1")) == "" {
		t.Error("forgotten")
	}
}
