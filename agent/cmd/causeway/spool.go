package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

func spoolCommand(g *global) *cobra.Command {
	c := &cobra.Command{Use: "spool", Short: "Look into the spool on disk; read only, and safe beside a running agent"}
	add := func(use, short string, look func(dir string) (spool.Report, error)) {
		var output *string
		sub := &cobra.Command{
			Use: use, Short: short, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := g.load()
				if err != nil {
					return err
				}
				all := map[string]spool.Report{}
				damage := false
				for _, k := range signal.Kinds {
					r, err := look(filepath.Join(cfg.Agent.DataDir, "spool", k.String()))
					if err != nil {
						return exit{exitFailed, err}
					}
					all[k.String()] = r
					damage = damage || len(r.Damage) > 0
				}
				if *output == "json" {
					err = g.json(jsonReports(all))
				} else {
					writeReports(g.out, all)
				}
				if err == nil && damage {
					err = exit{code: exitCheck}
				}
				return err
			},
		}
		output = outputFlag(sub)
		c.AddCommand(sub)
	}
	add("ls", "List segments and cursors", spool.List)
	add("verify", "Check every checksum, and say what damage costs; exit 4 if there is any", spool.Verify)
	c.AddCommand(exportCommand(g))
	return c
}

func exportCommand(g *global) *cobra.Command {
	var kind *choice
	var since string
	c := &cobra.Command{
		Use:   "export",
		Short: "Print the items on disk, one JSON object a line",
		Long: `Print the items that the spool holds, delivered or not, oldest first, one JSON
object a line: kind, time, labels, and what that kind has (name and value; body;
title and text). Read only, and safe beside a running agent. What is damaged is
left out; spool verify names it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var from time.Time
			if since != "" {
				var err error
				if from, err = moment(since, time.Now()); err != nil {
					return exit{exitUsage, fmt.Errorf("--since %s: %w", since, err)}
				}
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(g.out, 64<<10)
			for _, k := range signal.Kinds {
				if kind.value != "" && kind.value != k.String() {
					continue
				}
				if err := agent.Export(out, cfg.Agent.DataDir, k, from); err != nil {
					return exit{exitFailed, err}
				}
			}
			return out.Flush()
		},
	}
	kind = choose(c, "kind", "", "", "metric, log or event; default: all", kinds()...)
	c.Flags().StringVar(&since, "since", "", "only items from then on: 10m (ago) or 2006-01-02T15:04:05Z")
	return c
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, errors.New("must be how long ago, such as 10m, or a time such as 2006-01-02T15:04:05Z")
	}
	return t, nil
}

// jsonReport is a spool.Report for a script.
type jsonReport struct {
	Segments []jsonSegment `json:"segments"`
	Cursors  []jsonCursor  `json:"cursors"`
	Damage   []jsonDamage  `json:"damage"`
	Bad      []string      `json:"bad"`    // files that were set aside
	Newest   uint64        `json:"newest"` // frame
	Items    int64         `json:"items"`  // ever appended
}

type jsonSegment struct {
	File      string    `json:"file"`
	First     uint64    `json:"first"` // frame
	Frames    int64     `json:"frames"`
	Items     int64     `json:"items"`
	Bytes     int64     `json:"bytes"`
	FirstTime time.Time `json:"first_time,omitzero"`
	LastTime  time.Time `json:"last_time,omitzero"`
}

type jsonCursor struct {
	Name      string           `json:"name"`
	Next      uint64           `json:"next"` // frame
	In        int64            `json:"in"`
	Waiting   int64            `json:"waiting"`
	Fates     map[string]int64 `json:"fates"` // items by what became of them
	Twice     int64            `json:"resent_possibly_twice"`
	Parts     int              `json:"parts"` // runs of frames not done
	Restarted bool             `json:"books_restarted,omitempty"`
}

type jsonDamage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	What   string `json:"what"`
	Frames int64  `json:"frames"`
	Items  int64  `json:"items"`
}

func jsonReports(all map[string]spool.Report) map[string]jsonReport {
	out := map[string]jsonReport{}
	for kind, r := range all {
		j := jsonReport{Segments: []jsonSegment{}, Cursors: []jsonCursor{}, Damage: []jsonDamage{}, Bad: append([]string{}, r.Bad...), Newest: r.Newest, Items: r.Items}
		for _, s := range r.Segments {
			j.Segments = append(j.Segments, jsonSegment(s))
		}
		for _, c := range r.Cursors {
			k := jsonCursor{
				Name: c.Name, Next: c.Next, In: c.In, Waiting: c.Waiting, Fates: map[string]int64{}, Twice: c.Books.Twice, Parts: c.Ranges, Restarted: c.Reset,
			}
			for f := range spool.NFates {
				k.Fates[f.String()] = c.Books.Items[f]
			}
			j.Cursors = append(j.Cursors, k)
		}
		for _, d := range r.Damage {
			j.Damage = append(j.Damage, jsonDamage(d))
		}
		out[kind] = j
	}
	return out
}

func writeReports(out io.Writer, all map[string]spool.Report) {
	for _, k := range signal.Kinds {
		r := all[k.String()]
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintf(w, "%s\tFIRST\tFRAMES\tITEMS\tSIZE\tFROM\tTO\n", strings.ToUpper(k.String()))
		for _, s := range r.Segments {
			fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%s\t%s\t%s\n", filepath.Base(s.File), s.First, s.Frames, s.Items, size(s.Bytes), clock(s.FirstTime), clock(s.LastTime))
		}
		w.Flush()
		for _, cur := range r.Cursors {
			fmt.Fprintf(out, "  cursor %s: next frame %d, %d of %d items waiting\n", cur.Name, cur.Next, cur.Waiting, cur.In)
		}
		for _, d := range r.Damage {
			fmt.Fprintf(out, "  DAMAGE %s at byte %d: %s; costs %d frames, %d items\n", filepath.Base(d.File), d.Offset, d.What, d.Frames, d.Items)
		}
	}
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
