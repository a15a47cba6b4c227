// Command causeway is the node agent and the commands around it. main.go holds
// what they share, and each command has a file of its own; the work is done in
// package agent.
//
// stdout is data, stderr is log and complaint. Exit codes: 0 ok · 1 failed while
// running · 2 usage · 4 a check failed · 78 the configuration is invalid ·
// 130, 143 ended by a second signal.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // an image of nothing but the binary has no time zones, and CronJobs name them

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/config"
)

// Set by the Makefile.
var (
	version = "dev"
	commit  = ""
)

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitCheck   = 4
	exitInvalid = 78 // EX_CONFIG of sysexits.h
)

// exit is an error that ends the program with a code of its own.
type exit struct {
	code int
	err  error // nil: everything is said already
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "causeway",
		Short:         "One node agent: metrics, logs and events, safe on disk, to every destination",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	g := &global{out: stdout, err: stderr}
	root.PersistentFlags().StringVarP(&g.config, "config", "c", "agent.yaml", "the configuration file")
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit{exitUsage, err} })
	root.AddCommand(runCommand(g), validateCommand(g), configCommand(g), onceCommand(g), statusCommand(g), topCommand(g), diagnoseCommand(g),
		reconcileCommand(g), spoolCommand(g), dlqCommand(g), tapCommand(g), kubernetesCommand(g), dashboardsCommand(g), versionCommand(g))
	groupsRefuse(root)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	var invalid config.Errors
	var e exit
	switch {
	case errors.As(err, &invalid):
		fmt.Fprintln(stderr, invalid.Error())
		return exitInvalid
	case errors.As(err, &e):
		if e.err != nil {
			fmt.Fprintln(stderr, "causeway:", e.err)
		}
		return e.code
	case strings.HasPrefix(err.Error(), "unknown command"), strings.Contains(err.Error(), "arg(s)"):
		fmt.Fprintf(stderr, "causeway: %v\n", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "causeway:", err)
	return exitFailed
}

// global is what the commands share.
type global struct {
	config   string
	out, err io.Writer
}

// load reads the configuration.
func (g *global) load() (*config.Config, error) { return config.Load(g.config, os.Environ()) }

// get asks the running agent for path.
func (g *global) get(ctx context.Context, cfg *config.Config, path string) (*http.Response, error) {
	return g.call(ctx, cfg, http.MethodGet, path)
}

// call makes one request to the running agent. An answer that is not 200 is an error.
func (g *global) call(ctx context.Context, cfg *config.Config, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+cfg.Agent.Listen+path, nil)
	if err != nil {
		return nil, err
	}
	if t := cfg.Agent.Token.Reveal(); t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		words, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return nil, fmt.Errorf("the agent at %s answers %s: %s", cfg.Agent.Listen, resp.Status, strings.TrimSpace(string(words)))
	}
	return resp, nil
}

// ask gets path and decodes its JSON into v.
func (g *global) ask(ctx context.Context, cfg *config.Config, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := g.get(ctx, cfg, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("the answer of %s%s: %w", cfg.Agent.Listen, path, err)
	}
	return nil
}

// json writes v for a script.
func (g *global) json(v any) error {
	enc := json.NewEncoder(g.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// logger returns the agent's own log on w: logfmt for a person, JSON for a collector.
func logger(w io.Writer, format string, level slog.Leveler, terminal bool) *slog.Logger {
	if format == "logfmt" || format == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
			}
			return a
		}}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key { // the names Google's and most other log intakes read
		case slog.LevelKey:
			a.Key = "severity"
			if a.Value.String() == "WARN" {
				a.Value = slog.StringValue("WARNING")
			}
		case slog.MessageKey:
			a.Key = "message"
		}
		return a
	}}))
}
