package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words; any other is a wrong usage.
type choice struct {
	value string
	of    []string
}

// choose adds a flag that takes one of the words in of; def may be another, such as none.
func choose(c *cobra.Command, name, short, def, usage string, of ...string) *choice {
	v := &choice{def, of}
	c.Flags().VarP(v, name, short, usage)
	return v
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("must be %s", either(c.of))
	}
	c.value = s
	return nil
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return "string" }

// either lists words as a choice: a, b or c.
func either(of []string) string {
	last := len(of) - 1
	if last < 1 {
		return strings.Join(of, "")
	}
	return strings.Join(of[:last], ", ") + " or " + of[last]
}

// outputFlag adds -o to a command and returns where its value is.
func outputFlag(c *cobra.Command) *string {
	return &choose(c, "output", "o", "text", "text or json", "text", "json").value
}

// groupsRefuse makes commands that only hold others refuse what is none of
// them. By itself cobra prints their help then, and a script goes on.
func groupsRefuse(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.Runnable() || !c.HasSubCommands() {
			continue
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return exit{exitUsage, fmt.Errorf("unknown command %q for %q: must be %s", args[0], cmd.CommandPath(), either(names))}
		}
	}
}
