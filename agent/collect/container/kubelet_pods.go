package container

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// PodSpecs tells what specification and status of this node's pods say. The
// agent hands in one that reads its informer, where it has one.
type PodSpecs interface {
	// Pods calls yield with each pod of this node. What yield gets is valid
	// during the call, and not written to.
	Pods(ctx context.Context, yield func(*PodSpec)) error
}

// PodSpec is one pod of this node.
type PodSpec struct {
	Namespace, Name string
	UID             string // of a static pod its hash, as the kubelet's cgroups have it, if that is known
	HostNetwork     bool
	Start           int64 // Unix ms, 0 if unknown
	Containers      []ContainerSpec
}

// ContainerSpec is one container of a pod. Amounts that are not set are NaN.
type ContainerSpec struct {
	Name, Image   string
	ID            string // runtime://id of the one that runs, or ran last; "" before the first
	CPURequest    float64
	CPULimit      float64 // cores
	MemoryRequest float64
	MemoryLimit   float64 // bytes
	StorageRequest,
	StorageLimit float64 // bytes of ephemeral storage
	Restarts      float64
	Ready         bool
	State         string // running, waiting, terminated; "" if the status says nothing yet
	Reason        string // why it waits or has terminated
	Last          string // why it terminated the last time, "" if it never did
	LastExitCode  float64
	LastFinished  int64 // Unix s: tells one termination from the next
	Uninteresting bool  // an init container that has done its work: no samples
}

// specs is what the Kubelet keeps of PodSpecs between rounds.
type specs struct {
	known   map[statusKey]*status
	pods    map[podContainer]podFacts
	read    time.Time
	fresh   bool // they were read in this round
	changed bool // the containers are others than at the round before: read them again
}

type statusKey struct{ uid, container string }

type podFacts struct {
	uid         string
	hostNetwork bool
	start       int64
	id, image   string // of a container
}

// status is the reading of one container's specification and status.
type status struct {
	round    uint64
	r        Reading
	finished int64   // when it terminated last, as far as we saw
	kills    float64 // for want of memory, since we look
}

// specsEvery is how old specifications may get while no container comes or
// goes; readiness and the like then lag by so much. The kubelet's own list of
// 110 pods is a megabyte.
const specsEvery = time.Minute

// readSpecs reads the pods' specifications if it is time.
func (k *Kubelet) readSpecs(ctx context.Context) error {
	s := &k.specs
	s.fresh = false
	if _, ours := k.pods.(*kubeletPods); ours && !s.changed && time.Since(s.read) < specsEvery {
		return nil
	}
	pods := make(map[podContainer]podFacts, len(s.pods))
	at := k.now()
	err := k.pods.Pods(ctx, func(p *PodSpec) {
		who := podContainer{Namespace: p.Namespace, Pod: p.Name}
		pods[who] = podFacts{uid: p.UID, hostNetwork: p.HostNetwork, start: p.Start}
		for i := range p.Containers {
			c := &p.Containers[i]
			runtime, id, _ := strings.Cut(c.ID, "://")
			if runtime != "" {
				k.runtime = runtime
			}
			who.Container = c.Name
			pods[who] = podFacts{uid: p.UID, id: id, image: c.Image}
			k.takeStatus(p, c, at)
		}
	})
	if err != nil {
		return err
	}
	s.pods, s.read, s.fresh, s.changed = pods, time.Now(), true, false
	for key, st := range s.known {
		if st.round != k.round {
			delete(s.known, key)
		}
	}
	return nil
}

// takeStatus fills the reading of one container's specification and status.
func (k *Kubelet) takeStatus(p *PodSpec, c *ContainerSpec, at int64) {
	key := statusKey{p.UID, c.Name}
	st := k.specs.known[key]
	if st == nil {
		st = &status{finished: c.LastFinished}
		st.r.Name = "status/" + p.UID + "/" + c.Name
		st.r.Start = at
		st.r.Labels = k.podLabels(podContainer{p.Namespace, p.Name, c.Name}, p.UID, "", "", "")
		k.specs.known[key] = st
	}
	st.round = k.round
	if c.LastFinished != st.finished {
		st.finished = c.LastFinished
		if c.Last == "OOMKilled" {
			st.kills++
		}
	}
	name, labels, start := st.r.Name, st.r.Labels, st.r.Start
	st.r.Reset()
	st.r.Name, st.r.Labels, st.r.Scope, st.r.Start, st.r.Time = name, labels, OfStatus, start, at
	if c.Uninteresting {
		st.r.Time = 0
		return
	}
	v := &st.r.Values
	v[CPURequest], v[CPULimit] = c.CPURequest, c.CPULimit
	v[MemoryRequest], v[MemoryLimit] = c.MemoryRequest, c.MemoryLimit
	v[StorageRequest], v[StorageLimit] = c.StorageRequest, c.StorageLimit
	if c.State == "" {
		return
	}
	v[Restarts], v[OOMKills], v[Ready] = c.Restarts, st.kills, 0
	if c.Ready {
		v[Ready] = 1
	}
	st.r.Parts = append(st.r.Parts, Part{Value: State, A: c.State, Number: 1})
	if c.Reason != "" && c.State != "running" {
		st.r.Parts = append(st.r.Parts, Part{Value: Reason, A: c.Reason, Number: 1})
	}
	if c.Last != "" {
		st.r.Parts = append(st.r.Parts, Part{Value: LastTerminated, A: c.Last, Number: 1})
		v[LastExitCode] = c.LastExitCode
	}
}

// addStatuses appends the readings of statuses. What was read a while ago still
// holds, and is reported for now: a gauge that pauses looks like one that ended.
func (k *Kubelet) addStatuses() {
	at := k.now()
	for _, st := range k.specs.known {
		if st.r.Time != 0 {
			st.r.Time = at
			k.readings = append(k.readings, st.r)
		}
	}
}

// kubeletPods is the PodSpecs that asks the kubelet.
type kubeletPods struct{ client *kubeletClient }

// podList is the part of the kubelet's /pods that we use (v1.PodList).
type podList struct {
	Items []struct {
		Metadata struct {
			Name, Namespace, UID string
			Annotations          map[string]string
		}
		Spec struct {
			HostNetwork                bool
			Containers, InitContainers []podListContainer
		}
		Status struct {
			StartTime                                time.Time
			ContainerStatuses, InitContainerStatuses []podListStatus
		}
	}
}

type podListContainer struct {
	Name, Image, RestartPolicy string
	Resources                  struct{ Requests, Limits map[string]string }
}

type podListStatus struct {
	Name, ContainerID string
	Ready             bool
	RestartCount      float64
	State, LastState  struct {
		Running             *struct{}
		Waiting, Terminated *struct {
			Reason     string
			ExitCode   float64
			FinishedAt time.Time
		}
	}
}

// Pods asks for /pods, which takes get on nodes/pods.
func (k *kubeletPods) Pods(ctx context.Context, yield func(*PodSpec)) error {
	var list podList
	if err := k.client.get(ctx, "/pods", "nodes/pods", func(r io.Reader) error { return json.NewDecoder(r).Decode(&list) }); err != nil {
		return err
	}
	for i := range list.Items {
		p := &list.Items[i]
		spec := PodSpec{Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, UID: p.Metadata.UID, HostNetwork: p.Spec.HostNetwork}
		if hash := p.Metadata.Annotations["kubernetes.io/config.hash"]; hash != "" {
			spec.UID = hash // of a static pod: what its cgroups and the summary have
		}
		if t := p.Status.StartTime; !t.IsZero() {
			spec.Start = t.UnixMilli()
		}
		for _, c := range p.Spec.Containers {
			spec.Containers = append(spec.Containers, c.spec(p.Status.ContainerStatuses, false))
		}
		for _, c := range p.Spec.InitContainers {
			spec.Containers = append(spec.Containers, c.spec(p.Status.InitContainerStatuses, c.RestartPolicy != "Always"))
		}
		yield(&spec)
	}
	return nil
}

// spec puts a container's specification and status together.
func (c *podListContainer) spec(statuses []podListStatus, init bool) ContainerSpec {
	s := ContainerSpec{
		Name: c.Name, Image: c.Image,
		CPURequest: quantity(c.Resources.Requests["cpu"]), CPULimit: quantity(c.Resources.Limits["cpu"]),
		MemoryRequest: quantity(c.Resources.Requests["memory"]), MemoryLimit: quantity(c.Resources.Limits["memory"]),
		StorageRequest: quantity(c.Resources.Requests["ephemeral-storage"]), StorageLimit: quantity(c.Resources.Limits["ephemeral-storage"]),
	}
	for i := range statuses {
		st := &statuses[i]
		if st.Name != c.Name {
			continue
		}
		s.ID, s.Ready, s.Restarts = st.ContainerID, st.Ready, st.RestartCount
		switch {
		case st.State.Running != nil:
			s.State = "running"
		case st.State.Terminated != nil:
			s.State, s.Reason = "terminated", st.State.Terminated.Reason
			s.Uninteresting = init && st.State.Terminated.ExitCode == 0
		case st.State.Waiting != nil:
			s.State, s.Reason = "waiting", st.State.Waiting.Reason
		}
		// One that has terminated and is not yet started again, if ever, has its
		// last termination in its state.
		last := st.LastState.Terminated
		if st.State.Terminated != nil {
			last = st.State.Terminated
		}
		if last != nil {
			s.Last, s.LastExitCode, s.LastFinished = last.Reason, last.ExitCode, last.FinishedAt.Unix()
		}
	}
	return s
}

// quantity reads an amount as Kubernetes writes it: 100m, 1.5, 64Mi, 1e3, 2G.
// NaN for what is none.
func quantity(s string) float64 {
	end := len(s)
	for end > 0 && (s[end-1] < '0' || s[end-1] > '9') && s[end-1] != '.' {
		end--
	}
	scale, ok := 1.0, true
	switch s[end:] {
	case "":
	case "n":
		scale = 1e-9
	case "u":
		scale = 1e-6
	case "m":
		scale = 1e-3
	case "k":
		scale = 1e3
	case "M":
		scale = 1e6
	case "G":
		scale = 1e9
	case "T":
		scale = 1e12
	case "P":
		scale = 1e15
	case "E":
		scale = 1e18
	case "Ki":
		scale = 1 << 10
	case "Mi":
		scale = 1 << 20
	case "Gi":
		scale = 1 << 30
	case "Ti":
		scale = 1 << 40
	case "Pi":
		scale = 1 << 50
	case "Ei":
		scale = 1 << 60
	default:
		ok = false
	}
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || !ok || math.IsInf(v, 0) {
		return math.NaN()
	}
	if scale < 1 {
		return v / math.Round(1/scale) // 100m is 0.1, not 0.1000…1
	}
	return v * scale
}

// readProbes reads /metrics/probes: how often each probe of a container said what.
func (k *Kubelet) readProbes(r io.Reader) error {
	at := k.now()
	byContainer := map[statusKey]int{} // place in readings
	return k.lines(r,
		func(name []byte) bool { return string(name) == "prober_probe_total" },
		func(l *pageLine) {
			key := statusKey{string(l.label("pod_uid")), string(l.label("container"))}
			i, ok := byContainer[key]
			if !ok {
				who := podContainer{string(l.label("namespace")), string(l.label("pod")), key.container}
				i = len(k.readings)
				byContainer[key] = i
				var r Reading
				r.Reset()
				r.Name, r.Scope, r.Time, r.CPU = "probes/"+key.uid+"/"+key.container, OfProbes, at, 0
				r.Labels = k.podLabels(who, key.uid, "", "", "")
				r.Start = k.specs.pods[podContainer{Namespace: who.Namespace, Pod: who.Pod}].start
				k.readings = append(k.readings, r)
			}
			p := Part{Value: Probes, A: strings.ToLower(string(l.label("probe_type"))), B: string(l.label("result")), Number: l.value}
			k.readings[i].CPU += l.value // falls when the kubelet starts again, and its counters with it
			k.readings[i].Parts = append(k.readings[i].Parts, p)
		})
}
