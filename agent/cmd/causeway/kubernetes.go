package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/deploy/manifest"
)

func kubernetesCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "kubernetes", Short: "What an installation in a Kubernetes cluster takes"}
	o := manifest.DefaultOptions()
	if version != "dev" {
		o.Image = strings.TrimSuffix(o.Image, "latest") + version
	}
	m := &cobra.Command{
		Use:   "manifest",
		Short: "Print the objects that exactly this agent.yaml needs, for kubectl apply -f -",
		Long: "manifest reads agent.yaml as a pod of the cluster will: the variables it names, and the files it names in\n" +
			manifest.SecretDir + ", are keys of the Secret, and this machine's do not count.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := o.Check(); err != nil {
				return exit{exitUsage, err}
			}
			source, err := manifest.Read(g.config)
			if err != nil {
				return err
			}
			plan, err := manifest.New(source, o)
			if err != nil {
				return exit{exitCheck, err}
			}
			for _, w := range plan.Warnings {
				fmt.Fprintln(g.err, "causeway: warning:", w)
			}
			return manifest.Write(g.out, plan.Objects())
		},
	}
	f := m.Flags()
	f.BoolVar(&o.Autopilot, "autopilot", o.Autopilot, "for GKE Autopilot: no folder of the node but logs")
	f.StringVar(&o.Name, "name", o.Name, "the name of every object, and of the Secret")
	f.StringVarP(&o.Namespace, "namespace", "n", o.Namespace, "the namespace")
	f.StringVar(&o.Image, "image", o.Image, "the image, with its tag")
	f.StringVar(&o.Role, "role", o.Role,
		"auto: a DaemonSet that elects who reads the cluster's objects | all: DaemonSet, and a Deployment of two for them | node | cluster: one of these")
	f.BoolVar(&o.HostRoot, "host-root", o.HostRoot, "mount the node's /, for reading, to measure file systems; false: /proc and /sys")
	f.BoolVar(&o.HostPorts, "host-ports", o.HostPorts, "DogStatsD and OTLP on the node's own address too")
	c.AddCommand(m)
	return c
}
