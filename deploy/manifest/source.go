package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-agent/causeway/config"
)

// SecretDir is where the keys of the Secret are files in the pod.
const SecretDir = "/var/run/secrets/causeway/"

// Source is an agent.yaml for another machine than this one.
type Source struct {
	Config    *config.Config // with stand-ins for what only the pod has
	Text      string         // as it stands
	Variables []string       // those of the pod's Secret that it names, sorted
}

// reference finds ${NAME…} in a scalar. An odd name is left to config to complain about.
var reference = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}])?`)

// secretFile is a file of the Secret: what a key may be called is settled by
// Kubernetes, but for those that begin with a dot.
var secretFile = regexp.MustCompile(`^` + regexp.QuoteMeta(SecretDir) + `[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)

// What is put where a secret will be: it has the form of a Datadog key; or that
// of a URL, where that is asked for.
const (
	standIn    = "00000000000000000000000000000000"
	standInURL = "https://secret.invalid"
)

// podVariables are what the pod knows by itself.
func podVariables() []string {
	return []string{"NODE_NAME", "NODE_IP", "POD_NAME", "POD_NAMESPACE", "POD_UID"}
}

// Read reads the agent.yaml at path as the pod will: variables and files of
// the Secret are taken to be there. Variables of this process do not count.
// Errors are those of config.Load, with the path that was given.
func Read(path string) (*Source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	dir, err := os.MkdirTemp("", "causeway-manifest-")
	if err != nil {
		return nil, fmt.Errorf("a folder to check the configuration in: %w", err)
	}
	defer os.RemoveAll(dir)

	s := &Source{Text: string(text)}
	names, files := references(text)
	var env []string
	for name, content := range names {
		if content != "" {
			env = append(env, name+"="+content)
		}
		if !slices.Contains(podVariables(), name) {
			s.Variables = append(s.Variables, name)
		}
	}
	slices.Sort(s.Variables)
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("a stand-in for %s: %w", SecretDir+file, err)
		}
	}
	here := filepath.Join(dir, "agent.yaml")
	local := strings.ReplaceAll(s.Text, SecretDir, dir+"/")
	if err := os.WriteFile(here, []byte(local), 0o600); err != nil {
		return nil, fmt.Errorf("a copy of the configuration: %w", err)
	}
	s.Config, err = config.Load(here, env)
	var bad config.Errors
	if errors.As(err, &bad) {
		for i := range bad {
			if bad[i].File == here {
				bad[i].File = path
			}
			bad[i].Message = strings.ReplaceAll(bad[i].Message, dir+"/", SecretDir)
		}
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// references returns the variables that values of a YAML text name, and the
// files of the Secret, each with what stands in for it: nothing for a variable
// that has a value to fall back on. A text that is no YAML has none; config says
// what is wrong with it.
func references(text []byte) (names, files map[string]string) {
	names, files = map[string]string{}, map[string]string{}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil {
		return names, files
	}
	var walk func(n *yaml.Node, key string)
	walk = func(n *yaml.Node, key string) {
		content := standIn
		if strings.HasPrefix(strings.TrimSuffix(key, "_file"), "proxy_url") || key == "url" {
			content = standInURL
		}
		if n.Kind == yaml.ScalarNode {
			for _, m := range reference.FindAllStringSubmatch(n.Value, -1) {
				if m[1] != "" && (m[2] == "" || names[m[1]] == "") {
					names[m[1]] = map[bool]string{true: content}[m[2] == ""]
				}
			}
			if secretFile.MatchString(n.Value) {
				files[strings.TrimPrefix(n.Value, SecretDir)] = content
			}
		}
		for i, c := range n.Content { // an alias has none, so this ends
			under := key
			if n.Kind == yaml.MappingNode && i%2 == 1 {
				under = n.Content[i-1].Value
			}
			walk(c, under)
		}
	}
	walk(&doc, "")
	return names, files
}
