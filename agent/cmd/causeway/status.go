package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/config"
)

func statusCommand(g *global) *cobra.Command {
	var output *string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the running agent is doing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			var st agent.Status
			if err := g.ask(cmd.Context(), cfg, "/api/v1/status", &st); err != nil {
				return exit{exitFailed, notRunning(cfg, err)}
			}
			if *output == "json" {
				return g.json(st)
			}
			writeStatus(g.out, &st, time.Now())
			return nil
		},
	}
	output = outputFlag(c)
	return c
}

// notRunning explains the refused connection of an agent that is not there.
func notRunning(cfg *config.Config, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no agent answers on %s (agent.listen); start one with: causeway run (%w)", cfg.Agent.Listen, syscall.ECONNREFUSED)
	}
	return err
}

// mostRows is how many files, targets or probes of a source are shown, those
// with trouble first.
const mostRows = 10

// page writes status for a person.
type page struct {
	out io.Writer
	tab *tabwriter.Writer
	now time.Time
}

// row writes the cells of a line of the present table. A path or a URL may hold
// anything: what moves a terminal's cursor, or ends a cell, becomes a space.
func (p *page) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(p.tab, "\t")
		}
		if s, ok := c.(string); ok {
			c = strings.Map(func(r rune) rune {
				if unicode.IsControl(r) {
					return ' '
				}
				return r
			}, s)
		}
		fmt.Fprint(p.tab, c)
	}
	fmt.Fprintln(p.tab)
}

// end ends a table; what it is told stands below it.
func (p *page) end(notes ...string) {
	p.tab.Flush()
	for _, n := range notes {
		if n != "" {
			fmt.Fprintln(p.out, n)
		}
	}
	fmt.Fprintln(p.out)
}

// ago says how long ago t was.
func (p *page) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration(p.now.Sub(t).Seconds()) + " ago"
}

func writeStatus(out io.Writer, st *agent.Status, now time.Time) {
	p := &page{out, tabwriter.NewWriter(out, 0, 4, 2, ' ', 0), now}
	p.agent(st)
	p.sources(st.Sources)
	for i := range st.Sources {
		s := &st.Sources[i]
		switch s.Name {
		case "collect/kubernetes":
			p.kubernetes(st)
		case "collect/logs":
			p.logs(detail[agent.StatusLogs](s))
		case "collect/prometheus":
			p.targets(detail[agent.StatusScrapes](s).Targets)
		case "collect/probes":
			p.probes(detail[agent.StatusProbes](s).Probes)
		}
	}
	p.spools(st.Spools)
	p.destinations(st.Destinations)
	fmt.Fprintf(out, "The ledger %s.\n", map[bool]string{true: "balances", false: "DOES NOT BALANCE"}[st.Balanced])
	for _, warning := range st.Warnings {
		fmt.Fprintln(out, "! "+warning)
	}
}

// detail is a source's detail in its own form: over the wire it has become a map.
func detail[T any](s *agent.StatusSource) (v T) {
	if raw, err := json.Marshal(s.Detail); err == nil {
		_ = json.Unmarshal(raw, &v) // of an agent of another version: what is alike
	}
	return v
}

// source returns the source of that name, or an empty one.
func source(st *agent.Status, name string) *agent.StatusSource {
	i := slices.IndexFunc(st.Sources, func(s agent.StatusSource) bool { return s.Name == name })
	if i < 0 {
		return &agent.StatusSource{}
	}
	return &st.Sources[i]
}

func (p *page) agent(st *agent.Status) {
	a := st.Agent
	p.row("Agent", strings.TrimSpace(a.Version+" "+a.Commit)+", up "+duration(a.UptimeSeconds))
	p.row("  node", a.Node)
	if a.Cluster != "" {
		p.row("  cluster", a.Cluster)
	}
	if at := detail[agent.StatusPlace](source(st, "place")); at.Project != "" {
		p.row("  place", strings.Join(slices.DeleteFunc([]string{at.Project, at.Zone, at.Cluster}, func(s string) bool { return s == "" }), ", ")+" ("+at.State+")")
	} else if at.Error != "" || strings.HasPrefix(at.State, "waiting") {
		p.row("  place", at.State)
	}
	p.row("  configuration", fmt.Sprintf("%s (%s), active: %s", a.Config, a.ConfigHash, strings.Join(a.Active, ", ")))
	switch {
	case a.LastReload.IsZero():
		p.row("  last reload", "none since the start")
	case a.ReloadError != "":
		p.row("  last reload", p.ago(a.LastReload)+", refused")
	default:
		p.row("  last reload", p.ago(a.LastReload)+", taken")
	}
	p.end()
}

func (p *page) sources(all []agent.StatusSource) {
	p.row("SOURCE", "STATE", "ITEMS", "RUNS", "FAILED", "TOOK", "LAST", "NOTE")
	for _, s := range all {
		note := ""
		if s.State == "absent" {
			note = cmp.Or(s.Error, detail[kube.Status](&s).Absent)
		}
		p.row(s.Name, s.State, s.Items, s.Runs, s.Failures, fmt.Sprintf("%.1f ms", s.TookMS), p.ago(s.LastRun), note)
	}
	p.end()
}

func (p *page) kubernetes(st *agent.Status) {
	k := detail[kube.Status](source(st, "collect/kubernetes"))
	if k.Absent != "" {
		return
	}
	p.row("KUBERNETES")
	p.row("  API server", k.Server)
	if k.Pods != nil {
		p.row("  pods", fmt.Sprintf("%s, %d here, %d gone", map[bool]string{true: "all read", false: "not all read yet"}[k.Pods.Synced], k.Pods.Here, k.Pods.Gone))
	}
	switch {
	case k.Leader == "":
		p.row("  leader", "not known yet")
	case k.Leading:
		p.row("  leader", fmt.Sprintf("%s, this agent, since %s", k.Leader, p.ago(k.Since)))
	default:
		p.row("  leader", fmt.Sprintf("%s, since %s", k.Leader, p.ago(k.Since)))
	}
	if len(k.Resources) > 0 {
		synced, objects, series := 0, 0, 0
		for _, r := range k.Resources {
			objects, series = objects+r.Objects, series+r.Series
			if r.Synced {
				synced++
			}
		}
		p.row("  caches", fmt.Sprintf("%d of %d resources read, %d objects, %d series", synced, len(k.Resources), objects, series))
	}
	if c := detail[agent.StatusContainers](source(st, "collect/containers")); c.From != "" {
		p.row("  containers from", c.From)
	}
	p.end()
}

func (p *page) logs(l agent.StatusLogs) {
	open, behind, lost := 0, int64(0), int64(0)
	var oldest time.Time
	for _, f := range l.Files {
		if f.Open {
			open++
		}
		behind, lost = behind+f.Behind, lost+f.LinesLost
		if !f.UnreadSince.IsZero() && (oldest.IsZero() || f.UnreadSince.Before(oldest)) {
			oldest = f.UnreadSince
		}
	}
	p.row("LOG FILES", "OPEN", "BEHIND", "OLDEST UNREAD", "LINES", "ROTATIONS", "TRUNCATIONS", "LINES LOST", "FILES MISSED")
	p.row(len(l.Files), open, size(behind), p.ago(oldest), l.Lines, l.Rotations, l.Truncations, lost, l.Missed)
	trouble := func(f tail.FileStatus) bool { return f.Err != "" || f.Behind > 0 || f.LinesLost > 0 }
	var files []tail.FileStatus
	for _, f := range l.Files {
		if trouble(f) {
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(x, y tail.FileStatus) int { return int(min(max(y.Behind-x.Behind, -1), 1)) })
	files, more := first(files)
	if len(files) > 0 {
		p.tab.Flush()
		p.row("  FILE", "BEHIND", "UNREAD SINCE", "LINES LOST")
		for _, f := range files {
			p.row("  "+f.Path, size(f.Behind), p.ago(f.UnreadSince), f.LinesLost)
		}
	}
	p.end(more)
}

// first returns the first rows, and a line about the others.
func first[T any](rows []T) ([]T, string) {
	if len(rows) <= mostRows {
		return rows, ""
	}
	return rows[:mostRows], fmt.Sprintf("  and %d more: causeway status -o json", len(rows)-mostRows)
}

func (p *page) targets(all []agent.StatusTarget) {
	if len(all) == 0 {
		return
	}
	up := 0
	for _, t := range all {
		if t.Up {
			up++
		}
	}
	slices.SortStableFunc(all, func(x, y agent.StatusTarget) int { return order(x.Up, y.Up) })
	rows, more := first(all)
	p.row(fmt.Sprintf("TARGET (%d of %d up)", up, len(all)), "STATE", "SAMPLES", "SERIES", "TOOK", "LAST", "FROM")
	for _, t := range rows {
		p.row(t.URL, state(t.Up, t.LastRun), t.Samples, t.Series, milliseconds(t.TookSeconds), p.ago(t.LastRun), t.From)
	}
	p.end(more)
}

func (p *page) probes(all []agent.StatusProbe) {
	slices.SortStableFunc(all, func(x, y agent.StatusProbe) int { return order(x.Up, y.Up) })
	rows, more := first(all)
	p.row("PROBE", "STATE", "TOOK", "LAST", "CERTIFICATE EXPIRES", "OF")
	for _, t := range rows {
		expires := "-"
		if !t.Expires.IsZero() {
			expires = t.Expires.UTC().Format(time.DateOnly)
		}
		p.row(t.Name, state(t.Up, t.LastRun), milliseconds(t.TookSeconds), p.ago(t.LastRun), expires, t.Target)
	}
	p.end(more)
}

// order puts what is down first.
func order(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

func state(up bool, ran time.Time) string {
	switch {
	case up:
		return "up"
	case ran.IsZero():
		return "not asked yet"
	}
	return "DOWN"
}

func milliseconds(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1000) }

func (p *page) spools(all []agent.StatusSpool) {
	p.row("SPOOL", "ITEMS EVER", "ON DISK", "OF", "SEGMENTS", "OLDEST", "FREE DISK")
	for _, s := range all {
		p.row(s.Kind, s.Items, size(s.Bytes), size(s.MaxBytes), s.Segments, p.ago(s.Oldest), size(s.FreeDisk))
	}
	p.end()
}

func (p *page) destinations(all []agent.StatusDestination) {
	p.row("DESTINATION", "KIND", "STATE", "IN", "SENT", "WAITING", "DROPPED", "LAG", "IN FLIGHT", "LAST SUCCESS", "CODES", "KEY")
	for _, d := range all {
		key := "-"
		if d.Key != "" {
			key = "…" + d.Key
		}
		p.row(d.Name, d.Kind, d.State, d.In, d.Sent, d.Waiting, dropped(d.Dropped), duration(d.LagSeconds), d.InFlight, p.ago(d.LastSuccess), codes(d.Codes), key)
	}
	p.end()
}

// codes shows how often each code was answered; 0 stands for no answer.
func codes(by map[string]int64) string {
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(by)) {
		if c == "0" {
			parts = append(parts, fmt.Sprintf("%d× none", by[c]))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d× %s", by[c], c))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// dropped shows the reasons for which something was dropped.
func dropped(by map[string]int64) string {
	var parts []string
	for reason, n := range by {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
