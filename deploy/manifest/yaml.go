package manifest

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	jsonyaml "sigs.k8s.io/yaml"
)

// Write prints objects as YAML documents, with what is to be said about them.
func Write(w io.Writer, objects []Object) error {
	for i, o := range objects {
		text, err := o.yaml()
		if err != nil {
			return err
		}
		if i > 0 {
			text = "---\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// yaml returns the object as one document.
func (o Object) yaml() (string, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	plain, err := jsonyaml.Marshal(o.Object)
	if err != nil {
		return "", fmt.Errorf("print a %s: %w", kind, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(plain, &doc); err != nil {
		return "", fmt.Errorf("print a %s: %w", kind, err)
	}
	root := doc.Content[0]
	drop(root, "status") // the server's
	if spec := find(root, "spec"); spec != nil && len(spec.Content) == 0 {
		drop(root, "spec")
	}
	for at, note := range o.Notes {
		n := find(root, at)
		if n == nil {
			return "", fmt.Errorf("BUG: a %s has no %s to comment on", kind, at)
		}
		n.HeadComment = "# " + note
	}
	if o.Comment != "" {
		root.Content[0].HeadComment = "# " + strings.ReplaceAll(o.Comment, "\n", "\n# ")
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return "", fmt.Errorf("print a %s: %w", kind, err)
	}
	return b.String(), nil
}

// drop removes a key of a mapping.
func drop(m *yaml.Node, key string) {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = append(m.Content[:i], m.Content[i+2:]...)
			return
		}
	}
}

// find returns the node at a path of keys and indices: spec.egress[0].
func find(n *yaml.Node, at string) *yaml.Node {
	for _, part := range strings.FieldsFunc(at, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := (*yaml.Node)(nil)
		if i, err := strconv.Atoi(part); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			next = n.Content[i]
		}
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				next = n.Content[i+1]
			}
		}
		if next == nil {
			return nil
		}
		n = next
	}
	return n
}
