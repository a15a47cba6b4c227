package kube

import (
	"maps"
	"reflect"
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"
)

// shelf is a store of what is kept of a resource's objects: as little as is
// needed, and nothing of those that are of no use.
type shelf[T any] struct {
	of      func(o any) (item T, keep bool) // what is kept of an object
	changed func()                          // called, unlocked, when what is kept is another

	mu     sync.Mutex
	items  map[string]T // by namespace/name; guarded by mu
	filled bool         // all there are have been read once; guarded by mu
}

// shelved is an object that was read already.
type shelved[T any] struct {
	key  string
	item T
	keep bool
}

func newShelf[T any](of func(any) (T, bool), changed func()) *shelf[T] {
	return &shelf[T]{of: of, changed: changed, items: map[string]T{}}
}

// Transformer reads objects while the first list comes in, so that they are
// never all in memory. It is part of cache.TransformingStore.
func (s *shelf[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.read(o) }
}

func (s *shelf[T]) read(o any) (shelved[T], error) {
	if r, ok := o.(shelved[T]); ok {
		return r, nil
	}
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o)
	if err != nil {
		return shelved[T]{}, err
	}
	if _, ok := o.(cache.DeletedFinalStateUnknown); ok {
		return shelved[T]{key: key}, nil
	}
	item, keep := s.of(o)
	return shelved[T]{key, item, keep}, nil
}

// Add is part of cache.ReflectorStore.
func (s *shelf[T]) Add(o any) error {
	r, err := s.read(o)
	if err != nil {
		return err
	}
	s.put(r)
	return nil
}

// Update is part of cache.ReflectorStore.
func (s *shelf[T]) Update(o any) error { return s.Add(o) }

// Delete is part of cache.ReflectorStore.
func (s *shelf[T]) Delete(o any) error {
	r, err := s.read(o)
	if err != nil {
		return err
	}
	s.put(shelved[T]{key: r.key})
	return nil
}

func (s *shelf[T]) put(r shelved[T]) {
	s.mu.Lock()
	old, was := s.items[r.key]
	switch {
	case r.keep:
		s.items[r.key] = r.item
	case was:
		delete(s.items, r.key)
	}
	s.mu.Unlock()
	if was != r.keep || r.keep && !reflect.DeepEqual(old, r.item) {
		s.changed()
	}
}

// Replace is part of cache.ReflectorStore.
func (s *shelf[T]) Replace(list []any, _ string) error {
	fresh := make(map[string]T, len(list))
	for i, o := range list {
		r, err := s.read(o)
		if err != nil {
			return err
		}
		if r.keep {
			fresh[r.key] = r.item
		}
		list[i] = nil // the object may go
	}
	s.mu.Lock()
	same := s.filled && reflect.DeepEqual(s.items, fresh)
	s.items, s.filled = fresh, true
	s.mu.Unlock()
	if !same {
		s.changed()
	}
	return nil
}

// Resync is part of cache.ReflectorStore.
func (s *shelf[T]) Resync() error { return nil }

// empty forgets everything: nobody reads the resource any more.
func (s *shelf[T]) empty() {
	s.mu.Lock()
	was := s.filled
	s.items, s.filled = map[string]T{}, false
	s.mu.Unlock()
	if was {
		s.changed()
	}
}

// list returns what is kept in the order of its keys, and whether that is all
// there is. Items are never changed, only replaced.
func (s *shelf[T]) list() (items []T, filled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items = make([]T, 0, len(s.items))
	for _, key := range slices.Sorted(maps.Keys(s.items)) {
		items = append(items, s.items[key])
	}
	return items, s.filled
}

// ready reports whether all there is has been read once.
func (s *shelf[T]) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filled
}
