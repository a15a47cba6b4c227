package kube

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// feed keeps one resource's objects up to date in a store. It lists and
// watches, begins again after whatever goes wrong, and says what that is.
type feed struct {
	kind  kind
	store cache.ReflectorStore
	log   *slog.Logger

	mu   sync.Mutex
	errs map[string]error // by verb; guarded by mu
}

// The pauses between tries: a rule that is missing may be added at any time.
const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
)

// run keeps the store up to date until ctx ends.
func (f *feed) run(ctx context.Context, c *clients) {
	// client-go logs each try by itself; what matters of it is in errs.
	ctx = klog.NewContext(ctx, klog.Logger{})
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector, o.LabelSelector = f.kind.fields, f.kind.labels
			l, err := f.kind.list(ctx, c, o)
			f.note(ctx, "list", err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.LabelSelector = f.kind.fields, f.kind.labels
			w, err := f.kind.watch(ctx, c, o)
			if o.SendInitialEvents != nil && apierrors.IsInvalid(err) {
				return w, err // an API server from before 1.32, which wants a list first
			}
			f.note(ctx, "watch", err)
			return w, err
		},
	}
	r := cache.NewReflectorWithOptions(lw, f.kind.example, f.store, cache.ReflectorOptions{Name: f.kind.resource, Logger: &klog.Logger{}})
	pause := firstPause
	for {
		began := time.Now()
		_ = r.ListAndWatchWithContext(ctx) // note has it
		if time.Since(began) > mostPause {
			pause = firstPause
		}
		// All agents of a cluster lose an API server at the same moment.
		if !wait(ctx, pause/2+rand.N(pause)) {
			return
		}
		pause = min(2*pause, mostPause)
	}
}

// wait returns false if ctx ends before d is over.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// note keeps what became of a request, and logs a change of state.
func (f *feed) note(ctx context.Context, verb string, err error) {
	if ctx.Err() != nil {
		return
	}
	err = explain(err, verb, f.kind.group, f.kind.resource)
	f.mu.Lock()
	was := f.errLocked()
	if f.errs == nil {
		f.errs = map[string]error{}
	}
	f.errs[verb] = err
	if verb == "watch" && err == nil {
		delete(f.errs, "list") // a watch follows a list, or brings the objects itself: no list may ever come again
	}
	is := f.errLocked()
	f.mu.Unlock()
	switch {
	case is != nil && was == nil:
		f.log.Warn("cannot read a resource of the API server; trying again", "resource", f.kind.resource, "error", brief(is))
	case is == nil && was != nil:
		f.log.Info("can read a resource of the API server again", "resource", f.kind.resource)
	}
}

// err returns what is wrong now, nil if nothing is.
func (f *feed) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errLocked()
}

func (f *feed) errLocked() error {
	list, watch := f.errs["list"], f.errs["watch"]
	switch {
	case list == nil:
		return watch
	case watch != nil && apierrors.IsForbidden(list) && apierrors.IsForbidden(watch):
		return fmt.Errorf("both list and watch are missing: %w", list)
	}
	return list
}

// record is what is kept of an object.
type record struct {
	key      string
	readings []reading // those to be summed at the end
	sums     int       // index of the first of them
}

// table is the store of one of the leader's feeds. It holds readings, no
// objects.
type table struct {
	kind kind
	make func() rows // to collect an object's readings in

	mu      sync.Mutex
	records map[string]record // guarded by mu
	filled  bool              // all there are have been read once; guarded by mu
}

func newTable(k kind, fresh func() rows) *table {
	return &table{make: fresh, kind: k, records: map[string]record{}}
}

var _ cache.TransformingStore = (*table)(nil)

// Transformer turns objects into records while the first list comes in, so
// that they are never all in memory.
func (t *table) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return t.record(o) }
}

// record reads an object; of one that was read already it returns what that gave.
func (t *table) record(o any) (record, error) {
	if rec, ok := o.(record); ok {
		return rec, nil
	}
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return record{}, err
	}
	obj, ok := o.(runtime.Object)
	if !ok { // a tombstone: only its key counts
		return record{key: key}, nil
	}
	r := t.make()
	t.kind.rows(&r, obj)
	readings := make([]reading, 0, len(r.each)+len(r.sums))
	readings = append(append(readings, r.each...), r.sums...)
	return record{key: key, readings: readings, sums: len(r.each)}, nil
}

// Add is part of cache.ReflectorStore.
func (t *table) Add(o any) error {
	rec, err := t.record(o)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.records[rec.key] = rec
	t.mu.Unlock()
	return nil
}

// Update is part of cache.ReflectorStore.
func (t *table) Update(o any) error { return t.Add(o) }

// Delete is part of cache.ReflectorStore.
func (t *table) Delete(o any) error {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return err
	}
	t.mu.Lock()
	delete(t.records, key)
	t.mu.Unlock()
	return nil
}

// Replace is part of cache.ReflectorStore.
func (t *table) Replace(list []any, _ string) error {
	fresh := make(map[string]record, len(list))
	for i, o := range list {
		rec, err := t.record(o)
		if err != nil {
			return err
		}
		fresh[rec.key] = rec
		list[i] = nil // the object may go
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = fresh
	t.filled = true
	return nil
}

// Resync is part of cache.ReflectorStore.
func (t *table) Resync() error { return nil }

// size returns the number of objects, and whether they are all there are.
func (t *table) size() (objects, series int, filled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, rec := range t.records {
		series += rec.sums
	}
	return len(t.records), series, t.filled
}
