package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-agent/causeway/config/secret"
)

// Print writes the effective configuration as YAML that Load reads again, and,
// if origin is set, behind each value where it came from. Secrets are masked.
func (c *Config) Print(w io.Writer, origin bool) error {
	p := printer{c: c, origin: origin}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(p.section("", reflect.ValueOf(*c))); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return e.Close()
}

// printer turns the typed tree into YAML nodes, in the order of the types.
type printer struct {
	c      *Config
	origin bool
}

// section returns a mapping of the keys of the given structs.
func (p printer) section(path string, structs ...reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	done := map[string]bool{}
	for _, s := range structs {
		for _, f := range fields(s.Type()) {
			if f.secret != "" || done[f.name] {
				continue
			}
			done[f.name] = true
			v := member(s, f.name)
			for v.Kind() == reflect.Pointer && !v.IsNil() {
				v = v.Elem()
			}
			if v.Kind() == reflect.Pointer {
				continue
			}
			n.Content = append(n.Content, word(f.name), p.value(join(path, f.name), v))
		}
	}
	return n
}

// member returns the field of s whose key is name.
func member(s reflect.Value, name string) reflect.Value {
	for i := range s.NumField() {
		tag, options, _ := strings.Cut(s.Type().Field(i).Tag.Get("yaml"), ",")
		if tag == name {
			return s.Field(i)
		}
		if options == "inline" {
			if v := member(s.Field(i), name); v.IsValid() {
				return v
			}
		}
	}
	return reflect.Value{}
}

// value returns what stands behind one key.
func (p printer) value(path string, v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case map[string]Destination:
		return p.destinations(x)
	case secret.String:
		return p.mark(path, text(x.String()))
	case time.Duration:
		return p.mark(path, word(printDuration(x)))
	}
	switch {
	case v.Kind() == reflect.Struct:
		return p.section(path, v)
	case v.Kind() == reflect.Slice:
		return p.list(path, v)
	case v.Kind() == reflect.Bool:
		return p.mark(path, word(strconv.FormatBool(v.Bool())))
	case v.CanInt():
		return p.mark(path, word(printSize(v.Int())))
	case v.CanFloat():
		return p.mark(path, word(strconv.FormatFloat(v.Float(), 'g', -1, 64)))
	}
	return p.mark(path, text(v.String()))
}

// list returns a list, in one line unless its items are sections.
func (p printer) list(path string, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i := range v.Len() {
		item := fmt.Sprintf("%s[%d]", path, i)
		if v.Type().Elem().Kind() == reflect.Struct {
			n.Style = 0
			n.Content = append(n.Content, p.value(item, v.Index(i)))
			continue
		}
		n.Content = append(n.Content, printer{c: p.c}.value(item, v.Index(i)))
	}
	if n.Style == 0 {
		return n
	}
	return p.mark(path, n)
}

// destinations returns the section destinations, sorted by name.
func (p printer) destinations(all map[string]Destination) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name]
		section := p.section(join("destinations", name), reflect.ValueOf(d), reflect.ValueOf(d.room()).Elem())
		n.Content = append(n.Content, word(name), section)
	}
	return n
}

// mark puts the origin behind a value.
func (p printer) mark(path string, n *yaml.Node) *yaml.Node {
	if p.origin {
		n.LineComment = "# " + p.c.Origin(path)
	}
	return n
}

// word returns a scalar of our own that needs no quotes.
func word(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// text returns a scalar that reads as the string s. Its dollar signs are doubled,
// since Load expands them.
func text(s string) *yaml.Node {
	s = strings.ReplaceAll(s, "$", "$$")
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case s == "true" || s == "false":
		n.Tag = "!!bool" // of enabled: auto | true | false
	case strings.ContainsAny(s, "\n\r\u0085\u2028\u2029\x00\ufeff"):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
