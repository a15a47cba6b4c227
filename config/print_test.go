package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/config/secret"
)

// TestPrintedConfigurationLoadsAgain covers every form of value once; the fuzz
// target goes on from here.
func TestPrintedConfigurationLoadsAgain(t *testing.T) {
	for _, text := range []string{
		"version: 1",
		"agent: {cluster: 'a$$$$b ${X} $${X} #c', node: 'true', tags: ['a:1', '*b:2', 'c: \"d\"'], drain: 90s, log: {level: debug}}",
		"agent: {cluster: '5', node: \"a\\nb\\u2028\\0\", data_dir: ' x ', listen: '[::1]:80'}\nspool: {logs: {max_size: 1234567, max_age: 100h1m1s}}",
		"destinations: {x: {type: influxdb, kinds: [logs, events], match: 'name == \"a\"', tls: {ca_file: x}, retention: 2d}, a-b: {type: influxdb}}\nactive: [x, a-b]",
	} {
		c := good(t, text, "X=y")
		same(t, printedAndLoaded(t, c, false), c)
		same(t, printedAndLoaded(t, c, true), c)
	}
}

// printedAndLoaded returns what the printed form of c loads as.
func printedAndLoaded(t *testing.T, c *Config, origin bool) *Config {
	t.Helper()
	var b strings.Builder
	if err := c.Print(&b, origin); err != nil {
		t.Fatal(err)
	}
	again, err := load("printed", []byte(b.String()), nil, noFiles)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return again
}

func TestPrintTellsOrigins(t *testing.T) {
	c := good(t, "agent:\n  node: n\n  token: 0123456789\n", "CAUSEWAY_AGENT__TAGS=a:1,b:2")
	var b strings.Builder
	if err := c.Print(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"\n  node: n # agent.yaml:2\n", "\n  cluster: \"\" # default\n", "\n  tags: ['a:1', 'b:2'] # env CAUSEWAY_AGENT__TAGS\n", "\n  token: '***' # agent.yaml:3\n",
		"\n    max_size: 4GiB # default\n", "\n    enabled: true # default\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no line %q in\n%s", line, b.String())
		}
	}
}

// withoutSecrets makes the secrets of a tree what Print makes of them.
func withoutSecrets(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[secret.String]():
		v.SetString(v.Interface().(secret.String).String())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				withoutSecrets(v.Field(i))
			}
		}
	case v.Kind() == reflect.Map:
		for _, key := range v.MapKeys() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(key))
			withoutSecrets(item)
			v.SetMapIndex(key, item)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"version: 1", "a: [", "agent: &a {<<: *a}", "agent: {tags: [x, {}], token: !x y}", "---\n---", "\t", "? {a: b}\n: c", "agent: {node: ${X}}",
		"agent: {node: '${X:-}$$', token_file: f, drain: 7d}", "spool: {logs: {max_size: 1.5GiB}}", "destinations: {x: {type: influxdb, url: 'http://a:b@c', kinds: [logs]}}",
	} {
		f.Add(seed, "CAUSEWAY_AGENT__CLUSTER=x\nX=y")
	}
	f.Add("version: 1", "CAUSEWAY_AGENT__TAGS=[a:1, b:2]\nCAUSEWAY_DESTINATIONS__LOCAL__TYPE=influxdb")
	f.Fuzz(func(t *testing.T, text, env string) {
		c, err := load("agent.yaml", []byte(text), strings.Split(env, "\n"), func(name string) ([]byte, error) { return []byte(name), nil })
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Errorf("both %v and %v", c, err)
			}
			return
		}
		withoutSecrets(reflect.ValueOf(c).Elem())
		same(t, printedAndLoaded(t, c, false), c)
		same(t, printedAndLoaded(t, c, true), c)
	})
}
