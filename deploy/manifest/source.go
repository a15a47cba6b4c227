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

// secretFile finds the files of the Secret.
var secretFile = regexp.MustCompile(regexp.QuoteMeta(SecretDir) + `[A-Za-z0-9_.-]+`)

// standIn is put where a secret will be: it has the form of a Datadog key, and
// is longer than whatever else is asked for.
const standIn = "00000000000000000000000000000000"

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
	var env []string
	for name, stands := range references(text) {
		if stands {
			env = append(env, name+"="+standIn)
		}
		if !slices.Contains(podVariables(), name) {
			s.Variables = append(s.Variables, name)
		}
	}
	slices.Sort(s.Variables)
	for _, file := range secretFile.FindAllString(s.Text, -1) {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(standIn), 0o600); err != nil {
			return nil, fmt.Errorf("a stand-in for %s: %w", file, err)
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

// references returns the variables that values of a YAML text name, and whether
// each needs a stand-in: one that has a value to fall back on does not. A text
// that is no YAML has none; config says what is wrong with it.
func references(text []byte) map[string]bool {
	found := map[string]bool{}
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil {
		return found
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			for _, m := range reference.FindAllStringSubmatch(n.Value, -1) {
				if m[1] != "" {
					found[m[1]] = found[m[1]] || m[2] == ""
				}
			}
		}
		for _, c := range n.Content { // an alias has none, so this ends
			walk(c)
		}
	}
	walk(&doc)
	return found
}
