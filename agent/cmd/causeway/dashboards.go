package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cloud.google.com/go/compute/metadata"
	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/deploy/dashboards"
)

func dashboardsCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "dashboards", Short: "The dashboards that come with the agent, for the product a destination sends to"}
	var destination, dir string
	o := dashboards.Options{Token: os.Getenv("GRAFANA_TOKEN")}
	add := func(use, short string, each func(ctx context.Context, t *dashboards.Target, d *dashboards.Dashboard) error) *cobra.Command {
		sub := &cobra.Command{
			Use: use, Short: short,
			RunE: func(cmd *cobra.Command, names []string) error {
				t, err := g.target(cmd.Context(), destination, o)
				if err != nil {
					return err
				}
				if len(names) == 0 {
					names = dashboards.Names()
				}
				for _, name := range names {
					d, err := dashboards.Load(name)
					if err != nil {
						return exit{exitUsage, err}
					}
					if err := each(cmd.Context(), t, d); err != nil {
						return err
					}
				}
				return nil
			},
		}
		f := sub.Flags()
		f.StringVar(&destination, "destination", "", "the destination of agent.yaml whose product they are for; default: the first active one")
		f.StringVar(&o.Project, "project", "", "Google's project; default: the configuration's, or the one this machine belongs to")
		f.StringVar(&o.Datasource, "datasource", "", "the uid of Grafana's InfluxDB; default: who looks chooses one")
		c.AddCommand(sub)
		return sub
	}
	const printed = "Print dashboards as the product's own JSON, or write one file each"
	render := add("render [NAME…]", printed, func(_ context.Context, t *dashboards.Target, d *dashboards.Dashboard) error {
		p, err := t.Render(d)
		if err != nil {
			return err
		}
		if dir == "" {
			_, err = g.out.Write(p)
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, d.Name+".json"), p, 0o644)
	})
	render.Flags().StringVarP(&dir, "output", "o", "", "the folder for NAME.json; default: standard output")
	const made = "Make the dashboards by the product's own API, or renew those made before"
	apply := add("apply [NAME…]", made, func(ctx context.Context, t *dashboards.Target, d *dashboards.Dashboard) error {
		r, err := t.Apply(ctx, d)
		if err != nil {
			return err
		}
		did := "renewed"
		if r.Made {
			did = "made"
		}
		_, err = fmt.Fprintf(g.out, "%s: %s %s\n", d.Name, did, r.ID)
		return err
	})
	apply.Flags().StringVar(&o.URL, "url", "", "the address of Grafana, such as http://127.0.0.1:3000; of the others it replaces the vendor's")
	apply.Flags().StringVar(&o.Token, "token", o.Token, "of a service account of Grafana's; default: $GRAFANA_TOKEN, which no list of processes shows")
	apply.Flags().Lookup("token").DefValue = ""
	return c
}

// target returns the product that a destination sends to.
func (g *global) target(ctx context.Context, destination string, o dashboards.Options) (*dashboards.Target, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, err
	}
	destination = cmp.Or(destination, cfg.Active[0])
	d, ok := cfg.Destinations[destination]
	if !ok {
		return nil, exit{exitUsage, fmt.Errorf("--destination %s: the configuration has no such destination", destination)}
	}
	if o.Project == "" && d.Google.Project == "auto" {
		// Without an answer, New says what to set.
		o.Project, _ = metadata.NewClient(&http.Client{Timeout: 2 * time.Second}).ProjectIDWithContext(ctx)
	}
	t, err := dashboards.New(d, o)
	if err != nil {
		return nil, exit{exitUsage, fmt.Errorf("destination %s: %w", destination, err)}
	}
	return t, nil
}
