package tail

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is the section collect.logs of agent.yaml.
type Config struct {
	Pods    Pods   `yaml:"pods"`
	Files   []File `yaml:"files"`
	MaxLine int64  `yaml:"max_line"` // bytes; what is longer is cut and marked. Joined lines of containers too
}

// Pods says which containers' logs are read.
type Pods struct {
	Enabled           string   `yaml:"enabled"`            // auto: if the folder is there | true | false
	Path              string   `yaml:"path"`               // as the kubelet lays it out: NAMESPACE_POD_UID/CONTAINER/N.log
	ExcludeNamespaces []string `yaml:"exclude_namespaces"` // nothing is read of their pods
}

// File is one pattern of plain log files.
type File struct {
	Path    string   `yaml:"path"`    // absolute; *, ?, [a-z], [^a-z] in names, ** for any number of folders
	Exclude []string `yaml:"exclude"` // patterns of paths, or of names if they hold no slash
	Service string   `yaml:"service"` // label service.name
	Source  string   `yaml:"source"`  // label log.source: the program that writes it
	Tags    []string `yaml:"tags"`    // labels, written key:value
	Start   string   `yaml:"start"`   // of files that are there when the pattern is new: end (default) | beginning | a duration: from the beginning if changed since
}

// Default reads containers' logs where there are any, and no other files.
func Default() Config {
	return Config{Pods: Pods{Enabled: "auto", Path: "/var/log/pods"}, MaxLine: 1 << 20}
}

// Enabled reports whether there is anything to follow: patterns of files, or
// pods. Where pods are auto that is not known before the folder is there.
func (c Config) Enabled() bool { return len(c.Files) > 0 || c.Pods.Enabled != "false" }

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf(key+": "+format, args...))
	}
	if !slices.Contains([]string{"auto", "true", "false"}, c.Pods.Enabled) {
		bad("pods.enabled", "must be auto, true or false, not %q", c.Pods.Enabled)
	}
	if c.Pods.Enabled != "false" && !path.IsAbs(c.Pods.Path) {
		bad("pods.path", "must be an absolute path, not %q", c.Pods.Path)
	}
	if c.MaxLine < 1<<10 || c.MaxLine > 16<<20 {
		bad("max_line", "must be between 1KiB and 16MiB")
	}
	for i, f := range c.Files {
		key := fmt.Sprintf("files[%d].", i)
		if !path.IsAbs(f.Path) || path.Clean(f.Path) == "/" {
			bad(key+"path", "must be an absolute path of files, not %q", f.Path)
		}
		if err := checkPattern(f.Path); err != nil {
			bad(key+"path", "%w", err)
		}
		for j, x := range f.Exclude {
			if err := checkPattern(x); err != nil {
				bad(fmt.Sprintf("%sexclude[%d]", key, j), "%w", err)
			}
		}
		for j, tag := range f.Tags {
			if k, v, ok := strings.Cut(tag, ":"); !ok || k == "" || v == "" {
				bad(fmt.Sprintf("%stags[%d]", key, j), "must be written key:value, not %q", tag)
			}
		}
		if _, err := parseStart(f.Start); err != nil {
			bad(key+"start", "%w", err)
		}
		if slices.ContainsFunc(c.Files[:i], func(g File) bool { return g.Path == f.Path }) {
			bad(key+"path", "%q is there already; a file is read once", f.Path)
		}
	}
	return errors.Join(errs...)
}

func checkPattern(p string) error {
	for _, seg := range strings.Split(p, "/") {
		if _, err := path.Match(seg, ""); err != nil {
			return fmt.Errorf("%q is no pattern: a [ lacks its ]", p)
		}
		if strings.Contains(seg, "**") && seg != "**" {
			return fmt.Errorf("%q is no pattern: ** stands alone between two slashes", p)
		}
	}
	return nil
}

// start is where files go on that are there when their rule is new. The zero
// start is their end.
type start struct {
	beginning bool
	since     time.Duration
}

func parseStart(s string) (start, error) {
	switch s {
	case "", "end":
		return start{}, nil
	case "beginning":
		return start{beginning: true}, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return start{}, fmt.Errorf("must be end, beginning or a duration like 1h, not %q", s)
	}
	return start{since: d}, nil
}

func (c Config) maxLine() int { return int(c.MaxLine) }

// rules makes the patterns ready.
func (c Config) rules() []*rule {
	var rules []*rule
	for _, f := range c.Files {
		r := &rule{pattern: f.Path}
		r.base, r.segs = segments(f.Path)
		r.start, _ = parseStart(f.Start)
		for _, x := range f.Exclude {
			r.exclude = append(r.exclude, strings.Split(x, "/"))
		}
		pairs := []string{signal.LabelService, f.Service, signal.LabelLogSource, f.Source}
		for _, tag := range f.Tags {
			k, v, _ := strings.Cut(tag, ":")
			pairs = append(pairs, k, v)
		}
		r.stream = func(root string) (string, bool) {
			return signal.Labels(append(slices.Clip(pairs), signal.LabelLogFile, root)...), true
		}
		rules = append(rules, r)
	}
	if c.Pods.Enabled != "false" {
		rules = append(rules, c.Pods.rule())
	}
	return rules
}
