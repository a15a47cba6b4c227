package tail

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is the section collect.logs of agent.yaml.
type Config struct {
	Pods          Pods          `yaml:"pods"`
	Docker        Docker        `yaml:"docker"`
	Files         []File        `yaml:"files"`
	MaxLine       int64         `yaml:"max_line"`       // bytes; what is longer is cut and marked. Joined lines of containers too
	MultilineWait time.Duration `yaml:"multiline_wait"` // a record of several lines is whole once nothing was added for so long
}

// Pods says which containers' logs are read.
type Pods struct {
	Enabled           string   `yaml:"enabled"`            // auto: if the folder is there | true | false
	Path              string   `yaml:"path"`               // as the kubelet lays it out: NAMESPACE_POD_UID/CONTAINER/N.log
	Format            string   `yaml:"format"`             // auto: as each record shows | cri | docker
	ExcludeNamespaces []string `yaml:"exclude_namespaces"` // nothing is read of their pods
	Include           []string `yaml:"include"`            // patterns NAMESPACE, NAMESPACE/POD or NAMESPACE/POD/CONTAINER; if there are any, nothing else is read
	Exclude           []string `yaml:"exclude"`            // the same, of what is not read
	Multiline         string   `yaml:"multiline"`          // none | auto: stack traces | start:REGEXP, a line that it matches begins a record. A pod's wish comes first
	Parse             string   `yaml:"parse"`              // how lines are parsed: none, auto, or a format's name
}

// Docker says whether the logs that Docker keeps are read where no Kubernetes
// runs. They are joined and parsed as those of pods.
type Docker struct {
	Enabled string `yaml:"enabled"` // auto: if the folder is there and that of pods is not | true | false
	Path    string `yaml:"path"`    // as Docker lays it out: ID/ID-json.log
}

// File is one pattern of plain log files.
type File struct {
	Path      string   `yaml:"path"`      // absolute; *, ?, [a-z], [^a-z] in names, ** for any number of folders
	Exclude   []string `yaml:"exclude"`   // patterns of paths, or of names if they hold no slash
	Service   string   `yaml:"service"`   // label service.name
	Source    string   `yaml:"source"`    // label log.source: the program that writes it
	Tags      []string `yaml:"tags"`      // labels, written key:value
	Start     string   `yaml:"start"`     // of files that are there when the pattern is new: end (default) | beginning | a duration: from the beginning if changed since
	Multiline string   `yaml:"multiline"` // none (default) | auto: stack traces | start:REGEXP, a line that it matches begins a record
	Parse     string   `yaml:"parse"`     // how lines are parsed: none (default), auto, or a format's name
	Encoding  string   `yaml:"encoding"`  // auto (default): UTF-16 or UTF-8 by the file's byte order mark, else UTF-8 | utf-8 | utf-16le | utf-16be | latin1
	Poll      string   `yaml:"poll"`      // auto (default): once a second on file systems that tell of no changes made elsewhere | true: always | false: never
}

// Default reads containers' logs where there are any, and no other files.
func Default() Config {
	return Config{
		Pods:    Pods{Enabled: "auto", Path: "/var/log/pods", Format: "auto", Multiline: "none", Parse: "none"},
		Docker:  Docker{Enabled: "auto", Path: "/var/lib/docker/containers"},
		MaxLine: 1 << 20, MultilineWait: time.Second,
	}
}

// Enabled reports whether there is anything to follow: patterns of files, or
// containers. Where those are auto that is not known before the folder is there.
func (c Config) Enabled() bool {
	return len(c.Files) > 0 || c.Pods.Enabled != "false" || c.Docker.Enabled != "false"
}

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
	if _, ok := formOf(c.Pods.Format); !ok {
		bad("pods.format", "must be auto, cri or docker, not %q", c.Pods.Format)
	}
	for _, list := range [...]struct {
		key      string
		patterns []string
	}{{"include", c.Pods.Include}, {"exclude", c.Pods.Exclude}} {
		for i, p := range list.patterns {
			if err := checkPodPattern(p); err != nil {
				bad(fmt.Sprintf("pods.%s[%d]", list.key, i), "%w", err)
			}
		}
	}
	checkWays(bad, "pods.", c.Pods.Multiline, c.Pods.Parse)
	if !slices.Contains([]string{"auto", "true", "false"}, c.Docker.Enabled) {
		bad("docker.enabled", "must be auto, true or false, not %q", c.Docker.Enabled)
	}
	if c.Docker.Enabled != "false" && !path.IsAbs(c.Docker.Path) {
		bad("docker.path", "must be an absolute path, not %q", c.Docker.Path)
	}
	if c.MultilineWait < 100*time.Millisecond || c.MultilineWait > time.Minute {
		bad("multiline_wait", "must be between 100ms and 1m")
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
		checkWays(bad, key, f.Multiline, f.Parse)
		if _, err := encodingOf(f.Encoding); err != nil {
			bad(key+"encoding", "%w", err)
		}
		if !slices.Contains([]string{"", "auto", "true", "false"}, f.Poll) {
			bad(key+"poll", "must be auto, true or false, not %q", f.Poll)
		}
		if slices.ContainsFunc(c.Files[:i], func(g File) bool { return g.Path == f.Path }) {
			bad(key+"path", "%q is there already; a file is read once", f.Path)
		}
	}
	return errors.Join(errs...)
}

// checkWays checks how lines are joined and parsed.
func checkWays(bad func(key, format string, args ...any), key, join, parse string) {
	if join != "" {
		if _, err := logline.ParseJoin(join); err != nil {
			bad(key+"multiline", "%w", err)
		}
	}
	if parse != "" {
		if _, err := logline.ParseFormat(parse); err != nil {
			bad(key+"parse", "%w", err)
		}
	}
}

func checkPodPattern(p string) error {
	segs := strings.Split(p, "/")
	if len(segs) > 3 || slices.Contains(segs, "") || slices.Contains(segs, "**") {
		return fmt.Errorf("%q must be written NAMESPACE, NAMESPACE/POD or NAMESPACE/POD/CONTAINER", p)
	}
	return checkPattern(p)
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
		r.labels = func(root string) ([]string, bool) {
			return append(slices.Clip(pairs), signal.LabelLogFile, root), true
		}
		r.setJoin(f.Multiline)
		r.enc, _ = encodingOf(f.Encoding)
		r.parse, r.poll, r.trust = f.Parse, f.Poll == "true", f.Poll == "false"
		rules = append(rules, r)
	}
	if c.Pods.Enabled != "false" {
		rules = append(rules, c.Pods.rule())
	}
	if c.Docker.Enabled != "false" {
		rules = append(rules, c.Docker.rule(c.Pods))
	}
	return rules
}
