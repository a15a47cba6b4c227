package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// prefix begins the names of the variables that override keys.
const prefix = "CAUSEWAY_"

// variableOf returns the name of the variable that overrides the key path.
func variableOf(path string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// typeVariable returns the variable that overrides a destination's type, and
// its content, if it is set.
func (r *reader) typeVariable(name string) (variable, text string) {
	full := variableOf("destinations." + name + ".type")
	for _, v := range []string{full, strings.ReplaceAll(full, "-", "_")} {
		if r.env[v] != "" {
			return v, r.env[v]
		}
	}
	return "", ""
}

// environment reads the variables that override keys into a tree like the file's.
func (r *reader) environment() map[string]any {
	tree := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || r.env[name] == "" {
			continue
		}
		r.variable = name
		r.override(tree, strings.Split(strings.ToLower(rest), "__"))
	}
	r.variable = ""
	return tree
}

// override follows the parts of a variable's name down the sections and puts
// its content there.
func (r *reader) override(tree map[string]any, parts []string) {
	o := origin{variable: r.variable}
	structs := []reflect.Type{reflect.TypeFor[Config]()}
	path := ""
	for i := 0; i < len(parts); i++ {
		known := fields(structs...)
		at := slices.IndexFunc(known, func(f field) bool { return f.name == parts[i] })
		if at < 0 {
			if i > 0 || r.means(parts, names(known)) {
				r.unknownVariable(o, path, parts[i:], names(known))
			}
			return
		}
		f := known[at]
		switch {
		case f.typ == reflect.TypeFor[map[string]Destination]() && len(parts) > i+1:
			i++
			name := r.destinationMeant(parts[i])
			path = join(f.name, name)
			if !r.typeMeant(name) {
				return
			}
			structs = []reflect.Type{reflect.TypeFor[Destination](), roomType(r.types[name])}
			tree = below(below(tree, f.name), name)
		case f.typ.Kind() == reflect.Struct:
			structs = []reflect.Type{f.typ}
			path = join(path, f.name)
			tree = below(tree, f.name)
		case len(parts) > i+1:
			r.unknownVariable(o, join(path, f.name), parts[i+1:], nil)
			return
		case f.typ.Kind() == reflect.Map:
			r.complain(o, f.name, "is a section; a variable sets one of its keys: "+variableOf(f.name+".name.key"), "")
			return
		default:
			r.content(tree, f, path)
			return
		}
	}
	r.complain(o, path, "is a section; a variable sets one of its keys", "")
}

// below returns the section of that name in tree, made if need be.
func below(tree map[string]any, name string) map[string]any {
	if sub, ok := tree[name].(map[string]any); ok {
		return sub
	}
	sub := map[string]any{}
	tree[name] = sub
	return sub
}

// content puts the content of the variable being read into the section.
func (r *reader) content(tree map[string]any, f field, path string) {
	key := join(path, f.name)
	o := origin{variable: r.variable}
	s := r.env[r.variable]
	if !utf8.ValidString(s) {
		r.complain(o, key, "is not UTF-8", "")
		return
	}
	maps.DeleteFunc(r.origins, func(k string, _ origin) bool { return strings.HasPrefix(k, key+"[") })
	r.origins[key] = o
	delete(r.bad, key)
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if f.typ.Kind() == reflect.Slice {
		if !strings.HasPrefix(strings.TrimSpace(s), "[") {
			if f.typ.Elem().Kind() == reflect.Struct {
				r.complain(o, key, "must be a list of sections, as YAML in brackets: [{…: …}]", "")
				return
			}
			tree[f.name] = splitList(s)
			return
		}
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(s), &doc); err != nil || len(doc.Content) == 0 {
			r.complain(o, key, "is no YAML list, though it begins with a bracket", "")
			return
		}
		n = doc.Content[0]
	}
	r.put(tree, f, n, path)
}

// destinationMeant returns the destination that part of a variable's name means:
// the one so called, or the one whose dashes a shell made it write as underscores.
func (r *reader) destinationMeant(part string) string {
	if _, ok := r.types[part]; ok {
		return part
	}
	for _, name := range slices.Sorted(maps.Keys(r.types)) {
		if strings.ReplaceAll(name, "-", "_") == part {
			return name
		}
	}
	return part
}

// typeMeant makes sure that the type of the destination a variable speaks of is
// known; the first complaint about it is enough.
func (r *reader) typeMeant(name string) bool {
	if typ, ok := r.types[name]; ok {
		return typ != ""
	}
	if !destinationName(name) {
		r.complain(origin{variable: r.variable}, join("destinations", "…"), "a destination's name consists of a-z, 0-9, _ and -", "")
		return false
	}
	typ := Default().Destinations[name].Type
	at := origin{variable: r.variable}
	if v, text := r.typeVariable(name); v != "" {
		typ, at = text, origin{variable: v}
	}
	return r.setType(name, typ, at)
}

// means tells whether a variable that names no section is a misspelling of one,
// and not somebody else's: Kubernetes makes CAUSEWAY_SERVICE_HOST and its like
// for a service called causeway, and CAUSEWAY_AGENT_PORT for causeway-agent.
func (r *reader) means(parts, sections []string) bool {
	name := strings.Join(parts, "__")
	for _, suffix := range []string{"_service_host", "_service_port", "_port", "_proto", "_addr", "_tcp", "_udp", "_sctp"} {
		if strings.HasSuffix("_"+name, suffix) {
			return false
		}
	}
	if strings.Contains(name, "_service_port_") {
		return false
	}
	first, _, _ := strings.Cut(name, "_")
	return nearest(first, sections) != ""
}

// unknownVariable complains of a variable that names no key. rest is what is
// left of its name below path.
func (r *reader) unknownVariable(o origin, path string, rest, siblings []string) {
	key := join(path, strings.Join(rest, "."))
	hint := nearest(rest[0], siblings)
	if hint != "" {
		hint = variableOf(join(path, strings.Join(append([]string{hint}, rest[1:]...), ".")))
	}
	// The levels of CAUSEWAY_AGENT_CLUSTER stand apart by one underscore too few.
	for _, section := range siblings {
		if inner, found := strings.CutPrefix(rest[0], section+"_"); found {
			hint = variableOf(join(join(path, section), inner))
		}
	}
	r.complain(o, key, "names no key of the configuration", hint)
}
