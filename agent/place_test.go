package agent

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/compute/metadata"

	"github.com/causeway-agent/causeway/agent/signal"
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
