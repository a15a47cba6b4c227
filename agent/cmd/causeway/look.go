package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/signal"
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
