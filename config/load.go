package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-agent/causeway/config/secret"
)

const (
	maxFile   = 1 << 20 // bytes of agent.yaml; etcd and so a ConfigMap hold no more
	maxSecret = 64 << 10
	delimiter = "\x1f" // between viper's keys; no key can contain it
)

// provenance is what is remembered of where a Config came from.
type provenance struct {
	file    string
	secrets []string // paths of the secret files that were to be read
	origins map[string]origin
}

// Load reads the file at path and the environment, as os.Environ returns it,
// and returns the configuration they make, or Errors. The names of secret files
// that are not absolute are taken from the file's folder.
func Load(path string, env []string) (*Config, error) {
	text, err := readConfig(path)
	if err != nil {
		return nil, Errors{{File: path, Message: err.Error()}}
	}
	return load(path, text, env, readSecret)
}

// beside returns the path of a secret file that the configuration file names.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}

// readConfig returns the text of the file.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file; name yours with -c, or start from the agent.yaml that comes with Causeway")
	case err != nil:
		return nil, cause(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(text) > maxFile {
		return nil, errors.New("is larger than 1 MiB, which no configuration is")
	}
	return text, nil
}

// readSecret returns the content of a secret file without its last line break.
// A file that is no regular one, a pipe say, could block for ever and is refused.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(text) > maxSecret {
		return nil, errors.New("larger than 64 KiB, which no secret is")
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")), nil
}

// cause returns what happened without the path, which stands before it already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// load is Load without the disk: secretFile reads a secret file.
func load(file string, text []byte, env []string, secretFile func(string) ([]byte, error)) (*Config, error) {
	r := &reader{
		file: file, env: map[string]string{},
		origins: map[string]origin{}, bad: map[string]bool{}, hidden: map[string][]string{},
		files: map[string]secretRef{}, types: map[string]string{}, given: map[string]bool{},
	}
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			r.env[name] = value
		}
	}
	root, problem := parse(file, text)
	if problem != nil {
		return nil, Errors{*problem}
	}
	fromFile := r.section(root, "", reflect.TypeFor[Config]())
	if r.nodes >= maxNodes {
		return nil, r.problems.sorted() // the rest would only cost time
	}
	fromEnv := r.environment()
	r.readSecrets(activeIn(fromEnv, fromFile), secretFile)

	c := r.decode(fromFile, fromEnv)
	r.check(c)
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	c.from = &provenance{file: file, origins: r.origins}
	for _, key := range slices.Sorted(maps.Keys(r.files)) {
		c.from.secrets = append(c.from.secrets, beside(file, r.files[key].path))
	}
	return c, nil
}

// parse returns the one mapping of a YAML text.
func parse(file string, text []byte) (*yaml.Node, *Problem) {
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&doc)
	if err == nil {
		if err = d.Decode(&second); !errors.Is(err, io.EOF) {
			return nil, &Problem{File: file, Line: second.Line, Column: second.Column, Message: "a second document begins; the configuration is one"}
		}
	}
	switch {
	case !errors.Is(err, io.EOF):
		return nil, syntax(file, text, err)
	case len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null":
		// Not taken for "all defaults": an editor or a full disk may have cut it.
		return nil, &Problem{File: file, Message: "is empty; the least configuration is one line: version: 1"}
	}
	return doc.Content[0], nil
}

// syntax says in our words what the YAML parser complains of; its own may quote
// the text, and the text may be a password.
func syntax(file string, text []byte, err error) *Problem {
	p := &Problem{File: file, Line: brokenLine(text)}
	line := ""
	if p.Line > 0 {
		line = strings.TrimRight(strings.Split(string(text), "\n")[p.Line-1], "\r")
		p.Column = len(line) - len(strings.TrimLeft(line, " ")) + 1
	}
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) })
	}
	switch indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; {
	case strings.Contains(indent, "\t"):
		p.Column = strings.IndexByte(line, '\t') + 1
		p.Message = "a tab cannot indent YAML; use spaces"
	case strings.Contains(line, "${") && strings.ContainsAny(line, "{[") && says("expected ',' or"):
		p.Message = "inside braces and brackets a value with ${…} must be in quotes"
	case says("unknown anchor", "alphabetic or numeric character"):
		p.Message = "an alias (*name) without its anchor (&name); put a value that begins with * or & in quotes"
	case says("cannot start any token"):
		p.Message = "a value cannot begin with this character; put it in quotes"
	case says("mapping values are not allowed"):
		p.Message = "a colon where no key can be; check the indentation, or put the value in quotes"
	case says("could not find expected ':'"):
		p.Message = "a key without its colon"
	case says("did not find expected key", "'-' indicator"):
		p.Message = "is not indented like the lines before it"
	case says("control characters", "UTF-8", "Unicode", "UTF-16"):
		p.Message = "is not UTF-8 text, or holds control characters"
	default:
		p.Message = "is not valid YAML; check the indentation, quotes and brackets here"
	}
	return p
}

// brokenLine returns the number of the line from which on the text is not YAML,
// 0 if it would take too long to find. The parser's own number is often that of
// the section's first line, so the text is cut shorter until it parses.
func brokenLine(text []byte) int {
	const most = 16 << 20 // bytes to parse: a second of work
	lines := bytes.SplitAfter(text, []byte("\n"))
	if len(lines)*len(text) > most {
		return 0
	}
	good, end := 0, 0
	for i, line := range lines {
		end += len(line)
		var doc yaml.Node
		if err := yaml.NewDecoder(bytes.NewReader(text[:end])).Decode(&doc); err == nil || errors.Is(err, io.EOF) {
			good = i + 1
		}
	}
	return min(good+1, len(lines))
}

// activeIn returns the text of the key active in the uppermost tree that has it,
// or the default.
func activeIn(trees ...map[string]any) []string {
	for _, tree := range trees {
		items, ok := tree["active"].([]any)
		if !ok {
			continue
		}
		var active []string
		for _, item := range items {
			if s, ok := item.(string); ok {
				active = append(active, s)
			}
		}
		return active
	}
	return Default().Active
}

// readSecrets puts the contents of the NAME_file keys into the trees. The files
// of a destination that is not active need not be there.
func (r *reader) readSecrets(active []string, secretFile func(string) ([]byte, error)) {
	for _, key := range slices.Sorted(maps.Keys(r.files)) {
		ref := r.files[key]
		if rest, found := strings.CutPrefix(key, "destinations."); found {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(active, name) {
				continue
			}
		}
		text, err := secretFile(beside(r.file, ref.path))
		if err == nil && len(text) == 0 {
			err = errors.New("the file is empty")
		}
		if err != nil {
			r.complain(ref.at, key+"_file", "read the secret's file: "+redact(err.Error(), r.hide(key)), "")
			r.bad[key] = true
			continue
		}
		ref.section[ref.key] = string(text)
		r.guard(string(text), reflect.TypeFor[secret.String]())
		at := ref.at
		at.secretFile = ref.path
		r.origins[key] = at
	}
}

// decode layers the trees over the defaults and makes the typed tree of them.
func (r *reader) decode(fromFile, fromEnv map[string]any) *Config {
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	c := Default()
	for key, value := range treeOf(c) {
		v.SetDefault(key, value)
	}
	// What a destination's keys default to depends on its type; those that the
	// user does not name stay as shipped.
	destinations := maps.Clone(c.Destinations)
	for name, typ := range r.types {
		if typ == "" {
			delete(destinations, name)
		} else if _, shipped := destinations[name]; !shipped || r.given[name] {
			destinations[name] = newDestination(typ)
		}
	}
	for name, d := range destinations {
		tree := treeOf(d)
		maps.Copy(tree, treeOf(reflect.ValueOf(d.room()).Elem().Interface()))
		v.SetDefault("destinations"+delimiter+name, tree)
	}
	if err := v.MergeConfigMap(fromFile); err != nil {
		panic("BUG: " + err.Error())
	}
	for key, value := range fromEnv {
		v.Set(key, value)
	}
	settings := v.AllSettings()
	trees, _ := settings["destinations"].(map[string]any)
	delete(settings, "destinations")
	var out Config
	r.fill(&out, settings, "")
	out.Destinations = map[string]Destination{}
	for name, d := range destinations {
		key := join("destinations", name)
		r.fill(&d, trees[name], key)
		r.fill(d.room(), trees[name], key)
		out.Destinations[name] = d
	}
	return &out
}

// treeOf returns a section's keys and values as viper layers them, without the
// destinations, whose types it cannot see.
func treeOf(section any) map[string]any {
	tree := map[string]any{}
	if err := decoder(&tree).Decode(section); err != nil {
		panic("BUG: " + err.Error())
	}
	delete(tree, "destinations")
	return tree
}

// fill decodes a tree into the section that out points to. Keys of the tree that
// out has no place for belong to another struct, or were complained of.
func (r *reader) fill(out any, tree any, path string) {
	if tree == nil {
		return
	}
	err := decoder(out).Decode(tree)
	all := failures(err)
	if err != nil && len(all) == 0 {
		panic("BUG: an error of the decoder without a name")
	}
	for _, at := range all {
		key := join(path, at.Name())
		r.complain(r.place(key), key, at.Unwrap().Error(), "")
	}
}

// failures returns the innermost of the decoder's errors, which hold the whole
// name of a value each, and what convert said of it.
func failures(err error) []*mapstructure.DecodeError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*mapstructure.DecodeError
		for _, e := range joined.Unwrap() {
			all = append(all, failures(e)...)
		}
		return all
	}
	inner := failures(errors.Unwrap(err))
	if at, ok := err.(*mapstructure.DecodeError); ok && len(inner) == 0 {
		return []*mapstructure.DecodeError{at}
	}
	return inner
}

// decoder returns a strict decoder into out.
func decoder(out any) *mapstructure.Decoder {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: out, TagName: "yaml", SquashTagOption: "inline", DecodeHook: convert,
		MatchName: func(key, field string) bool { return key == field },
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return d
}

// place returns where key was given: itself, or the innermost section around it
// that was.
func (r *reader) place(key string) origin {
	for {
		if o, ok := r.origins[key]; ok {
			return o
		}
		end := strings.LastIndexAny(key, ".[")
		if end < 0 {
			return origin{}
		}
		key = key[:end]
	}
}

// check asks every section whether it can be used, and locates what it says.
func (r *reader) check(c *Config) {
	for _, err := range flat(c.check(r.types)) {
		key, message, found := strings.Cut(err.Error(), ": ")
		if !found || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789_.-[]") != "" {
			key, message = "", err.Error()
		}
		if r.spoilt(key) {
			continue
		}
		hint := ""
		var h hinted
		if errors.As(err, &h) {
			hint = h.hint
		}
		r.problems = append(r.problems, r.place(key).problem(r.file, key, redact(message, r.hide(key)), hint))
	}
}

// spoilt tells whether key, or a section around it, was complained of already:
// what a check says of it now is about a default in its place.
func (r *reader) spoilt(key string) bool {
	for key != "" {
		if r.bad[key] {
			return true
		}
		end := strings.LastIndexAny(key, ".[")
		if end < 0 {
			return false
		}
		key = key[:end]
	}
	return false
}

// hinted is a complaint with a suggestion.
type hinted struct{ key, message, hint string }

// Error returns the complaint in the form of a room's Check.
func (h hinted) Error() string { return fmt.Sprintf("%s: %s", h.key, h.message) }
