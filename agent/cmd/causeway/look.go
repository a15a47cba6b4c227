package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
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
			return writeStatus(g.out, &st)
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

func writeStatus(out io.Writer, st *agent.Status) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("Agent\t%s %s, up %s", st.Agent.Version, st.Agent.Commit, duration(st.Agent.UptimeSeconds))
	p("  node\t%s", st.Agent.Node)
	if st.Agent.Cluster != "" {
		p("  cluster\t%s", st.Agent.Cluster)
	}
	p("  configuration\t%s, active: %s", st.Agent.Config, strings.Join(st.Agent.Active, ", "))
	if !st.Agent.LastReload.IsZero() {
		result := "taken"
		if st.Agent.ReloadError != "" {
			result = "refused"
		}
		p("  last reload\t%s ago, %s", duration(time.Since(st.Agent.LastReload).Seconds()), result)
	}
	w.Flush()
	fmt.Fprintln(out)
	p("SOURCE\tSTATE\tITEMS\tRUNS\tFAILED\tTOOK\tLAST")
	for _, s := range st.Sources {
		last := "-"
		if !s.LastRun.IsZero() {
			last = duration(time.Since(s.LastRun).Seconds()) + " ago"
		}
		p("%s\t%s\t%d\t%d\t%d\t%.1f ms\t%s", s.Name, s.State, s.Items, s.Runs, s.Failures, s.TookMS, last)
	}
	w.Flush()
	fmt.Fprintln(out)
	p("SPOOL\tITEMS EVER\tON DISK\tOF\tSEGMENTS\tOLDEST")
	for _, s := range st.Spools {
		oldest := "-"
		if !s.Oldest.IsZero() {
			oldest = duration(time.Since(s.Oldest).Seconds()) + " ago"
		}
		p("%s\t%d\t%s\t%s\t%d\t%s", s.Kind, s.Items, size(s.Bytes), size(s.MaxBytes), s.Segments, oldest)
	}
	w.Flush()
	fmt.Fprintln(out)
	p("DESTINATION\tKIND\tSTATE\tIN\tSENT\tWAITING\tDROPPED\tLAG\tREQUESTS\tFAILED")
	for _, d := range st.Destinations {
		p("%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%d", d.Name, d.Kind, d.State, d.In, d.Sent, d.Waiting, dropped(d.Dropped), duration(d.LagSeconds), d.Requests, d.Failures)
	}
	w.Flush()
	fmt.Fprintf(out, "\nThe ledger %s.\n", map[bool]string{true: "balances", false: "DOES NOT BALANCE"}[st.Balanced])
	for _, warning := range st.Warnings {
		fmt.Fprintln(out, "! "+warning)
	}
	return nil
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

func reconcileCommand(g *global) *cobra.Command {
	var output *string
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Show what became of each item; exit 4 if the books do not balance",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			var l agent.Ledger
			err = g.ask(cmd.Context(), cfg, "/api/v1/ledger", &l)
			if errors.Is(err, syscall.ECONNREFUSED) {
				l, err = agent.LedgerOf(cfg.Agent.DataDir)
			}
			if err != nil {
				return err
			}
			if *output == "json" {
				err = g.json(l)
			} else {
				writeLedger(g.out, &l)
			}
			if err == nil && !l.Balanced {
				err = exit{code: exitCheck}
			}
			return err
		},
	}
	output = outputFlag(c)
	return c
}

func writeLedger(out io.Writer, l *agent.Ledger) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "DESTINATION\tKIND\tIN\t= SENT\t+ WAITING\t+ DROPPED\tPERHAPS TWICE\tSTATE")
	for _, r := range l.Destinations {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%d\t%s\n", r.Name, r.Kind, r.In, r.Sent, r.Waiting, dropped(r.Dropped), r.Twice, r.State)
	}
	w.Flush()
	fmt.Fprintln(out, map[bool]string{true: "balanced", false: "NOT BALANCED"}[l.Balanced])
}

func spoolCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "spool", Short: "Look into the spool on disk; read only, and safe beside a running agent"}
	add := func(use, short string, look func(dir string) (spool.Report, error)) {
		var output *string
		sub := &cobra.Command{
			Use: use, Short: short, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := g.load()
				if err != nil {
					return err
				}
				all := map[string]spool.Report{}
				damage := false
				for _, k := range signal.Kinds {
					r, err := look(filepath.Join(cfg.Agent.DataDir, "spool", k.String()))
					if err != nil {
						return exit{exitFailed, err}
					}
					all[k.String()] = r
					damage = damage || len(r.Damage) > 0
				}
				if *output == "json" {
					err = g.json(all)
				} else {
					writeReports(g.out, all)
				}
				if err == nil && damage {
					err = exit{code: exitCheck}
				}
				return err
			},
		}
		output = outputFlag(sub)
		c.AddCommand(sub)
	}
	add("ls", "List segments and cursors", spool.List)
	add("verify", "Check every checksum, and say what damage costs; exit 4 if there is any", spool.Verify)
	return c
}

func writeReports(out io.Writer, all map[string]spool.Report) {
	for _, k := range signal.Kinds {
		r := all[k.String()]
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintf(w, "%s\tFIRST\tFRAMES\tITEMS\tSIZE\tFROM\tTO\n", strings.ToUpper(k.String()))
		for _, s := range r.Segments {
			fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%s\t%s\t%s\n", filepath.Base(s.File), s.First, s.Frames, s.Items, size(s.Bytes), clock(s.FirstTime), clock(s.LastTime))
		}
		w.Flush()
		for _, cur := range r.Cursors {
			fmt.Fprintf(out, "  cursor %s: next frame %d, %d of %d items waiting\n", cur.Name, cur.Next, cur.Waiting, cur.In)
		}
		for _, d := range r.Damage {
			fmt.Fprintf(out, "  DAMAGE %s at byte %d: %s; costs %d frames, %d items\n", filepath.Base(d.File), d.Offset, d.What, d.Frames, d.Items)
		}
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// tap prints the running agent's live sample.
func (g *global) tap(ctx context.Context, cfg *config.Config, kind, match string, limit int) error {
	resp, err := g.get(ctx, cfg, "/api/v1/tap?"+url.Values{"kind": {kind}, "match": {match}}.Encode())
	if err != nil {
		return exit{exitFailed, notRunning(cfg, err)}
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	for n := 0; (limit == 0 || n < limit) && lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		fmt.Fprintln(g.out, text)
		if !strings.HasPrefix(text, signal.BlockText) {
			n++
		}
	}
	return lines.Err()
}
