package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/collect/container/cadvisor"
	"github.com/causeway-agent/causeway/config"
)

func runCommand(g *global) *cobra.Command {
	var hello bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground; SIGHUP reloads, SIGTERM drains and ends, a second SIGTERM ends at once",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Before anything else: a signal must not find the default action.
			stop := make(chan os.Signal, 2)
			signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)

			cfg, err := g.load()
			if err != nil {
				return err
			}
			level := new(slog.LevelVar)
			_ = level.UnmarshalText([]byte(cfg.Agent.Log.Level)) // Check has seen it
			terminal := term.IsTerminal(int(os.Stderr.Fd()))
			log := logger(g.err, cfg.Agent.Log.Format, level, terminal)
			slog.SetDefault(log)
			cadvisor.QuietKlog() // once, before anything logs through klog: its logger is not guarded

			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				<-stop
				first := time.Now()
				cancel()
				s := (<-stop).(syscall.Signal)
				for time.Since(first) < time.Second { // timeout(1) and some shells send one stop twice
					s = (<-stop).(syscall.Signal)
				}
				fmt.Fprintln(g.err, "causeway: ended at once; what was not delivered is on disk")
				os.Exit(128 + int(s))
			}()
			err = agent.Run(ctx, agent.Options{
				ConfigPath: g.config, Environ: os.Environ(), Version: version, Commit: commit, Log: log, Level: level, Reload: reload,
				Ready: func(cfg *config.Config) {
					if terminal || hello {
						greet(g, cfg)
					}
				},
			})
			var invalid config.Errors
			if err != nil && !errors.As(err, &invalid) {
				return exit{exitFailed, err}
			}
			return err
		},
	}
	c.Flags().BoolVar(&hello, "hello", false, "say where to look, even if stderr is no terminal")
	return c
}

// greet tells a person at a terminal where to look and one query to try.
func greet(g *global, cfg *config.Config) {
	w := g.err
	fmt.Fprintf(w, "\n  Causeway %s is running. Data, spool and store: %s\n\n", version, cfg.Agent.DataDir)
	fmt.Fprintf(w, "  status      http://%s/   or: causeway status\n", cfg.Agent.Listen)
	for _, name := range cfg.Active {
		d := cfg.Destinations[name]
		if d.Type == "influxdb" && d.Influx.Embedded {
			fmt.Fprintf(w, "  store       http://%s  (InfluxDB's API, for Grafana and the influx command)\n", d.Influx.Listen)
			fmt.Fprintf(w, "  try         curl -sG http://%s/query --data-urlencode 'db=%s' \\\n                --data-urlencode 'q=SELECT last(used_percent) FROM mem; SHOW MEASUREMENTS'\n", d.Influx.Listen, d.Influx.Database)
			continue
		}
		fmt.Fprintf(w, "  sending to  %s (%s)\n", name, d.Type)
	}
	fmt.Fprintf(w, "  stop        Ctrl-C; what is not delivered by then stays on disk\n\n")
}
