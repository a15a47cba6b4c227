package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
)

// metadataServer answers as Compute Engine's does; paths that answers lacks are 404.
func metadataServer(t *testing.T, answers map[string]string) *metadata.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := answers[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google":
			http.Error(w, "no flavor", http.StatusForbidden)
		case !ok:
			http.NotFound(w, r)
		default:
			w.Header().Set("Metadata-Flavor", "Google")
			_, _ = w.Write([]byte(v))
		}
	}))
	t.Cleanup(s.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(s.URL, "http://"))
	return metadata.NewClient(s.Client())
}

func TestThePlaceIsWhatTheMetadataServerSays(t *testing.T) {
	machine := map[string]string{"project/project-id": "p-1", "instance/zone": "projects/12/zones/europe-west3-a", "instance/name": "vm", "instance/id": "77\n"}
	gke := map[string]string{"instance/attributes/cluster-name": "prod", "instance/attributes/cluster-location": "europe-west3"}
	at, err := askPlace(t.Context(), metadataServer(t, machine))
	if want := (Place{Project: "p-1", Zone: "europe-west3-a", Location: "europe-west3-a", Instance: "vm", InstanceID: "77"}); err != nil || at != want {
		t.Errorf("a machine without a cluster: %+v, %v", at, err)
	}
	for k, v := range machine {
		gke[k] = v
	}
	at, err = askPlace(t.Context(), metadataServer(t, gke))
	if err != nil || at.Cluster != "prod" || at.Location != "europe-west3" {
		t.Errorf("a node of GKE: %+v, %v", at, err)
	}
	if l := at.labels(); signal.Lookup(l, signal.LabelCluster) != "prod" || signal.Lookup(l, signal.LabelCloudRegion) != "europe-west3" || signal.Lookup(l, signal.LabelHostID) != "77" {
		t.Errorf("its labels: %q", l)
	}
	delete(machine, "project/project-id")
	if _, err := askPlace(t.Context(), metadataServer(t, machine)); err == nil || !strings.Contains(err.Error(), "project/project-id") {
		t.Errorf("a server that does not know the project: %v", err)
	}
}

func TestNoCloudMeansNoLabelsAndNoWaiting(t *testing.T) {
	if l := (Place{}).labels(); l != "" {
		t.Errorf("labels of nowhere: %q", l)
	}
	if onGoogle(t.TempDir()) {
		t.Error("a machine without firmware is taken for Google's")
	}
	p := newPlacer()
	if !p.set(Place{Project: "p"}, "told") || p.set(Place{Project: "p"}, "told") || p.wait(t.Context()).Project != "p" {
		t.Error("an answer is news once, and there for whoever waits")
	}
}

func TestThePlaceOutlivesARestart(t *testing.T) {
	h := home{t.TempDir()}
	if _, err := h.place(); err == nil {
		t.Error("a new data directory knows a place")
	}
	want := Place{Project: "p", Cluster: "c"}
	if err := errors.Join(h.setPlace(want)); err != nil {
		t.Fatal(err)
	}
	if at, err := h.place(); err != nil || at != want {
		t.Errorf("%+v, %v", at, err)
	}
}

// network is a metadata server behind a transport: until answers, it hangs or
// refuses.
type network struct {
	from    time.Time // when it begins to answer
	hangs   bool
	project string
}

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	if time.Now().Before(n.from) {
		if n.hangs {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return nil, errors.New("no route to host")
	}
	answer := map[string]string{"project/project-id": n.project, "instance/zone": "projects/1/zones/europe-west3-a"}[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
	status := http.StatusOK
	if answer == "" {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Metadata-Flavor": {"Google"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func TestThePlaceIsWaitedForGivenUpAndTakenLater(t *testing.T) {
	t.Setenv("GCE_METADATA_HOST", "metadata.test")
	for _, hangs := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cfg := &config.Config{Agent: config.Agent{Node: "n1"}}
			a := &Agent{log: slog.New(slog.DiscardHandler), cfg: cfg, hub: hub.New(nil, time.Now()), home: home{t.TempDir()}, placer: newPlacer()}
			began := time.Now()
			a.placer.transport = network{from: began.Add(10 * time.Minute), hangs: hangs, project: "p-1"}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			u := a.locate(cfg)
			go func() { done <- u.run(ctx) }()
			look := func() StatusPlace { return u.look().(StatusPlace) }

			synctest.Wait()
			if s := look(); s.State != "waiting for the metadata server since "+began.UTC().Format(time.RFC3339) {
				t.Errorf("at once: %+v", s)
			}
			waiting, give := context.WithTimeout(ctx, 20*time.Second)
			if at := a.placer.wait(waiting); at != (Place{}) || waiting.Err() == nil {
				t.Errorf("whoever needs the place did not wait for it: %+v", at)
			}
			give()
			if s := look(); !strings.HasPrefix(s.State, "waiting") || s.Error == "" || len(s.trouble()) != 1 {
				t.Errorf("while it waits: %+v", s)
			}
			if at := a.placer.wait(ctx); at != (Place{}) || time.Since(began) > time.Minute {
				t.Errorf("given up after %v with %+v", time.Since(began), at)
			}
			if s := look(); !strings.Contains(s.State, "does not answer") || len(s.trouble()) != 1 || !strings.Contains(s.trouble()[0], "set project, location") {
				t.Errorf("given up: %+v", s)
			}
			time.Sleep(20 * time.Minute)
			if s := look(); s.Project != "p-1" || s.State != "told by the metadata server" || s.trouble() != nil {
				t.Errorf("later: %+v", s)
			}
			if at, err := a.home.place(); err != nil || at.Project != "p-1" {
				t.Errorf("written down: %+v, %v", at, err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
