//go:build kube

package kube

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// happen makes events from to to-1.
func happen(t *testing.T, c *Cluster, from, to int) {
	t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Event
metadata: {name: numbered-%[1]d, namespace: default}
involvedObject: {kind: Namespace, name: default, namespace: default, apiVersion: v1}
reason: Numbered
message: numbered event %[1]d
type: Normal
count: 1
source: {component: test}
`, i)
	}
	apply(t, c, b.String())
}

// election is a cluster, a lease in the namespace default, and its two contenders.
type election struct {
	*testing.T
	c        *Cluster
	lease    string
	one, two *contender
}

// elect starts two agents of a role, of which the first leads.
func elect(t *testing.T, c *Cluster, a *agent, role string) election {
	t.Helper()
	e := election{T: t, c: c, lease: "causeway-" + role}
	agent := func(name string) *contender {
		return newContender(t, a, name, fmt.Sprintf("node: %s, role: %s", name, role),
			fmt.Sprintf("kubeconfig: %q, lease_namespace: default, lease_name: %s", c.Kubeconfig, e.lease))
	}
	e.one, e.two = agent("one"), agent("two")
	e.one.start()
	e.leads(e.one)
	e.two.start()
	t.Cleanup(func() {
		e.end()
		if t.Failed() {
			t.Logf("one:\n%s\ntwo:\n%s", e.one.said, e.two.said)
		}
	})
	return e
}

// end kills both.
func (e election) end() {
	e.one.kill()
	e.two.kill()
}

// sub runs f as a subtest.
func (e election) sub(name string, f func(election)) {
	e.Run(name, func(t *testing.T) {
		e := e
		e.T = t
		f(e)
	})
}

// leads waits until p has the lease.
func (e election) leads(p *contender) {
	e.Helper()
	until(e.T, e.c, p.name+" to lead", func() error {
		out, err := e.c.Kubectl(e.Context(), "", "-n", "default", "get", "lease", e.lease, "-o", "jsonpath={.spec.holderIdentity}")
		if err == nil && out != p.name && !strings.HasPrefix(out, p.name+"_") {
			err = fmt.Errorf("%q leads", out)
		}
		return err
	})
}

// reports waits until p has sent the state of an interval after at, and returns that.
func (e election) reports(p *contender, at int64) (newest int64) {
	e.Helper()
	until(e.T, e.c, p.name+" to send another interval", func() error {
		all := p.intervals()
		if len(all) == 0 || all[len(all)-1] <= at {
			return fmt.Errorf("it has sent %d", len(all))
		}
		newest = all[len(all)-1]
		return nil
	})
	return newest
}

// come waits until each event has been sent, and returns how many came twice.
func (e election) come(from, to int) (doubled int) {
	e.Helper()
	until(e.T, e.c, "every event", func() error {
		doubled = 0
		for i := from; i < to; i++ {
			n := e.one.count(i) + e.two.count(i)
			if n == 0 {
				return fmt.Errorf("event %d has not come", i)
			}
			doubled += n - 1
		}
		return nil
	})
	return doubled
}

// judge looks for gaps among all intervals that were sent until now, and for
// those that both sent, which may be at most so many after from.
func (e election) judge(from int64, most int) {
	e.Helper()
	one, two := e.one.intervals(), e.two.intervals()
	all := slices.Concat(one, two)
	slices.Sort(all)
	var both []string
	for i := 1; i < len(all); i++ {
		switch step := time.Duration(all[i]-all[i-1]) * time.Millisecond; {
		case step == 0 && all[i] > from:
			both = append(both, time.UnixMilli(all[i]).UTC().Format(time.TimeOnly))
		case step > every:
			e.Errorf("no state between %v and %v", time.UnixMilli(all[i-1]).UTC(), time.UnixMilli(all[i]).UTC())
		}
	}
	if len(both) > most {
		e.Errorf("both sent the state of %v", both)
	}
	e.Logf("%d intervals of one, %d of two; both sent %d: %v", len(one), len(two), len(both), both)
}

// TestLead lets two agents lead in turn, and accounts for each interval of the
// state and each event: two of a Deployment, and then two of a DaemonSet alone,
// which read their own node's pods beside that.
func TestLead(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	e := elect(t, c, a, "cluster")
	e.sub("a killed leader costs no event and no interval", func(e election) { killed(e, 0) })
	e.sub("who steps down in order leaves nothing twice", steppedDown)
	e.sub("leaders that die at once cost no interval", diedAtOnce)
	e.sub("a compacted etcd costs no event and doubles no new one", compacted)
	e.end()

	e = elect(t, c, a, "auto")
	e.sub("nor does one killed among the agents of nodes", func(e election) { killed(e, 300) })
}

// killed kills the leader while events go on, 120 of them. What it had spooled
// and not sent comes when it is back.
func killed(e election, first int) {
	happen(e.T, e.c, first, first+40)
	e.come(first, first+40)
	last := e.reports(e.one, e.reports(e.one, 0)) // how far it has come is on the lease by then
	happen(e.T, e.c, first+40, first+80)
	e.one.kill()
	happen(e.T, e.c, first+80, first+120)
	e.leads(e.two)
	e.one.start()
	doubled := e.come(first, first+120)
	e.reports(e.two, last+int64(5*every/time.Millisecond))
	e.Logf("120 events, %d of them twice, under one ID", doubled)
	e.judge(0, 1)
}

// steppedDown stops the leader in order; it gives the lease back with all it knows.
func steppedDown(e election) {
	last := e.reports(e.two, 0)
	happen(e.T, e.c, 120, 160)
	e.two.stop()
	happen(e.T, e.c, 160, 200)
	e.leads(e.one)
	e.two.start()
	e.reports(e.one, last+int64(3*every/time.Millisecond))
	if n := e.come(120, 200); n > 0 {
		e.Errorf("%d of 80 events came twice", n)
	}
	e.judge(last, 0)
}

// diedAtOnce kills the leader, and who follows as soon as it has sent what it
// made up; the one that was killed first is back by then.
func diedAtOnce(e election) {
	from := e.reports(e.one, 0)
	e.one.kill()
	e.reports(e.two, from)
	e.two.kill()
	e.one.start()
	last := e.reports(e.one, from+int64(20*time.Second/time.Millisecond)) // beyond what two can have sent
	e.two.start()
	e.reports(e.one, last)
	e.judge(from-1, 2)
}

// compacted has nobody lead while events come and go and etcd forgets all that
// was: the place that the leaders know is answered with 410.
func compacted(e election) {
	last := e.reports(e.one, 0)
	e.two.stop()
	e.one.stop()
	before := map[int]int{}
	for i := range 200 {
		before[i] = e.one.count(i) + e.two.count(i)
	}
	happen(e.T, e.c, 200, 280)
	e.compact()
	happen(e.T, e.c, 280, 300)
	e.two.start()
	e.leads(e.two)
	e.reports(e.two, last)
	if n := e.come(200, 300); n > 0 {
		e.Errorf("%d of 100 events came twice", n)
	}
	r, err := e.two.status()
	if err != nil {
		e.Fatal(err)
	}
	if r.Events == nil || r.Events.Relists != 1 || r.Events.Lost != 0 || r.Events.Error != "" {
		e.Errorf("the events: %+v; want one list, for which there was no other reason than the 410, and nothing wrong with it", r.Events)
	}
	again := 0
	for i := range 200 {
		n := e.one.count(i) + e.two.count(i) - before[i]
		again += n
		if n > 1 {
			e.Errorf("event %d of before came %d times more", i, n)
		}
	}
	e.Logf("of 200 events from before, %d came again, under their ID", again)
	e.judge(last, 0)
	e.one.start() // for who cleans up
}

// compact makes etcd forget every revision but the present one, and asks the
// API server for an older one, to be sure.
func (e election) compact() {
	e.Helper()
	place, err := e.c.Kubectl(e.Context(), "", "-n", "default", "get", "lease", e.lease, "-o", `jsonpath={.metadata.annotations.causeway\.dev/events}`)
	if err != nil {
		e.Fatal(err)
	}
	_, version, _ := strings.Cut(place, " ")
	list, err := e.c.Kubectl(e.Context(), "", "get", "--raw", "/api/v1/events?limit=1")
	if err != nil {
		e.Fatal(err)
	}
	_, rest, _ := strings.Cut(list, `"resourceVersion":"`)
	now, _, _ := strings.Cut(rest, `"`)
	revision, err := strconv.Atoi(now)
	if err != nil {
		e.Fatalf("%v in %.300s", err, list)
	}
	body := fmt.Sprintf(`{"revision": "%d", "physical": true}`, revision)
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/v3/kv/compaction", e.c.etcdPort), "application/json", strings.NewReader(body))
	if err != nil {
		e.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		e.Fatalf("compaction: %s: %s", resp.Status, text)
	}
	out, err := e.c.Kubectl(e.Context(), "", "get", "--raw", "/api/v1/events?watch=true&timeoutSeconds=1&resourceVersion="+version)
	if all := fmt.Sprint(out, err); !strings.Contains(all, `"code":410`) {
		e.Fatalf("the place %q is still known: %.500s", version, all)
	}
}
