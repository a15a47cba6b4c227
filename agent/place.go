package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
)

// Place is where this node stands in Google's cloud. A field that is not known,
// or does not apply, is empty.
type Place struct {
	Project    string `json:"project,omitempty"`     // its id, not its number
	Zone       string `json:"zone,omitempty"`        // of the machine: europe-west3-a
	Cluster    string `json:"cluster,omitempty"`     // on GKE
	Location   string `json:"location,omitempty"`    // of the cluster, a zone or a region; without a cluster the zone
	Instance   string `json:"instance,omitempty"`    // the machine's name
	InstanceID string `json:"instance_id,omitempty"` // the number Compute Engine gave it
}

// labels are what every item gets of p.
func (p Place) labels() string {
	if p == (Place{}) {
		return ""
	}
	region := p.Zone
	if i := strings.LastIndexByte(region, '-'); i > 0 {
		region = region[:i]
	}
	return signal.Labels(signal.LabelCloudProvider, "gcp", signal.LabelCloudProject, p.Project, signal.LabelCloudZone, p.Zone,
		signal.LabelCloudRegion, region, signal.LabelHostID, p.InstanceID, signal.LabelCluster, p.Cluster)
}

// How the metadata server is waited for. That of GKE begins to answer some
// seconds after the first pods of a new node run (cloud.google.com/kubernetes-engine/docs/how-to/workload-identity).
const (
	placePatience = 30 * time.Second
	placeEvery    = time.Second
	placeLater    = 5 * time.Minute // between two attempts after that
	placeAnswer   = 2 * time.Second // for one question
)

const placeFile = "place.json"

// placer finds out the Place, once, beside everything else: an agent on a
// machine that is in no cloud must not wait for a server that is not there.
type placer struct {
	known     chan struct{}     // closed once place holds an answer, be it that there is none
	transport http.RoundTripper // on which the metadata server is asked; nil: the network

	mu    sync.Mutex
	place Place  // guarded by mu
	state string // guarded by mu: what status shows
	err   error  // guarded by mu: of the last question, while no place is known
	shut  bool   // guarded by mu: known is closed
}

func newPlacer() *placer { return &placer{known: make(chan struct{}), state: "not asked yet"} }

// get returns what is known now.
func (p *placer) get() (Place, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place, p.state
}

// wait returns the Place once there is an answer, or what there is when ctx ends.
func (p *placer) wait(ctx context.Context) Place {
	select {
	case <-p.known:
	case <-ctx.Done():
	}
	at, _ := p.get()
	return at
}

// set records an answer. It reports whether it is news.
func (p *placer) set(at Place, state string) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	news = p.place != at
	p.place, p.state = at, state
	if !p.shut {
		p.shut = true
		close(p.known)
	}
	return news
}

// asks notes since when the metadata server is waited for.
func (p *placer) asks(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.place == (Place{}) {
		p.state = "waiting for the metadata server since " + since.UTC().Format(time.RFC3339)
	}
}

// failed notes what became of a question.
func (p *placer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// status is what status shows.
func (p *placer) status() StatusPlace {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := StatusPlace{Place: p.place, State: p.state}
	if p.place == (Place{}) {
		s.Error = words(p.err)
	}
	return s
}

// onGoogle reports whether there is reason to ask a metadata server: the
// machine's firmware says that it is Google's, or somebody named a server.
func onGoogle(root string) bool {
	if os.Getenv("GCE_METADATA_HOST") != "" {
		return true
	}
	name, err := os.ReadFile(filepath.Join(root, "sys/class/dmi/id/product_name"))
	return err == nil && strings.Contains(string(name), "Google")
}

// asksForPlace reports whether cfg has a destination that cannot do without.
func asksForPlace(cfg *config.Config) bool {
	for _, name := range cfg.Active {
		if d := cfg.Destinations[name]; isGoogle(d) && (d.Google.Project == "auto" || d.Google.Location == "auto") {
			return true
		}
	}
	return false
}

// locate is the unit that asks. What an earlier life was told counts until the
// server answers, so that series keep their names over a restart.
func (a *Agent) locate(cfg *config.Config) unit {
	ask := onGoogle(cfg.Collect.Host.Root) || asksForPlace(cfg)
	return unit{
		name: "place", sort: sourceUnit, conf: ask,
		look: func() any {
			return a.placer.status()
		},
		run: func(ctx context.Context) error {
			if !ask {
				a.placer.set(Place{}, "this machine is not Google's, and no destination asks for it")
				<-ctx.Done()
				return nil
			}
			if at, err := a.home.place(); err == nil {
				a.placed(at, "as an earlier run was told")
			}
			began := time.Now()
			a.placer.asks(began)
			c := metadata.NewClient(&http.Client{Timeout: placeAnswer, Transport: a.placer.transport})
			for {
				at, err := askPlace(ctx, c)
				pause := placeEvery
				if err == nil {
					a.placed(at, "told by the metadata server")
					if err := a.home.setPlace(at); err != nil {
						a.log.Warn("where this node stands cannot be written down; the next start asks again", "error", err)
					}
					<-ctx.Done()
					return nil
				}
				a.placer.failed(err)
				if time.Since(began) > placePatience {
					pause = placeLater
					if at, _ := a.placer.get(); at == (Place{}) {
						a.placed(at, "the metadata server does not answer; it is asked again every "+placeLater.String())
					}
				}
				t := time.NewTimer(pause)
				select {
				case <-t.C:
				case <-ctx.Done():
					t.Stop()
					return nil
				}
			}
		},
	}
}

// placed notes where the node stands, and has everything labelled with it.
func (a *Agent) placed(at Place, state string) {
	if a.placer.set(at, state) {
		a.label(a.config())
	}
}

// askPlace asks a metadata server. What a plain machine of Compute Engine does
// not have, the cluster's name, is no error.
func askPlace(ctx context.Context, c *metadata.Client) (Place, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*placeAnswer)
	defer cancel()
	var at Place
	for _, q := range []struct {
		what string
		into *string
		may  bool // be missing
	}{
		{"project/project-id", &at.Project, false},
		{"instance/zone", &at.Zone, false},
		{"instance/name", &at.Instance, true},
		{"instance/id", &at.InstanceID, true},
		{"instance/attributes/cluster-name", &at.Cluster, true},
		{"instance/attributes/cluster-location", &at.Location, true},
	} {
		v, err := c.GetWithContext(ctx, q.what)
		var missing metadata.NotDefinedError
		if errors.As(err, &missing) && q.may {
			continue
		}
		if err != nil {
			return at, fmt.Errorf("ask the metadata server for %s: %w", q.what, err)
		}
		*q.into = strings.TrimSpace(v)
	}
	at.Zone = path.Base(at.Zone) // projects/NUMBER/zones/ZONE
	if at.Location == "" {
		at.Location = at.Zone
	}
	return at, nil
}

// place returns what an earlier run wrote down.
func (h home) place() (at Place, err error) {
	p, err := os.ReadFile(filepath.Join(h.dir, placeFile))
	if err == nil {
		err = json.Unmarshal(p, &at)
	}
	return at, err
}

func (h home) setPlace(at Place) error {
	p, err := json.MarshalIndent(at, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(h.dir, placeFile), p)
}
