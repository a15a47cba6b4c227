package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
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
