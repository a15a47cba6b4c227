package kube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	firstLook  = 5 * time.Minute // how old an event may be where nobody has ever read any
	slack      = 5 * time.Minute // by how much those who report events may be late, or their clocks wrong
	pageItems  = 500
	eventBatch = 500
	watchFor   = 5 * time.Minute // then the server ends a watch, and it is begun again
)

// EventStats counts the events the API server showed us. At rest:
//
//	Seen == Taken + Repeated + Filtered + Old + Lost
type EventStats struct {
	Seen     atomic.Int64 // events, and changes of events
	Taken    atomic.Int64 // given to the Sink and taken
	Repeated atomic.Int64 // of which this change was taken before
	Filtered atomic.Int64 // that the configuration leaves out
	Old      atomic.Int64 // from before this agent, or its predecessor, began
	Lost     atomic.Int64 // the Sink did not take; they come again
	Relists  atomic.Int64 // times the whole list was read: at the start, and where the place in the stream had expired
}

// events reads the cluster's events, while this agent leads.
type events struct {
	conf   EventFilter
	leases *leases
	log    *slog.Logger
	state  *eventFile
	stats  EventStats

	mu  sync.Mutex
	bad error // what is wrong now; guarded by mu
}

func newEvents(k *Kube, l *leases) *events {
	return &events{conf: k.conf.EventFilter, leases: l, log: k.log, state: newEventFile(k.dir)}
}

func (e *events) note(verb string, err error) {
	err = explain(err, verb, "", "events")
	e.mu.Lock()
	was := e.bad
	e.bad = err
	e.mu.Unlock()
	switch {
	case err != nil && was == nil:
		e.log.Warn("cannot read the cluster's events; trying again", "error", brief(err))
	case err == nil && was != nil:
		e.log.Info("can read the cluster's events again")
	}
}

func (e *events) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bad
}

// run reads events until ctx ends: from where this agent or its predecessor
// stopped, if the API server still knows the place, else all of the list that
// is newer.
func (e *events) run(ctx context.Context, client lister[*corev1.EventList], out collect.Sink) {
	if err := e.state.load(); err != nil {
		e.log.Warn("cannot read how far the events were read; going on from the lease", "error", err)
	}
	e.resume()
	pause, expired := firstPause, false
	for {
		began := time.Now()
		err := e.stream(ctx, client, out)
		if ctx.Err() != nil {
			break
		}
		lasted := time.Since(began)
		again := expired && lasted < mostPause
		if expired = apierrors.IsResourceExpired(err) || apierrors.IsGone(err); expired {
			e.state.forgetPlace()
			if !again { // the list is read at once; for a server that says so again and again, later
				continue
			}
		}
		if lasted > mostPause {
			pause = firstPause
		}
		if err == nil && lasted > firstPause { // the server ends each watch after a while
			continue
		}
		if !wait(ctx, pause) {
			break
		}
		pause = min(2*pause, mostPause)
	}
	e.save(true)
}

// resume takes over from the leader before, unless that was this agent: its
// own file knows more then.
func (e *events) resume() {
	text, holder := e.leases.before(markEvents)
	m, ok := parseEventMark(text)
	if ok && (holder != e.leases.name() || e.state.mark == (eventMark{})) {
		e.state.adopt(m)
	}
}

// stream reads events until the server ends the watch, which is no error.
func (e *events) stream(ctx context.Context, client lister[*corev1.EventList], out collect.Sink) error {
	if e.state.mark.version == "" {
		if err := e.list(ctx, client, out); err != nil {
			return err
		}
	}
	seconds := int64(watchFor / time.Second)
	w, err := client.Watch(ctx, metav1.ListOptions{ResourceVersion: e.state.mark.version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
	if ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		e.note("watch", err)
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case first, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if err := e.take(ctx, w, first, out); err != nil {
				return err
			}
		}
	}
}

// take hands on one change, and those that have come already.
func (e *events) take(ctx context.Context, w watch.Interface, ev watch.Event, out collect.Sink) error {
	var list []*corev1.Event
	version := ""
	var failed error
collect:
	for {
		switch o := ev.Object.(type) {
		case *corev1.Event:
			if ev.Type == watch.Added || ev.Type == watch.Modified {
				list = append(list, o)
			}
			version = o.ResourceVersion // that of a deletion and of a bookmark too
		default:
			if ev.Type == watch.Error {
				failed = apierrors.FromObject(ev.Object)
				break collect
			}
		}
		if len(list) == eventBatch {
			break
		}
		select {
		case next, ok := <-w.ResultChan():
			if !ok {
				break collect
			}
			ev = next
		default:
			break collect
		}
	}
	if err := e.put(ctx, list, out); err != nil {
		return err
	}
	if version != "" {
		e.state.at(version)
		e.save(false)
	}
	return failed
}

// list reads all events there are, and hands on those that are new.
func (e *events) list(ctx context.Context, client lister[*corev1.EventList], out collect.Sink) error {
	e.stats.Relists.Add(1)
	if e.state.mark == (eventMark{}) { // nobody has ever read any
		e.state.mark.newest = time.Now().Add(slack - firstLook).UnixMilli()
	}
	since := time.UnixMilli(e.state.mark.newest).Add(-slack)
	version, next := "", ""
	done := false
	defer func(newest int64) {
		if !done { // pages come by name, so what is newer than a page may be on a later one
			e.state.mark.newest = newest
		}
	}(e.state.mark.newest)
	for {
		l, err := client.List(ctx, metav1.ListOptions{Limit: pageItems, Continue: next})
		if ctx.Err() == nil {
			e.note("list", err)
		}
		if err != nil {
			return err
		}
		if version == "" {
			version = l.ResourceVersion
		}
		page := make([]*corev1.Event, 0, len(l.Items))
		for i := range l.Items {
			switch o := &l.Items[i]; {
			case e.state.behind(o.ResourceVersion, version): // by this agent, or the leader before
				e.stats.Seen.Add(1)
				e.stats.Repeated.Add(1)
			case eventTime(o).Before(since):
				e.stats.Seen.Add(1)
				e.stats.Old.Add(1)
			default:
				page = append(page, o)
			}
		}
		slices.SortStableFunc(page, func(a, b *corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
		if err := e.put(ctx, page, out); err != nil {
			return err
		}
		if next = l.Continue; next == "" {
			break
		}
	}
	done = true
	e.state.at(version)
	e.save(true)
	e.leases.write(ctx, markEvents) // where nobody has read any yet, a successor would begin with those of the last minutes
	return nil
}

// put hands on what was not handed on before. An error means that the Sink
// has not taken it: the place in the stream must not move on.
func (e *events) put(ctx context.Context, list []*corev1.Event, out collect.Sink) error {
	b := &signal.Batch{Kind: signal.Event}
	var taken []*corev1.Event
	for _, o := range list {
		e.stats.Seen.Add(1)
		switch {
		case !e.conf.takes(o):
			e.stats.Filtered.Add(1)
		case e.state.knows(string(o.UID), eventCount(o)):
			e.stats.Repeated.Add(1)
		default:
			b.Events = append(b.Events, eventItem(o))
			taken = append(taken, o)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	if err := out.Put(ctx, b); err != nil {
		e.stats.Lost.Add(int64(len(taken)))
		return fmt.Errorf("%d events: %w", len(taken), err)
	}
	e.stats.Taken.Add(int64(len(taken)))
	for _, o := range taken {
		e.state.took(string(o.UID), eventCount(o), eventTime(o))
	}
	return nil
}

// save writes down how far the events were read: on the lease with its next
// renewal, and in the file at most once a second, unless now is set.
func (e *events) save(now bool) {
	e.leases.mark(markEvents, e.state.mark.String())
	if err := e.state.save(now); err != nil {
		e.log.Debug("cannot keep how far the events were read; the lease has it", "error", err)
	}
}

// takes reports whether the filter lets an event through.
func (f EventFilter) takes(o *corev1.Event) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	ns := o.InvolvedObject.Namespace
	return in(f.Namespaces, ns) && in(f.Types, o.Type) && in(f.Reasons, o.Reason) &&
		!slices.Contains(f.Exclude, o.Reason) && !slices.Contains(f.Exclude, o.Reason+"/"+ns)
}

// eventTime is when an event happened the last time.
func eventTime(o *corev1.Event) time.Time {
	t := o.CreationTimestamp.Time
	later := func(u time.Time) {
		if u.After(t) {
			t = u
		}
	}
	later(o.FirstTimestamp.Time)
	later(o.LastTimestamp.Time)
	later(o.EventTime.Time)
	if o.Series != nil {
		later(o.Series.LastObservedTime.Time)
	}
	return t
}

// eventCount is how often an event has happened.
func eventCount(o *corev1.Event) int32 {
	n := max(o.Count, 1)
	if o.Series != nil {
		n = max(n, o.Series.Count)
	}
	return n
}

// eventItem is an event as the agent passes it on.
func eventItem(o *corev1.Event) signal.EventItem {
	about := o.InvolvedObject
	title := o.Reason
	if about.Kind != "" {
		title = strings.TrimSpace(o.Reason + ": " + about.Kind + " " + strings.TrimPrefix(about.Namespace+"/"+about.Name, "/"))
	}
	level := uint8(6) // info
	if o.Type == corev1.EventTypeWarning {
		level = 4
	}
	node := ""
	switch {
	case about.Kind == "Node":
		node = about.Name
	case about.Kind == "Pod":
		node = o.Source.Host // its kubelet's, where that reports it
	}
	pairs := []string{
		signal.LabelNamespace, about.Namespace, signal.LabelObjectKind, about.Kind, signal.LabelObjectName, about.Name,
		signal.LabelObjectUID, string(about.UID), signal.LabelEventReason, o.Reason, signal.LabelEventType, o.Type,
		signal.LabelEventComponent, cmp.Or(o.ReportingController, o.Source.Component), signal.LabelNode, node, signal.LabelHost, node,
	}
	if key := labelOf(about.Kind); key != "" {
		pairs = append(pairs, key, about.Name)
	}
	if about.Kind == "Pod" {
		pairs = append(pairs, signal.LabelPodUID, string(about.UID), signal.LabelK8sContainer, containerOf(about.FieldPath))
	}
	count := eventCount(o)
	return signal.EventItem{
		Time: eventTime(o).UnixNano(), Level: level, Source: "kubernetes", Title: title, Text: o.Message,
		ID: string(o.UID) + "-" + strconv.Itoa(int(count)), Count: uint32(min(count, math.MaxInt32)),
		Labels: signal.Merge(anywhere, signal.Labels(pairs...)),
	}
}

// labelOf is the label that names an object of a kind; "" where there is none.
func labelOf(kind string) string {
	switch kind {
	case "Pod":
		return signal.LabelPod
	case "Deployment":
		return signal.LabelDeployment
	case "ReplicaSet":
		return signal.LabelReplicaSet
	case "DaemonSet":
		return signal.LabelDaemonSet
	case "StatefulSet":
		return signal.LabelStatefulSet
	case "Job":
		return signal.LabelJob
	case "CronJob":
		return signal.LabelCronJob
	case "HorizontalPodAutoscaler":
		return signal.LabelHPA
	case "Service":
		return signal.LabelKubeService
	case "Ingress":
		return signal.LabelIngress
	case "PersistentVolume":
		return signal.LabelPersistentVolume
	case "PersistentVolumeClaim":
		return signal.LabelVolumeClaim
	}
	return ""
}

// containerOf reads the container out of spec.containers{NAME}.
func containerOf(fieldPath string) string {
	_, rest, ok := strings.Cut(fieldPath, "ontainers{") // containers, initContainers
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}
