package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/signal"
)

func validateCommand(g *global) *cobra.Command {
	var connect bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration; every error at once, each with its place",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			fmt.Fprintf(g.out, "%s is valid\n", g.config)
			if !connect {
				return nil
			}
			failed := false
			for _, name := range cfg.Active {
				ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
				err := agent.Connect(ctx, name, cfg)
				cancel()
				if err != nil {
					failed = true
					fmt.Fprintf(g.out, "%s: refused: %v\n", name, err)
					continue
				}
				fmt.Fprintf(g.out, "%s: ok\n", name)
			}
			if failed {
				return exit{code: exitCheck}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&connect, "connect", false, "ask each active destination whether it would take our data")
	return c
}

func configCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	var origin bool
	p := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			return cfg.Print(g.out, origin)
		},
	}
	p.Flags().BoolVar(&origin, "origin", false, "say where each value came from")
	c.AddCommand(p)
	return c
}

func versionCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version and commit",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(g.out, "causeway %s %s\n", version, commit)
			return err
		},
	}
}

// kinds are the names of all kinds of signals.
func kinds() []string {
	var names []string
	for _, k := range signal.Kinds {
		names = append(names, k.String())
	}
	return names
}

func tapCommand(g *global) *cobra.Command {
	var kind *choice
	var match string
	var limit int
	c := &cobra.Command{
		Use:   "tap",
		Short: "Show a live sample of what passes the running agent",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if match != "" {
				if _, err := signal.ParseMatch(match); err != nil {
					return exit{exitUsage, fmt.Errorf("--match %s: %w", match, err)}
				}
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			return g.tap(cmd.Context(), cfg, kind.value, match, limit)
		},
	}
	kind = choose(c, "kind", "", "", "metric, log or event; default: all", kinds()...)
	c.Flags().StringVar(&match, "match", "", `a condition, such as 'name == "system.cpu.*"'`)
	c.Flags().IntVar(&limit, "limit", 0, "end after so many items; 0: never")
	return c
}
