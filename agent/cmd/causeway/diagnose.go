package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
)

func diagnoseCommand(g *global) *cobra.Command {
	var output *string
	c := &cobra.Command{
		Use:   "diagnose",
		Short: "Look at everything the agent needs around it, with a remedy for what is missing; exit 4 if a check fails",
		Long: `Look at what the agent needs around it, as the user and from the place where this
is run: run it in the agent's pod, or as its user. data_dir and its space; of each
destination in use the proxy, the name, TLS, the clock, the key; log folders; the
kubelet; the rights in the cluster, verb by verb. Sends no data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.load()
			if err != nil {
				return err
			}
			all, failed := []agent.Check{}, 0
			agent.Diagnose(cmd.Context(), cfg, func(c agent.Check) {
				all = append(all, c)
				if c.Verdict == agent.Fail {
					failed++
				}
				if *output != "json" { // as they come: some take seconds
					fmt.Fprintf(g.out, "%s  %s: %s\n", c.Verdict, c.Name, c.Found)
					if c.Remedy != "" {
						fmt.Fprintf(g.out, "      → %s\n", c.Remedy)
					}
				}
			})
			if *output == "json" {
				if err := g.json(struct {
					OK     bool          `json:"ok"`
					Checks []agent.Check `json:"checks"`
				}{failed == 0, all}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(g.out, "%d checks, %d failed\n", len(all), failed)
			}
			if failed > 0 {
				return exit{code: exitCheck}
			}
			return nil
		},
	}
	output = outputFlag(c)
	return c
}
