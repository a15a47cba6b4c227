package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-agent/causeway/config/secret"
)

// maxNodes bounds the values read of one file, each use of an alias counted: a
// large real configuration has some hundreds.
const maxNodes = 1 << 14

// origin is where a value was given. The zero origin is the defaults.
type origin struct {
	file         string
	line, column int    // in file, from 1
	variable     string // instead of file
	secretFile   string // the file that holds the value; file or variable named it
}

// String returns what config print shows behind a value.
func (o origin) String() string {
	switch {
	case o.secretFile != "":
		return "file " + o.secretFile
	case o.variable != "":
		return "env " + o.variable
	case o.file != "":
		return fmt.Sprintf("%s:%d", o.file, o.line)
	}
	return "default"
}

// problem returns a complaint located at o; file is where to look if o is the
// defaults.
func (o origin) problem(file, key, message, hint string) Problem {
	if o.variable != "" {
		return Problem{File: variablePlace + o.variable, Key: key, Message: message, Hint: hint}
	}
	return Problem{File: cmp.Or(o.file, file), Line: o.line, Column: o.column, Key: key, Message: message, Hint: hint}
}

// reader turns the file's nodes, and then the variables, into the two trees of
// strings that viper layers over the defaults. It knows each section's keys from
// the Go types, and so can complain with a place and a suggestion.
type reader struct {
	file     string            // as people named it
	env      map[string]string // everything, for ${VAR}
	variable string            // the variable being read; empty while the file is
	nodes    int               // visited so far, against maxNodes

	origins map[string]origin    // by key path
	bad     map[string]bool      // key paths complained of: their checks would only repeat it
	hidden  map[string][]string  // contents of variables, by the path they went into
	secrets []string             // values no message may contain
	files   map[string]secretRef // NAME_file by the path of NAME
	types   map[string]string    // type of each destination named anywhere; "" if it is unusable
	given   map[string]bool      // destinations that the file defines

	problems Errors
}

// secretRef is a NAME_file whose content is to become section[key].
type secretRef struct {
	section map[string]any
	key     string
	path    string // of the file, as given
	at      origin // of NAME_file
}

// at returns where n stands, or the variable it came in.
func (r *reader) at(n *yaml.Node) origin {
	if r.variable != "" {
		return origin{variable: r.variable}
	}
	return origin{file: r.file, line: n.Line, column: n.Column}
}

// complain notes that the value at key is of no use.
func (r *reader) complain(o origin, key, message, hint string) {
	r.bad[key] = true
	r.problems = append(r.problems, o.problem(r.file, key, message, hint))
}

// field is one key of a section.
type field struct {
	name   string
	typ    reflect.Type
	secret string // the key whose content the named file holds: "token" of "token_file"
}

// fields lists the keys of a section made of the given structs, in order. A key
// of several structs is listed once.
func fields(structs ...reflect.Type) []field {
	var list []field
	add := func(f field) {
		if !slices.ContainsFunc(list, func(g field) bool { return g.name == f.name }) {
			list = append(list, f)
		}
	}
	for _, t := range structs {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case options == "inline":
				for _, inner := range fields(f.Type) {
					add(inner)
				}
			case name == "":
				panic("BUG: " + t.String() + "." + f.Name + " has no yaml tag")
			default:
				add(field{name: name, typ: f.Type})
				if f.Type == reflect.TypeFor[secret.String]() {
					add(field{name: name + "_file", typ: reflect.TypeFor[string](), secret: name})
				}
			}
		}
	}
	return list
}

// names returns the names of the keys.
func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// section reads a mapping whose keys are those of the given structs.
func (r *reader) section(n *yaml.Node, path string, structs ...reflect.Type) map[string]any {
	known := fields(structs...)
	tree := map[string]any{}
	for _, e := range r.entries(n, path, 0) {
		key := join(path, e.key.Value)
		i := slices.IndexFunc(known, func(f field) bool { return f.name == e.key.Value })
		if i < 0 {
			r.unknown(r.at(e.key), path, e.key.Value, names(known))
			continue
		}
		r.origins[key] = r.at(e.key)
		r.put(tree, known[i], e.value, path)
	}
	return tree
}

// put reads the value of one key into its section's tree.
func (r *reader) put(tree map[string]any, f field, n *yaml.Node, path string) {
	key := join(path, f.name)
	v, ok := r.value(n, f.typ, key)
	if !ok {
		return
	}
	if f.secret == "" {
		if ref, both := r.files[key]; both && (ref.at.variable == "") == (r.variable == "") {
			r.complain(r.at(n), key, "is given beside "+f.name+"_file; one of them is enough", "")
			return
		}
		delete(r.files, key) // a variable overrides the file's NAME_file
		tree[f.name] = v
		return
	}
	secretKey := join(path, f.secret)
	if tree[f.secret] != nil {
		r.complain(r.at(n), key, "is given beside "+f.secret+"; one of them is enough", "")
		return
	}
	r.files[secretKey] = secretRef{section: tree, key: f.secret, path: v.(string), at: r.at(n)}
}

// unknown complains of a key that its section does not have.
func (r *reader) unknown(o origin, path, key string, siblings []string) {
	full := join(path, key)
	hint := nearest(key, siblings)
	if hint == "" {
		hint = elsewhere(key)
	}
	if !utf8.ValidString(key) || len(key) > 64 || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' }) {
		full = join(path, "…")
	}
	r.complain(o, full, "unknown key", hint)
}

// elsewhere returns the path of the first key of that name in the whole tree, or "".
func elsewhere(name string) string {
	var find func(t reflect.Type, path string) string
	find = func(t reflect.Type, path string) string {
		for _, f := range fields(t) {
			if f.name == name {
				return join(path, name)
			}
		}
		for _, f := range fields(t) {
			if f.typ.Kind() == reflect.Struct {
				if p := find(f.typ, join(path, f.name)); p != "" {
					return p
				}
			}
		}
		return ""
	}
	return find(reflect.TypeFor[Config](), "")
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// entries returns the keys of a mapping, those that << merges into it included,
// and complains of what is none and of keys given twice.
func (r *reader) entries(n *yaml.Node, path string, depth int) []entry {
	n = r.resolve(n)
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return nil
	case n.Kind != yaml.MappingNode:
		r.complain(r.at(n), path, "must be a section of keys, not "+shape(n), "")
		return nil
	}
	var own, merged []entry
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !r.visit() {
			return own
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			r.complain(r.at(n.Content[i]), path, "a key must be a plain word", "")
		case key.ShortTag() == "!!merge":
			if depth > 8 {
				r.complain(r.at(key), path, "merges too many levels deep", "")
				continue
			}
			from := []*yaml.Node{value}
			if v := r.resolve(value); v.Kind == yaml.SequenceNode {
				from = v.Content
			}
			for _, m := range from {
				merged = append(merged, r.entries(m, path, depth+1)...)
			}
		case seen[key.Value] != nil:
			// The first one counts, and is looked at as if it were the only one.
			r.problems = append(r.problems, r.at(n.Content[i]).problem(r.file, join(path, key.Value),
				fmt.Sprintf("is given twice, first on line %d", seen[key.Value].Line), ""))
		default:
			seen[key.Value] = key
			own = append(own, entry{key, value})
		}
	}
	for _, e := range merged {
		if seen[e.key.Value] == nil {
			seen[e.key.Value] = e.key
			own = append(own, e)
		}
	}
	return own
}

// visit counts a node and tells whether it is within bounds; the first that is
// not is complained of.
func (r *reader) visit() bool {
	r.nodes++
	if r.nodes == maxNodes {
		r.problems = append(r.problems, Problem{File: r.file, Message: fmt.Sprintf("holds more than %d values, aliases counted at each use", maxNodes)})
	}
	return r.nodes < maxNodes
}

// resolve follows an alias.
func (r *reader) resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias // an alias cannot name an alias
	}
	return n
}

// shape names what a node is, for a complaint about what it is not.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// value reads what stands at key for a field of type t. It returns a string for
// a scalar, []any for a list, map[string]any for a section, and false for
// nothing: null, or a complaint.
func (r *reader) value(n *yaml.Node, t reflect.Type, key string) (any, bool) {
	if !r.visit() {
		return nil, false
	}
	from := n
	n = r.resolve(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil, false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[map[string]Destination]():
		return r.destinations(n), true
	case t.Kind() == reflect.Struct:
		return r.section(n, key, t), true
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		return r.list(n, t, key), true
	case t.Kind() == reflect.Slice && n.Kind == yaml.ScalarNode && t.Elem().Kind() != reflect.Struct && strings.Contains(n.Value, "${"):
		s, ok := r.scalar(from, n, t, key)
		return splitList(s), ok // ${VAR} holds a list as an overriding variable does
	case t.Kind() == reflect.Slice:
		r.complain(r.at(from), key, "must be a list, in brackets or one item a line after a dash, not "+shape(n), "")
		return nil, false
	case n.Kind != yaml.ScalarNode:
		r.complain(r.at(from), key, "must be a single value, not "+shape(n), "")
		return nil, false
	}
	return r.scalar(from, n, t, key)
}

// list reads the items of a sequence.
func (r *reader) list(n *yaml.Node, t reflect.Type, key string) []any {
	items := []any{}
	for i, item := range n.Content {
		itemKey := fmt.Sprintf("%s[%d]", key, i)
		if x := r.resolve(item); x.Kind == yaml.ScalarNode && x.ShortTag() == "!!null" {
			r.complain(r.at(item), itemKey, "has no value", "")
			continue
		}
		r.origins[itemKey] = r.at(item)
		v, ok := r.value(item, t.Elem(), itemKey)
		if !ok && r.nodes >= maxNodes {
			return items
		}
		items = append(items, v) // nil for a bad one, so that the others keep their numbers
	}
	return items
}

// scalar reads the text of n, which stands at from, with its variables expanded.
func (r *reader) scalar(from, n *yaml.Node, t reflect.Type, key string) (string, bool) {
	s := n.Value
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!timestamp":
	case "!!bool":
		s = strings.ToLower(s) // True and TRUE are YAML's as well
	default:
		r.complain(r.at(from), key, "begins with a YAML tag, which has no meaning here; put a value that begins with ! in quotes", "")
		return "", false
	}
	r.origins[key] = r.at(from)
	if r.variable == "" {
		expanded, contents, err := expand(s, r.env)
		if len(contents) > 0 {
			r.hidden[key] = contents
		}
		if err != nil {
			r.complain(r.at(from), key, err.Error(), "")
			return "", false
		}
		s = expanded
	}
	r.guard(s, t)
	if strings.HasSuffix(key, "url") && t != reflect.TypeFor[secret.String]() && urlPassword(s) != "" {
		r.complain(r.at(from), key, "must hold no password, as it is shown to people; there are keys for it", "")
	}
	return s, true
}

// guard keeps a secret, or the password in a URL, out of every message.
func (r *reader) guard(s string, t reflect.Type) {
	if t == reflect.TypeFor[secret.String]() {
		r.secrets = append(r.secrets, s)
	}
	if p := urlPassword(s); p != "" {
		r.secrets = append(r.secrets, p)
	}
}

// urlPassword returns the password in a URL as it is written there, or "".
func urlPassword(s string) string {
	_, rest, found := strings.Cut(s, "://")
	if !found {
		return ""
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return ""
	}
	_, password, _ := strings.Cut(rest[:at], ":")
	return password
}

// destinations reads the section destinations: names of the user's, each a
// section whose keys depend on its type.
func (r *reader) destinations(n *yaml.Node) map[string]any {
	tree := map[string]any{}
	for _, e := range r.entries(n, "destinations", 0) {
		name := e.key.Value
		key := join("destinations", name)
		r.origins[key] = r.at(e.key)
		r.given[name] = true
		if !destinationName(name) {
			r.types[name] = ""
			r.complain(r.at(e.key), key, "a destination's name consists of a-z, 0-9, _ and -", "")
			continue
		}
		typ, at := r.typeInFile(e, key)
		if v, text := r.typeVariable(name); v != "" {
			typ, at = text, origin{variable: v}
		}
		if !r.setType(name, typ, at) {
			continue
		}
		tree[name] = r.section(e.value, key, reflect.TypeFor[Destination](), roomType(typ))
	}
	return tree
}

// typeInFile returns the text of a destination's key type, "" if there is none.
func (r *reader) typeInFile(e entry, key string) (string, origin) {
	n := r.resolve(e.value)
	if n.Kind != yaml.MappingNode {
		return "", r.at(e.key)
	}
	quiet := *r // the section is read again by who knows its keys, and complains then
	quiet.bad, quiet.problems = map[string]bool{}, nil
	for _, f := range quiet.entries(n, key, 0) {
		if f.key.Value == "type" {
			value := r.resolve(f.value)
			s, _, _ := expand(value.Value, r.env)
			return s, r.at(f.value)
		}
	}
	return "", r.at(e.key)
}

// setType notes a destination's type and tells whether this version knows it.
func (r *reader) setType(name, typ string, at origin) bool {
	key := join("destinations", join(name, "type"))
	switch {
	case roomType(typ) != nil:
		r.types[name] = typ
		return true
	case typ == "":
		r.complain(at, key, "is missing; it names the vendor: "+strings.Join(vendors(), ", "), "")
	default:
		r.complain(at, key, "unknown type; there is: "+strings.Join(vendors(), ", "), nearest(typ, vendors()))
	}
	r.types[name] = ""
	return false
}

// destinationName tells whether s may name a destination: lower case, since
// variables and the layering of the trees do not tell cases apart.
func destinationName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// hide returns what no message about key may contain.
func (r *reader) hide(key string) []string {
	list := slices.Clone(r.secrets)
	for _, path := range slices.Sorted(maps.Keys(r.hidden)) {
		if strings.HasPrefix(path, key) {
			list = append(list, r.hidden[path]...)
		}
	}
	return list
}
