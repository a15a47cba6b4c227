package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
)

func dlqCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "The dead-letter log: what destinations refused for good, in their own words"}
	add := func(use, short string, args cobra.PositionalArgs, do func(cmd *cobra.Command, cfg *config.Config, args []string) error) *cobra.Command {
		sub := &cobra.Command{
			Use: use, Short: short, Args: args,
			RunE: func(cmd *cobra.Command, args []string) error {
				cfg, err := g.load()
				if err != nil {
					return err
				}
				return do(cmd, cfg, args)
			},
		}
		c.AddCommand(sub)
		return sub
	}
	var output *string
	ls := add("ls", "List the letters, oldest first", cobra.NoArgs, func(_ *cobra.Command, cfg *config.Config, _ []string) error {
		letters, err := exporters.ListDead(agent.DeadDir(cfg.Agent.DataDir))
		if err != nil {
			return err
		}
		if *output == "json" {
			return g.json(letters)
		}
		w := tabwriter.NewWriter(g.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tTIME\tDESTINATION\tKIND\tREFUSED\tSTATUS\tWORDS")
		for _, l := range letters {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", l.ID, l.Time.Local().Format(time.DateTime), l.Destination, l.Kind, l.Refused, l.Status, l.Words)
		}
		return w.Flush()
	})
	output = outputFlag(ls)
	add("show ID", "Show a letter and its items", cobra.ExactArgs(1), func(_ *cobra.Command, cfg *config.Config, args []string) error {
		l, b, err := exporters.ReadDead(agent.DeadDir(cfg.Agent.DataDir), args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(g.out, "# %s, %s to %s, refused with %d: %s\n", l.Time.Local().Format(time.DateTime), l.Kind, l.Destination, l.Status, l.Words)
		if b != nil {
			fmt.Fprint(g.out, signal.Format(b))
		}
		return nil
	})
	add("replay ID", "Have the running agent send a letter's items once more, and discard it if they are taken", cobra.ExactArgs(1), func(cmd *cobra.Command, cfg *config.Config, args []string) error {
		return g.letter(cmd, cfg, http.MethodPost, "/api/v1/dlq/"+args[0]+"/replay")
	})
	add("discard ID", "Remove a letter", cobra.ExactArgs(1), func(cmd *cobra.Command, cfg *config.Config, args []string) error {
		err := g.letter(cmd, cfg, http.MethodDelete, "/api/v1/dlq/"+args[0])
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		// No agent runs: the file is nobody's but ours.
		dir := agent.DeadDir(cfg.Agent.DataDir)
		if _, err := os.Stat(dir); err != nil {
			return err
		}
		d, err := exporters.OpenDead(dir, exporters.MaxDead)
		if err != nil {
			return err
		}
		return d.Discard(args[0])
	})
	return c
}

// letter has the running agent do something with a letter, and prints what it says.
func (g *global) letter(cmd *cobra.Command, cfg *config.Config, method, path string) error {
	resp, err := g.call(cmd.Context(), cfg, method, path)
	if err != nil {
		return notRunning(cfg, err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(g.out, resp.Body)
	return err
}
