package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/config"
)

func topCommand(g *global) *cobra.Command {
	var once bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Show the running agent live: sources, spool and destinations with rates, lag, errors and drops",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			return g.top(cmd.Context(), cfg, once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "print what one second brought, and end")
	return c
}

// topEvery is how often the picture is drawn anew.
const topEvery = time.Second

// clearScreen goes to the corner and clears what is there (ECMA-48: CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

// top draws the difference between two looks at the agent, again and again.
func (g *global) top(ctx context.Context, cfg *config.Config, once bool) error {
	f, ok := g.out.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	var was agent.Status
	for looks := 0; ; looks++ {
		var st agent.Status
		if err := g.ask(ctx, cfg, "/api/v1/status", &st); err != nil {
			return exit{exitFailed, notRunning(cfg, err)}
		}
		if looks > 0 {
			if terminal && !once {
				fmt.Fprint(g.out, clearScreen)
			}
			writeTop(g.out, &was, &st)
			if once {
				return nil
			}
		}
		was = st
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// mostTopWarnings is how many warnings stand below the tables: a screen is small.
const mostTopWarnings = 5

// writeTop draws what came between two looks. Where the agent was started anew
// between them, the rates are those since its start.
func writeTop(out io.Writer, was, st *agent.Status) {
	seconds := st.Agent.UptimeSeconds - was.Agent.UptimeSeconds
	if !st.Agent.Started.Equal(was.Agent.Started) || seconds <= 0 {
		was, seconds = &agent.Status{}, max(st.Agent.UptimeSeconds, 1)
	}
	rate := func(now, before int64) string { // what was made anew counts from 0
		if now < before {
			before = 0
		}
		return fmt.Sprintf("%.1f", float64(now-before)/seconds)
	}
	sources, spools, rows := map[string]agent.StatusSource{}, map[string]int64{}, map[string]agent.StatusDestination{}
	for _, s := range was.Sources {
		sources[s.Name] = s
	}
	for _, s := range was.Spools {
		spools[s.Kind] = s.Items
	}
	for _, d := range was.Destinations {
		rows[d.Name+"/"+d.Kind] = d
	}
	p := &page{out: out, tab: tabwriter.NewWriter(out, 0, 4, 2, ' ', 0), now: st.Agent.Started.Add(time.Duration(st.Agent.UptimeSeconds * float64(time.Second)))}
	ledger := map[bool]string{true: "balances", false: "DOES NOT BALANCE"}[st.Balanced]
	fmt.Fprintf(out, "causeway %s on %s, up %s; the ledger %s; %d warnings\n\n", st.Agent.Version, st.Agent.Node, duration(st.Agent.UptimeSeconds), ledger, len(st.Warnings))

	p.row("SOURCE", "STATE", "ITEMS/S", "ITEMS", "ERRORS", "TOOK")
	for _, s := range st.Sources {
		if s.Runs > 0 || s.State != "running" && s.State != "absent" {
			p.row(s.Name, s.State, rate(s.Items, sources[s.Name].Items), s.Items, s.Failures, fmt.Sprintf("%.1f ms", s.TookMS))
		}
	}
	p.end()
	p.row("SPOOL", "ITEMS/S", "ON DISK", "OF", "OLDEST")
	for _, s := range st.Spools {
		before, ok := spools[s.Kind]
		if !ok { // its count goes on over restarts
			before = s.Items
		}
		p.row(s.Kind, rate(s.Items, before), size(s.Bytes), size(s.MaxBytes), p.ago(s.Oldest))
	}
	p.end()
	p.row("DESTINATION", "KIND", "STATE", "SENT/S", "SENT", "WAITING", "LAG", "BYTES/S", "ERRORS", "DROPPED", "LAST ERROR")
	for _, d := range st.Destinations {
		before, ok := rows[d.Name+"/"+d.Kind]
		if !ok {
			before.Sent = d.Sent
		}
		p.row(d.Name, d.Kind, d.State, rate(d.Sent, before.Sent), d.Sent, d.Waiting, duration(d.LagSeconds), rate(d.PackedBytes, before.PackedBytes),
			d.Failures, dropped(d.Dropped), short(d.LastError))
	}
	p.end()
	for i, w := range st.Warnings {
		if i == mostTopWarnings {
			fmt.Fprintf(out, "! and %d more: causeway status\n", len(st.Warnings)-i)
			break
		}
		fmt.Fprintln(out, "! "+w)
	}
}

// short cuts a text that would break a table.
func short(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
