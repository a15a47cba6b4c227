package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container/cadvisor"
	"github.com/causeway-agent/causeway/agent/signal"
)

func onceCommand(g *global) *cobra.Command {
	var source, format *choice
	var destination string
	c := &cobra.Command{
		Use:   "once",
		Short: "Collect once and print; sends nothing",
		Long: `Collect from the host and its containers, twice within a second, and print the
newest sample of each series. Sends nothing. What others hand to the agent, and
what it asks for at its own pace (Prometheus targets, probes, objects of the
cluster, logs), is seen in a running agent: causeway tap.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			slog.SetDefault(logger(g.err, "logfmt", slog.LevelWarn, true))
			cadvisor.QuietKlog()
			b, err := agent.Once(cmd.Context(), cfg, source.value)
			if b == nil {
				return exit{exitFailed, err}
			}
			if err != nil {
				fmt.Fprintln(g.err, "causeway:", err)
				if errors.Is(err, collect.ErrAbsent) {
					err = nil
				}
			}
			failed := err
			switch format.value {
			case "text":
				_, err = fmt.Fprint(g.out, signal.Format(b))
			case "json":
				err = g.json(jsonSamples(b))
			case "vendor":
				if destination == "" {
					destination = cfg.Active[0]
				}
				_, ok := cfg.Destinations[destination]
				if !ok {
					return exit{exitUsage, fmt.Errorf("--destination %s: the configuration has no such destination", destination)}
				}
				err = agent.Requests(cmd.Context(), g.out, destination, cfg, b)
			}
			if err == nil && failed != nil {
				return exit{code: exitFailed}
			}
			return err
		},
	}
	source = choose(c, "source", "", "", "host or containers; default: those of the two that are enabled", "host", "containers")
	c.Flags().StringVar(&destination, "destination", "", "whose requests to print with --format vendor; default: the first active one")
	format = choose(c, "format", "", "text", "text, json or vendor (the requests that would be sent)", "text", "json", "vendor")
	return c
}

type jsonSample struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Unit   string            `json:"unit,omitempty"`
	Labels map[string]string `json:"labels"`
	Time   int64             `json:"time_ms"`
	Start  int64             `json:"start_ms,omitempty"`
	Value  float64           `json:"value"`
	Delta  *float64          `json:"delta,omitempty"`
}

func jsonSamples(b *signal.Batch) []jsonSample {
	all := make([]jsonSample, 0, b.Len())
	for _, s := range b.Samples {
		d := s.Series.Desc()
		j := jsonSample{Name: d.Name, Type: d.Type.String(), Unit: d.Unit, Labels: map[string]string{}, Time: s.Time, Start: s.Start, Value: s.Value}
		if s.Prev != 0 {
			j.Delta = &s.Delta
		}
		for k, v := range signal.Walk(d.Labels) {
			j.Labels[k] = v
		}
		all = append(all, j)
	}
	return all
}
