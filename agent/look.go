package agent

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/otlp"
	"github.com/causeway-agent/causeway/agent/collect/probe"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/statsd"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/signal"
)

// What status shows of each source beside its Stats. A detail that is a troubled
// says what is wrong, too: status warns of it.

// troubled is a detail that knows what is wrong.
type troubled interface {
	// trouble returns a line for each thing that is wrong, with its remedy.
	trouble() []string
}

// StatusLogs is the detail of the source that reads log files.
type StatusLogs struct {
	Lines       int64             `json:"lines"`
	Bytes       int64             `json:"bytes"`
	Rotations   int64             `json:"rotations"`
	Truncations int64             `json:"truncations"`
	Cut         int64             `json:"lines_cut"`      // longer than max_line
	Repaired    int64             `json:"lines_repaired"` // were no UTF-8
	Missed      int64             `json:"files_missed"`   // deleted while closed for want of descriptors
	Files       []tail.FileStatus `json:"files"`
	Refused     []tail.Refusal    `json:"refused,omitempty"`
	Trouble     []string          `json:"trouble,omitempty"`
}

func (s StatusLogs) trouble() []string {
	list := slices.Clone(s.Trouble)
	for _, f := range s.Files {
		if f.Err != "" {
			list = append(list, "cannot read "+f.Path+": "+f.Err)
		}
	}
	for _, r := range s.Refused {
		list = append(list, r.Path+" is not read: "+r.Why)
	}
	return list
}

// logStatus is what status shows of the log reader.
func logStatus(t *tail.Tailer) any {
	st := t.Stats()
	return StatusLogs{
		Lines: st.Lines.Load(), Bytes: st.Read.Load(), Rotations: st.Rotations.Load(), Truncations: st.Truncations.Load(),
		Cut: st.CutLines.Load(), Repaired: st.Repaired.Load(), Missed: st.Missed.Load(),
		Files: t.Files(), Refused: t.Refused(), Trouble: t.Trouble(),
	}
}

// StatusStatsD is the detail of the source that listens to StatsD.
type StatusStatsD struct {
	Listen      []string         `json:"listen"`
	Packets     int64            `json:"packets"`
	Metrics     int64            `json:"metrics"`
	Events      int64            `json:"events"`
	Checks      int64            `json:"checks"`
	Refused     int64            `json:"refused"`   // good lines for which a bound left no room
	Malformed   map[string]int64 `json:"malformed"` // lines by what is wrong with them
	KernelDrops int64            `json:"kernel_drops"`
	Series      int64            `json:"series"`
	Lost        int64            `json:"lost"`              // items the spool did not take
	Trouble     []string         `json:"trouble,omitempty"` // now, and within ten minutes
}

func (s StatusStatsD) trouble() []string { return s.Trouble }

// statsdStatus is what status shows of the StatsD listener.
func statsdStatus(s *statsd.Source) any {
	st := s.Stats()
	v := StatusStatsD{
		Listen: s.Addresses(), Packets: st.Packets.Load(), Metrics: st.Metrics.Load(), Events: st.Events.Load(), Checks: st.Checks.Load(),
		Refused: st.Refused.Load(), KernelDrops: st.Dropped.Load(), Series: st.Series.Load(), Lost: st.Lost.Load(),
		Malformed: map[string]int64{}, Trouble: s.Lately(),
	}
	for r := range st.Malformed {
		if n := st.Malformed[r].Load(); n > 0 {
			v.Malformed[statsd.Reason(r).String()] = n
		}
	}
	return v
}

// StatusScrapes is the detail of the source that scrapes Prometheus targets.
type StatusScrapes struct {
	Scrapes   int64            `json:"scrapes"`
	Failed    map[string]int64 `json:"failed"`    // scrapes by reason
	Late      int64            `json:"late"`      // scrapes left out because the one before was not done
	Samples   int64            `json:"samples"`   // in the pages
	NaN       int64            `json:"nan"`       // samples without a value
	Old       int64            `json:"old"`       // samples not newer than the one before
	Twins     int64            `json:"twins"`     // samples that a page has twice
	Malformed int64            `json:"malformed"` // lines
	Exemplars int64            `json:"exemplars"` // left out
	Targets   []StatusTarget   `json:"targets"`
	Trouble   []string         `json:"trouble,omitempty"`
}

// StatusTarget is how one target fares.
type StatusTarget struct {
	URL         string            `json:"url"`
	From        string            `json:"from"`
	Labels      map[string]string `json:"labels,omitempty"`
	Up          bool              `json:"up"`
	Error       string            `json:"error,omitempty"`
	LastRun     time.Time         `json:"last_run,omitzero"`
	TookSeconds float64           `json:"took_seconds,omitempty"`
	Samples     int               `json:"samples"` // in the last good page
	Series      int               `json:"series"`
	Format      string            `json:"format,omitempty"`
}

func (s StatusScrapes) trouble() []string { return s.Trouble }

// scrapeStatus is what status shows of the Prometheus scraper; t may be nil.
func scrapeStatus(s *prom.Source, t *kube.Targets) any {
	st := s.Stats()
	v := StatusScrapes{
		Scrapes: st.Scrapes.Load(), Failed: map[string]int64{}, Late: st.Late.Load(), Samples: st.Samples.Load(), NaN: st.NaN.Load(), Old: st.Old.Load(),
		Twins: st.Twins.Load(), Malformed: st.Malformed.Load(), Exemplars: st.Exemplars.Load(), Targets: []StatusTarget{}, Trouble: s.Trouble(),
	}
	for r := range st.Failed {
		if n := st.Failed[r].Load(); n > 0 {
			v.Failed[prom.Reason(r).String()] = n
		}
	}
	for _, g := range s.Status() {
		v.Targets = append(v.Targets, StatusTarget{
			URL: g.URL, From: g.From, Labels: object(g.Labels), Up: g.Up, Error: words(g.Err), LastRun: g.At, TookSeconds: g.Took.Seconds(),
			Samples: g.Samples, Series: g.Series, Format: g.Format,
		})
	}
	if t != nil {
		v.Trouble = append(v.Trouble, t.Trouble()...)
	}
	return v
}

// StatusProbes is the detail of the source that probes.
type StatusProbes struct {
	Probes []StatusProbe `json:"probes"`
}

// StatusProbe is how one probe fares.
type StatusProbe struct {
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	Target      string    `json:"target"`
	Up          bool      `json:"up"`
	Error       string    `json:"error,omitempty"` // why it is down, or what is about to go wrong
	LastRun     time.Time `json:"last_run,omitzero"`
	TookSeconds float64   `json:"took_seconds,omitempty"`
	HTTPStatus  int       `json:"http_status,omitempty"`
	Expires     time.Time `json:"expires,omitzero"` // the first certificate
}

func (s StatusProbes) trouble() []string {
	var list []string
	for _, p := range s.Probes {
		switch {
		case p.Error == "":
		case p.Up:
			list = append(list, fmt.Sprintf("probe %s (%s): %s; renew it", p.Name, p.Target, p.Error))
		default:
			list = append(list, fmt.Sprintf("probe %s (%s) fails: %s; mend what it asks, or correct it in collect.probes", p.Name, p.Target, p.Error))
		}
	}
	return list
}

// probeStatus is what status shows of the probes.
func probeStatus(s *probe.Source) any {
	v := StatusProbes{Probes: []StatusProbe{}}
	for _, p := range s.Status() {
		v.Probes = append(v.Probes, StatusProbe{
			Name: p.Name, Type: p.Type, Target: p.Target, Up: p.Up, Error: words(p.Err), LastRun: p.At, TookSeconds: p.Took.Seconds(),
			HTTPStatus: p.Status, Expires: p.Expires,
		})
	}
	return v
}

// StatusInlet is the detail of a source of lines that are not files.
type StatusInlet struct {
	Listen  []string         `json:"listen,omitempty"`
	Counts  map[string]int64 `json:"counts"`
	Trouble []string         `json:"trouble,omitempty"`
}

func (s StatusInlet) trouble() []string { return s.Trouble }

// inletStatus is what status shows of a source of lines that are not files: its
// counts by their names, as each room defines them.
func inletStatus(stats any, listen, trouble []string) any {
	s := StatusInlet{Listen: listen, Trouble: trouble, Counts: map[string]int64{}}
	v := reflect.ValueOf(stats).Elem()
	for i := range v.NumField() {
		if n, ok := v.Field(i).Addr().Interface().(*atomic.Int64); ok && v.Type().Field(i).IsExported() {
			s.Counts[snake(v.Type().Field(i).Name)] = n.Load()
		}
	}
	return s
}

// snake writes a Go name as JSON has it: BadFrames is bad_frames.
func snake(name string) string {
	var w []byte
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			if i > 0 {
				w = append(w, '_')
			}
			c += 'a' - 'A'
		}
		w = append(w, c)
	}
	return string(w)
}

// StatusOTLP is the detail of the source that receives OTLP.
type StatusOTLP struct {
	Listen    []string `json:"listen"`
	Requests  int64    `json:"requests"`
	Items     int64    `json:"items"`
	Rejected  int64    `json:"rejected"` // points with a defect; their sender was told
	Empty     int64    `json:"empty"`    // points that said there is no value
	Failed    int64    `json:"failed"`   // items the spool did not take in time; their sender has them
	Exemplars int64    `json:"exemplars"`
	Malformed int64    `json:"malformed"`
	Refused   int64    `json:"refused,omitempty"`
	Busy      int64    `json:"busy"`
	Series    int64    `json:"series"`
}

// otlpStatus is what status shows of the OTLP receiver.
func otlpStatus(s *otlp.Source) any {
	st := s.Stats()
	return StatusOTLP{
		Listen: s.Bound(), Requests: st.Requests.Load(), Items: st.Items.Load(), Rejected: st.Rejected.Load(), Empty: st.Empty.Load(), Failed: st.Failed.Load(),
		Exemplars: st.Exemplars.Load(), Malformed: st.Malformed.Load(), Refused: st.Refused.Load(), Busy: st.Busy.Load(), Series: st.Series.Load(),
	}
}

// StatusKubernetes is the detail of what speaks for the cluster.
type StatusKubernetes struct{ kube.Status }

func (s StatusKubernetes) trouble() []string { return s.Trouble() }

// StatusContainers is the detail of the source that reads containers.
type StatusContainers struct {
	From  string `json:"from"`            // the kubelet's address, or cgroups
	Error string `json:"error,omitempty"` // why it is not the kubelet
}

func (s StatusContainers) trouble() []string {
	if s.Error == "" {
		return nil
	}
	return []string{"containers are read from their cgroups, as the kubelet does not tell: " + s.Error}
}

// containerStatus is what status shows of the reader of containers; nil before its first run.
func containerStatus(p *container.Provider) any {
	if p == nil {
		return nil
	}
	s := StatusContainers{From: "cgroups"}
	if k, ok := (*p).(interface{ From() (string, error) }); ok { // cAdvisor reads nothing else
		var err error
		s.From, err = k.From()
		s.Error = words(err)
	}
	return s
}

// StatusPlace is the detail of what asks the metadata server.
type StatusPlace struct {
	Place
	State string `json:"state"`
	Error string `json:"error,omitempty"` // why it is not known
}

func (s StatusPlace) trouble() []string {
	if s.Error == "" {
		return nil
	}
	return []string{s.State + ": " + s.Error + "; set project, location and agent.cluster by hand if there is none"}
}

// object is a flat label set as JSON shows it.
func object(labels string) map[string]string {
	m := map[string]string{}
	for k, v := range signal.Walk(labels) {
		m[k] = v
	}
	return m
}

// words is an error as status shows it: one line, "" for none.
func words(err error) string {
	if err == nil {
		return ""
	}
	return line(err.Error())
}

// line makes one line of text that others wrote, without control characters:
// it goes to people's terminals.
func line(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// mostTrouble is how many warnings a source may give.
const mostTrouble = 5

// each returns the errors that were joined in err, a line each: what a panic says
// behind its first line is in the log.
func each(err error) []string {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var all, own []string
		for _, e := range j.Unwrap() {
			all, own = append(all, each(e)...), append(own, e.Error())
		}
		if strings.Join(own, "\n") == err.Error() { // and not a text around two
			return all
		}
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return []string{line(first)}
}

// warnings says in a line each what is wrong with a source. Nothing is wrong
// with one that finds nothing to read, and was not told that it must.
func (s *StatusSource) warnings() []string {
	var list []string
	if s.State != "stopped" && s.State != "absent" {
		list = append(list, s.wrong...)
	}
	if d, ok := s.Detail.(troubled); ok {
		list = append(list, d.trouble()...)
	}
	more := len(list) - mostTrouble
	list = list[:min(len(list), mostTrouble)]
	for i, text := range list {
		list[i] = s.Name + ": " + line(text)
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("%s: and %d more; `causeway status -o json` has them all in the source's detail", s.Name, more))
	}
	return list
}
