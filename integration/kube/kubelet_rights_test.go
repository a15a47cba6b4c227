//go:build kube

package kube

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// gives is a metric that there is only with a right to the kubelet.
var gives = map[string]string{
	"nodes/metrics": "container.cpu.throttling.throttled_time", "nodes/stats": "k8s.pod.filesystem.usage", "nodes/pods": "k8s.container.restart.count",
}

// eachKubeletRightIsNeeded is TestEachRightIsNeededAndEnough for the rights that
// take a kubelet: agents with exactly the rendered roles lack nothing; each other
// lacks one right, status warns of that and of nothing else, what the others
// give is there, and what is missing comes when the right is given.
func eachKubeletRightIsNeeded(t *testing.T, c *Cluster, a *agent) {
	var all, less []*installation
	install := func(name, kind string) *installation {
		in := a.install(t, nil, name, kind)
		in.kubelet = true
		all = append(all, in)
		return in
	}
	for _, kind := range []string{"node", "blind"} {
		for _, w := range rights(install("full-"+kind, kind).roles, forKubelet) {
			in := install(fmt.Sprintf("lack-%d", len(all)), kind)
			in.broken, in.feature, in.says = w.without(in.roles)
			in.roles[w.role], in.broken = in.broken, in.roles[w.role] // broken is the whole one from here on
			less = append(less, in)
		}
	}
	var b strings.Builder
	for _, in := range all {
		b.WriteString(in.rest)
		for _, r := range in.roles {
			b.WriteString("---\n" + r.text(t))
		}
	}
	apply(t, c, b.String())
	t.Cleanup(func() {
		for _, in := range all {
			if in.agent != nil && in.agent.cmd != nil {
				in.agent.kill()
			}
		}
	})
	for _, in := range all {
		in.start(t, c, a)
	}
	for _, in := range all {
		in.reads(t, c, in.feature)
	}
	b.Reset()
	for _, in := range less {
		b.WriteString("---\n" + in.broken.text(t))
	}
	apply(t, c, b.String())
	for _, in := range all {
		in.reads(t, c, "")
	}
	if len(less) != 5 {
		t.Errorf("%d rights are the kubelet's; want metrics and stats of agents that watch their pods, and pods, too, of those that do not", len(less))
	}
}

// reads waits until status warns of the missing right alone, "" for none, and
// the metrics of all others have come.
func (in *installation) reads(t *testing.T, c *Cluster, without string) {
	t.Helper()
	var r room
	until(t, c, fmt.Sprintf("%s to lack %q", in.name, without), func() (err error) {
		if r, err = in.agent.status(); err != nil {
			return err
		}
		for _, w := range r.Warnings {
			if without == "" || !strings.Contains(w, "["+without+"]") {
				return fmt.Errorf("a warning of %q", w)
			}
		}
		if without != "" && len(r.Warnings) == 0 {
			return errors.New("no warning")
		}
		for right, name := range gives {
			if right != without && !in.agent.has(name) {
				return fmt.Errorf("no %s", name)
			}
		}
		return nil
	})
	if without == "" {
		return
	}
	if in.agent.has(gives[without]) {
		t.Errorf("%s: without %s there is %s", in.name, without, gives[without])
	}
	t.Logf("%s, %s, without %s: %.200q", in.name, in.kind, without, r.Warnings)
}
