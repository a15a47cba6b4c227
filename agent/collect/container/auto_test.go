package container

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

func TestAutoTakesTheKubeletWhereItAnswersElseCAdvisor(t *testing.T) {
	absent := fmt.Errorf("not in a cluster: %w", collect.ErrAbsent)
	dead := errors.New("the kubelet does not answer")
	some := []Reading{reading("a", 1000, 5000, 1)}
	f := func(what string, kubelet, cadvisor *node, want *node, says string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			a := Auto(kubelet, cadvisor, quiet())
			got, err := a.Read(t.Context())
			if len(got) != len(want.readings) || (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %d readings, %v", what, len(got), err)
			}
			if want == kubelet && len(got) > 0 && !cadvisor.closed {
				t.Errorf("%s: cAdvisor is still open", what)
			}
			if err := a.Close(); err != nil || !kubelet.closed || !cadvisor.closed {
				t.Errorf("%s: Close: %v, %v, %v", what, err, kubelet.closed, cadvisor.closed)
			}
		})
	}
	var k, c *node
	k, c = &node{readings: some}, &node{readings: some[:0]}
	f("both", k, c, k, "")
	k, c = &node{readings: some, err: errors.New("nodes/stats is missing")}, &node{}
	f("a kubelet that tells half", k, c, k, "nodes/stats")
	k, c = &node{err: dead}, &node{readings: some}
	f("a dead kubelet", k, c, c, "")
	k, c = &node{err: absent}, &node{readings: some}
	f("no cluster", k, c, c, "")
	k, c = &node{err: dead}, &node{err: fmt.Errorf("no cgroups: %w", collect.ErrAbsent)}
	f("no cgroups, dead kubelet", k, c, c, "does not answer")
	k, c = &node{err: absent}, &node{err: fmt.Errorf("no cgroups: %w", collect.ErrAbsent)}
	f("neither", k, c, c, "no cgroups")
}

func TestAutoSaysWhyItIsNotTheKubelet(t *testing.T) {
	f := func(kubelet error, want string, why bool) {
		t.Helper()
		a := Auto(&node{err: kubelet}, &node{readings: []Reading{{Name: "/a"}}}, slog.New(slog.DiscardHandler)).(*auto)
		if _, err := a.Read(t.Context()); err != nil {
			t.Error(err)
		}
		if from, err := a.From(); from != want || (err != nil) != why {
			t.Errorf("%v: %s, %v", kubelet, from, err)
		}
	}
	f(errors.New("403"), "cgroups", true)
	f(fmt.Errorf("not in a cluster: %w", collect.ErrAbsent), "cgroups", false)
	k := NewKubelet(Config{Kubelet: KubeletConfig{URL: "https://10.0.0.1:10250/"}}, "n", os.Getenv, nil, slog.New(slog.DiscardHandler))
	a := &auto{kubelet: k, chosen: k}
	if from, err := a.From(); from != "https://10.0.0.1:10250" || err != nil {
		t.Errorf("%s, %v", from, err)
	}
}

func TestAutoIsAbsentOnlyIfBothAre(t *testing.T) {
	absent := fmt.Errorf("nothing: %w", collect.ErrAbsent)
	f := func(kubelet, cadvisor error, want bool) {
		t.Helper()
		_, err := Auto(&node{err: kubelet}, &node{err: cadvisor}, quiet()).Read(t.Context())
		if errors.Is(err, collect.ErrAbsent) != want {
			t.Errorf("%v and %v: %v", kubelet, cadvisor, err)
		}
	}
	f(absent, absent, true)
	f(errors.New("x"), absent, false)
	f(absent, errors.New("x"), false)
	f(errors.New("x"), errors.New("y"), false)
}

func TestAutoTurnsToAKubeletThatComesLaterAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		some := []Reading{reading("a", 1000, 5000, 1)}
		kubelet, cadvisor := &node{err: errors.New("refused")}, &node{readings: some}
		a := Auto(kubelet, cadvisor, quiet())
		read := func(want *node) {
			t.Helper()
			got, err := a.Read(t.Context())
			if len(got) != len(want.readings) || !errors.Is(err, want.err) {
				t.Errorf("%d readings, %v", len(got), err)
			}
		}
		read(cadvisor)
		kubelet.readings, kubelet.err = append(some, some...), nil
		read(cadvisor) // not asked again so soon
		time.Sleep(retryKubelet)
		read(kubelet)
		kubelet.readings, kubelet.err = nil, errors.New("down")
		read(kubelet) // a failure, no change of source
	})
}
