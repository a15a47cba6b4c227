package tail

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// adviceWait is how long a file waits for its pod to be known.
const adviceWait = 5 * time.Second

// Advisor knows what pods wish for their logs. The room that knows the pods
// implements it; Advice is called from Run's goroutine alone and must not block.
type Advisor interface {
	// Advice returns the wishes of one container's pod. known is false as long
	// as the pod is not known: the file waits for it, at most five seconds.
	Advice(podUID, container string) (a Advice, known bool)
}

// Advice is what a pod wishes for the logs of one container.
type Advice struct {
	Skip      bool   // its lines are not read
	Multiline string // as Pods.Multiline; "" for what the configuration says
}

// Advise makes the Tailer ask a before it reads a new file of a pod, so that
// lines carry the pod's labels and wishes from the first one on; nil asks
// nobody. It is called before Run.
func (t *Tailer) Advise(a Advisor) { t.adv = a }

// advise asks for the wishes of f's pod. It reports whether f may be settled:
// not before the pod is known, or has had time enough to be.
func (t *Tailer) advise(f *file, now time.Time) bool {
	if f.advised || t.adv == nil || f.rule.pod == nil {
		return true
	}
	uid, container := f.rule.pod(f.family.root)
	a, known := t.adv.Advice(uid, container)
	if !known && now.Sub(f.found) < adviceWait {
		return false
	}
	f.advised = true
	switch {
	case a.Skip:
		t.close(f)
		t.mu.Lock()
		f.ignored, f.skipped = true, true
		t.mu.Unlock()
	case a.Multiline != "":
		join, err := logline.ParseJoin(a.Multiline)
		if err != nil {
			t.log.Warn("a pod asks for its lines to be joined in a way there is not; its lines are joined as configured", "path", f.path, "err", err)
			break
		}
		f.join = join
	}
	return true
}

// rule is the pattern of the pods' logs. Their beginning is read: what a
// container said before the agent came is asked for more often than not.
func (p Pods) rule() *rule {
	r := &rule{pattern: path.Join(p.Path, "*", "*", "*.log"), start: start{beginning: true}, must: p.Enabled == "true", enc: encUTF8}
	r.form, _ = formOf(p.Format)
	r.setJoin(p.Multiline)
	r.parse = p.Parse
	r.base, r.segs = segments(r.pattern)
	r.labels = func(root string) ([]string, bool) {
		container := path.Base(path.Dir(root))
		ns, pod, uid, ok := podOf(path.Base(path.Dir(path.Dir(root))))
		if !ok || !p.wants(ns, pod, container) {
			return nil, false
		}
		return []string{signal.LabelNamespace, ns, signal.LabelPod, pod, signal.LabelPodUID, uid,
			signal.LabelK8sContainer, container, signal.LabelLogFile, root}, true
	}
	r.pod = func(root string) (uid, container string) {
		_, _, uid, _ = podOf(path.Base(path.Dir(path.Dir(root))))
		return uid, path.Base(path.Dir(root))
	}
	return r
}

// formOf returns the format of containers' logs of that name.
func formOf(name string) (f form, ok bool) {
	switch name {
	case "", "auto":
		return formRuntime, true
	case "cri":
		return formCRI, true
	case "docker":
		return formDocker, true
	}
	return f, false
}

// wants reports whether the configuration lets the container's log be read.
func (p Pods) wants(ns, pod, container string) bool {
	if slices.Contains(p.ExcludeNamespaces, ns) {
		return false
	}
	names := []string{ns, pod, container}
	matched := func(pattern string) bool {
		segs := strings.Split(pattern, "/")
		return len(segs) <= len(names) && matches(segs, names[:len(segs)])
	}
	return (len(p.Include) == 0 || slices.ContainsFunc(p.Include, matched)) && !slices.ContainsFunc(p.Exclude, matched)
}

// podOf takes the name of a pod's log folder apart: NAMESPACE_POD_UID. None of
// the three may hold an underscore.
func podOf(dir string) (ns, pod, uid string, ok bool) {
	part := strings.Split(dir, "_")
	if len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "" {
		return "", "", "", false
	}
	return part[0], part[1], part[2], true
}

// rule is the pattern of Docker's own logs, on a machine without Kubernetes.
func (d Docker) rule(p Pods) *rule {
	r := &rule{pattern: path.Join(d.Path, "*", "*-json.log"), start: start{beginning: true}, must: d.Enabled == "true", form: formDocker, enc: encUTF8}
	if d.Enabled != "true" && p.Enabled != "false" {
		r.unless = p.Path
	}
	r.setJoin(p.Multiline)
	r.parse = p.Parse
	r.base, r.segs = segments(r.pattern)
	r.labels = func(root string) ([]string, bool) {
		return []string{signal.LabelContainerID, path.Base(path.Dir(root)), signal.LabelLogFile, root}, true
	}
	return r
}

// setJoin takes a text that Check has found good.
func (r *rule) setJoin(s string) {
	if s != "" {
		r.join, _ = logline.ParseJoin(s)
	}
}

// stream is the stream of the files that have root as their path, or had it.
func (r *rule) stream(root string, more ...string) signal.Stream {
	pairs, _ := r.labels(root)
	pairs = append(slices.Clip(pairs), more...)
	if r.parse != "" && r.parse != "none" {
		pairs = append(slices.Clip(pairs), signal.LabelParse, r.parse)
	}
	return signal.InternStream(signal.Labels(pairs...))
}
