package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// noFiles is a disk without secret files.
func noFiles(string) ([]byte, error) { return nil, os.ErrNotExist }

// good loads a text that must be right.
func good(t *testing.T, text string, env ...string) *Config {
	t.Helper()
	c, err := load("agent.yaml", []byte(text), env, noFiles)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

// wrong compares the complaints about a text, and a blank-separated environment.
func wrong(t *testing.T, text, env string, want ...string) {
	t.Helper()
	c, err := load("agent.yaml", []byte(text), strings.Fields(env), noFiles)
	var list Errors
	if !errors.As(err, &list) || c != nil {
		t.Errorf("%s\ngave %v, want complaints", text, err)
		return
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("%s\n%s\ngave\n\t%s\nwant\n\t%s", text, env, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestEnvironmentOverFileOverDefaults(t *testing.T) {
	c := good(t, `
agent: {cluster: file, node: file, tags: ["a:1", "b:2"]}
spool: {logs: {max_age: 7d}}
`, "CAUSEWAY_AGENT__CLUSTER=env", "CAUSEWAY_AGENT__TAGS=c:3, d:4", "CAUSEWAY_SPOOL__LOGS__MAX_SIZE=64MiB", "CAUSEWAY_AGENT__LOG__LEVEL=")
	want := Default()
	want.Agent.Cluster, want.Agent.Node, want.Agent.Tags = "env", "file", []string{"c:3", "d:4"}
	want.Spool.Logs.MaxAge, want.Spool.Logs.MaxSize = 7*24*time.Hour, 64<<20
	same(t, c, &want)
	for key, from := range map[string]string{
		"agent.cluster": "env CAUSEWAY_AGENT__CLUSTER", "agent.node": "agent.yaml:2", "agent.tags": "env CAUSEWAY_AGENT__TAGS",
		"agent.tags[0]": "default", "agent.log.level": "default", "spool.logs.max_age": "agent.yaml:3",
	} {
		if got := c.Origin(key); got != from {
			t.Errorf("%s comes from %q, want %q", key, got, from)
		}
	}
}

// same compares two trees, where they came from aside.
func same(t *testing.T, got, want *Config) {
	t.Helper()
	a, b := *got, *want
	a.from, b.from = nil, nil
	plain(reflect.ValueOf(&a).Elem())
	plain(reflect.ValueOf(&b).Elem())
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got\n%+v\nwant\n%+v", a, b)
	}
}

// plain makes empty lists nil, which is what Load makes of them.
func plain(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				plain(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		for i := range v.Len() {
			plain(v.Index(i))
		}
	case reflect.Map:
		copied := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(key))
			plain(item)
			copied.SetMapIndex(key, item)
		}
		v.Set(copied)
	}
}

func TestLeastConfigurationIsTheDefault(t *testing.T) {
	want := Default()
	same(t, good(t, "version: 1"), &want)
	same(t, good(t, "agent:\nspool: ~\ndestinations: {}\nactive: null"), &want) // nothing given is nothing changed
}

func TestDestinationsStartFromTheirTypesDefaults(t *testing.T) {
	c := good(t, "destinations: {local: {type: influxdb}, other: {type: influxdb, retention: 3h}}",
		"CAUSEWAY_DESTINATIONS__OTHER__BACKFILL=1h", "CAUSEWAY_DESTINATIONS__NEW__TYPE=influxdb", "CAUSEWAY_DESTINATIONS__NEW__URL=http://x:1")
	if c.Destinations["local"].Influx.Embedded {
		t.Error("the file's destination local took a key from the shipped one")
	}
	if d := c.Destinations["other"]; d.Influx.Retention != 3*time.Hour || d.Backfill != time.Hour || d.Influx.Database != "causeway" {
		t.Errorf("other is %+v", d)
	}
	if d := c.Destinations["new"]; d.Type != "influxdb" || d.Influx.URL != "http://x:1" || d.Influx.Database != "causeway" {
		t.Errorf("new is %+v", d)
	}
	c = good(t, "destinations: {dd-eu: {type: influxdb}}", "CAUSEWAY_DESTINATIONS__DD_EU__MATCH=level<3", "CAUSEWAY_DESTINATIONS__LOCAL__RETENTION=48h")
	if c.Destinations["dd-eu"].Match != "level<3" {
		t.Error("a variable cannot reach a name with a dash")
	}
	if d := c.Destinations["local"]; !d.Influx.Embedded || d.Influx.Retention != 48*time.Hour {
		t.Errorf("a variable about the shipped destination made it %+v", d)
	}
}

func TestVariablesAreExpandedInScalarsOnly(t *testing.T) {
	env := map[string]string{"A": "one", "EMPTY": "", "YAML": "x: [1"}
	f := func(in, want string) {
		t.Helper()
		if got, _, err := expand(in, env); err != nil || got != want {
			t.Errorf("%q became %q, %v; want %q", in, got, err, want)
		}
	}
	f("${A}", "one")
	f("a-${A}${A}-b", "a-oneone-b")
	f("${EMPTY}", "")
	f("${EMPTY:-d}", "d")
	f("${NONE:-d$$}", "d$")
	f("${NONE:-}", "")
	f("${NONE:-http://x:1}", "http://x:1")
	f("${A:-d}", "one")
	f("${A:?needed}", "one")
	f("$$ $${A} $A ^a$", "$ ${A} $A ^a$")
	bad := func(in, want string) {
		t.Helper()
		if _, _, err := expand(in, env); err == nil || err.Error() != want {
			t.Errorf("%q gave %v, want %q", in, err, want)
		}
	}
	bad("${NONE}", "the environment variable NONE is not set; ${NONE:-} makes that an empty value")
	bad("${EMPTY:?ask the operator}", "the environment variable EMPTY is not set: ask the operator")
	bad("${NONE:?}", "the environment variable NONE is not set: it is required")
	bad("${A", "${ without a closing brace; a dollar sign is written $$")
	bad("${}", "${…} needs a variable's name: letters, digits and underscores; a dollar sign is written $$")
	bad("${1A}", "${…} needs a variable's name: letters, digits and underscores; a dollar sign is written $$")
	bad("${A-x}", "${…} needs a variable's name: letters, digits and underscores; a dollar sign is written $$")
	bad("${A:x}", "${A: must go on with :-default or :?message")
	bad("${NONE:-${A}}", "${…} inside ${…} is not supported")

	c := good(t, "agent: {cluster: '${YAML}', node: '${N}', tags: '${TAGS}'}", "YAML=x: [1", "N=${A}", "TAGS=a:1,b:2", "CAUSEWAY_AGENT__ROLE=node")
	if c.Agent.Cluster != "x: [1" || c.Agent.Node != "${A}" || !slices.Equal(c.Agent.Tags, []string{"a:1", "b:2"}) {
		t.Errorf("expanded to %+v", c.Agent)
	}
	c = good(t, "version: 1", "CAUSEWAY_AGENT__CLUSTER=${A}$$")
	if c.Agent.Cluster != "${A}$$" {
		t.Errorf("a variable's own content became %q", c.Agent.Cluster)
	}
}

func TestDurations(t *testing.T) {
	f := func(in string, want time.Duration) {
		t.Helper()
		got, err := parseDuration(in)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", in, got, err, want)
		}
		if again, err := parseDuration(printDuration(want)); err != nil || again != want {
			t.Errorf("%v is printed as %q, which reads as %v, %v", want, printDuration(want), again, err)
		}
	}
	f("10s", 10*time.Second)
	f("1h30m", 90*time.Minute)
	f("7d", 168*time.Hour)
	f("168h", 168*time.Hour)
	f("1d12h", 36*time.Hour)
	f("1.5h", 90*time.Minute)
	f("100ms", 100*time.Millisecond)
	f("0", 0)
	f("0s", 0)
	f("10m", 10*time.Minute)
	f("1h0m5s", time.Hour+5*time.Second)
	bad := func(in, want string) {
		t.Helper()
		if _, err := parseDuration(in); err == nil || err.Error() != want {
			t.Errorf("%q gave %v, want %q", in, err, want)
		}
	}
	const form = "must be a duration like 10s, 5m, 1h30m or 7d"
	bad("10", "needs a unit: 10s, 5m, 1h30m or 7d")
	bad("1d5", "needs a unit: 10s, 5m, 1h30m or 7d")
	bad("-5s", "must not be negative")
	for _, in := range []string{"", "s", "5 s", "5x", "d", "1dd", "1d-1h", "xd", "1.5d", "9999999d", "106751d24h", "1e3s", "99999999h"} {
		bad(in, form)
	}
}

func TestSizes(t *testing.T) {
	f := func(in string, want int64) {
		t.Helper()
		got, err := parseSize(in)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", in, got, err, want)
		}
		if again, err := parseSize(printSize(want)); err != nil || again != want {
			t.Errorf("%v is printed as %q, which reads as %v, %v", want, printSize(want), again, err)
		}
	}
	f("0", 0)
	f("-3", -3)
	f("200000", 200000)
	f("64MiB", 64<<20)
	f("64 MiB", 64<<20)
	f("10MB", 10e6)
	f("1.5GiB", 3<<29)
	f("4Gi", 4<<30)
	f("1kb", 1000)
	f("2TiB", 2<<40)
	f("9223372036854775807", 1<<63-1)
	bad := func(in, want string) {
		t.Helper()
		if got, err := parseSize(in); err == nil || err.Error() != want {
			t.Errorf("%q gave %v, %v; want %q", in, got, err, want)
		}
	}
	const form = "must be a whole number, or a size like 64MiB or 10MB"
	for _, in := range []string{"", "MiB", "x1", "1 2", "1,5", "1e3MB", "--1", "."} {
		bad(in, form)
	}
	bad("64MiBB", "has an unknown unit; sizes end in B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
	bad("64k", "has an unknown unit; sizes end in B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
	bad("1.5", "must be a whole number of bytes")
	bad("1.5e3MB", "must be a whole number of bytes")
	bad("-1.5MB", "must be a whole number of bytes")
	bad("9999999TiB", "is too large a number")
	bad("99999999999999999999", "is too large a number")
}

func TestEveryComplaintAtOnceInTheOrderOfTheFile(t *testing.T) {
	wrong(t, `version: 2
active: [local, lcal, local]
cluster: prod
agent:
  clustr: x
  log: {level: inf, format: [auto]}
  drain: 10
  tags: ["env:dev", "prod"]
  listen: 0.0.0.0:9580
spool:
  logs: {max_size: 4XB, when_full: drop}
  logs: {max_size: 4GB}
destinations:
  local: {type: influxdb, kinds: [metric], backfill: true}
`, "",
		"agent.yaml:1:10: version: must be 1, the only version there is",
		"agent.yaml:2:17: active[1]: is no destination; there is: local (did you mean local?)",
		"agent.yaml:2:23: active[2]: names the same destination again",
		"agent.yaml:3:1: cluster: unknown key (did you mean agent.cluster?)",
		"agent.yaml:5:3: agent.clustr: unknown key (did you mean cluster?)",
		"agent.yaml:6:16: agent.log.level: must be one of debug, info, warn, error (did you mean info?)",
		"agent.yaml:6:29: agent.log.format: must be a single value, not a list",
		"agent.yaml:7:10: agent.drain: needs a unit: 10s, 5m, 1h30m or 7d",
		"agent.yaml:8:21: agent.tags[1]: must be written as key:value",
		"agent.yaml:9:11: agent.listen: is open to other machines and there is no agent.token; set one, or listen on 127.0.0.1",
		"agent.yaml:11:20: spool.logs.max_size: has an unknown unit; sizes end in B, kB, MB, GB, TB, KiB, MiB, GiB or TiB",
		"agent.yaml:11:36: spool.logs.when_full: must be one of drop_oldest, wait",
		"agent.yaml:12:3: spool.logs: is given twice, first on line 11",
		"agent.yaml:14:35: destinations.local.kinds[0]: must be one of metrics, logs, events (did you mean metrics?)",
		"agent.yaml:14:54: destinations.local.backfill: must be a duration like 10s, 5m, 1h30m or 7d",
	)
}

func TestShapesThatDoNotFit(t *testing.T) {
	f := func(text string, want ...string) { t.Helper(); wrong(t, text, "", want...) }
	f("[a]", "agent.yaml:1:1: must be a section of keys, not a list")
	f("text", "agent.yaml:1:1: must be a section of keys, not a single value")
	f("agent: text", "agent.yaml:1:8: agent: must be a section of keys, not a single value")
	f("agent: {node: {a: b}}", "agent.yaml:1:15: agent.node: must be a single value, not a section of keys")
	f("active: local", "agent.yaml:1:9: active: must be a list, in brackets or one item a line after a dash, not a single value")
	f("active: {local: 1}", "agent.yaml:1:9: active: must be a list, in brackets or one item a line after a dash, not a section of keys")
	f("active: []", "agent.yaml:1:1: active: names no destination; what is collected would go nowhere")
	f("active: [local, ~]", "agent.yaml:1:17: active[1]: has no value")
	f("{[a, b]: c}", "agent.yaml:1:2: a key must be a plain word")
	f("agent: {token: !vault x}", "agent.yaml:1:16: agent.token: begins with a YAML tag, which has no meaning here; put a value that begins with ! in quotes")
	f("destinations: [a]", "agent.yaml:1:15: destinations: must be a section of keys, not a list")
	f("destinations: {x: y}", "agent.yaml:1:16: destinations.x.type: is missing; it names the vendor: datadog, googlecloud, influxdb, newrelic, stackdriver, stdout")
	f("destinations: {x: }", "agent.yaml:1:16: destinations.x.type: is missing; it names the vendor: datadog, googlecloud, influxdb, newrelic, stackdriver, stdout")
	f("destinations: {x: {type: influx}}", "agent.yaml:1:26: destinations.x.type: unknown type; there is: datadog, googlecloud, influxdb, newrelic, stackdriver, stdout (did you mean influxdb?)")
	f("destinations: {x: {type: influxdb, url: 'http://u:p@h'}}", "agent.yaml:1:41: destinations.x.url: must hold no password, as it is shown to people; there are keys for it")
	f("destinations: {X: {type: influxdb}}", "agent.yaml:1:16: destinations.X: a destination's name consists of a-z, 0-9, _ and -")
	f("destinations: {x: {type: influxdb, tls: {cert_file: a}, proxy_url: ':', match: 'x ='}}",
		"agent.yaml:1:36: destinations.x.tls: cert_file and key_file go together",
		"agent.yaml:1:68: destinations.x.proxy_url: must be the http://, https:// or socks5:// URL of a proxy",
		"agent.yaml:1:80: destinations.x.match: column 3: wanted ==, !=, =~, !~, <, <=, > or >= behind x")
	f("spool: {sync: 0, metrics: {max_size: 1, max_age: 1s}}",
		"agent.yaml:1:15: spool.sync: must be from 10ms to 1h",
		"agent.yaml:1:38: spool.metrics.max_size: must be at least 1MiB",
		"agent.yaml:1:50: spool.metrics.max_age: must be at least 1m")
	f("agent: {role: nod, data_dir: '', listen: localhost, drain: 1h}",
		"agent.yaml:1:15: agent.role: must be one of auto, node, cluster (did you mean node?)",
		"agent.yaml:1:30: agent.data_dir: must name a folder",
		"agent.yaml:1:42: agent.listen: must be host:port, like 127.0.0.1:9580",
		"agent.yaml:1:60: agent.drain: must be at most 10m")
	f("active: [a, b]\ndestinations: {a: &a {type: influxdb, embedded: true}, b: *a}",
		"agent.yaml:1:13: active[1]: is a second embedded store beside a; the agent has room for one")
}

func TestWhatIsNotYAML(t *testing.T) {
	f := func(text string, want ...string) { t.Helper(); wrong(t, text, "", want...) }
	f("", "agent.yaml: is empty; the least configuration is one line: version: 1")
	f("# only a comment\n", "agent.yaml: is empty; the least configuration is one line: version: 1")
	f("version: 1\n---\nversion: 1\n", "agent.yaml:2:1: a second document begins; the configuration is one")
	f("agent:\n\tnode: x\n", "agent.yaml:2:1: a tab cannot indent YAML; use spaces")
	f("agent:\n   node: x\n  cluster: y\nversion: 1\n", "agent.yaml:3:3: is not indented like the lines before it")
	f("version: 1\nagent:\n  cluster: a: b\n", "agent.yaml:3:3: a colon where no key can be; check the indentation, or put the value in quotes")
	f("version: 1\nagent: {node: ${X}}\n", "agent.yaml:2:1: inside braces and brackets a value with ${…} must be in quotes")
	f("version: 1\nagent: {token: *hunter2}\n", "agent.yaml:2:1: an alias (*name) without its anchor (&name); put a value that begins with * or & in quotes")
	f("version: 1\nagent: {token: @hunter2}\n", "agent.yaml:2:1: a value cannot begin with this character; put it in quotes")
	f("version: 1\nactive: [local\nspool: {}\n", "agent.yaml:2:1: is not valid YAML; check the indentation, quotes and brackets here")
	f("version: 1\nagent: {node: 'x}\n", "agent.yaml:2:1: is not valid YAML; check the indentation, quotes and brackets here")
	f("version: 1\nnode: \"\x01\"\n", "agent.yaml:2:1: is not UTF-8 text, or holds control characters")
	f("version: 1\nnode: \xff\n", "agent.yaml:2:1: is not UTF-8 text, or holds control characters")
}

func TestSectionsThatShareALevel(t *testing.T) {
	c := good(t, `
collect:
  logs:
    max_line: 64KiB
    files: [{path: /var/log/*.log}]
    journald: {enabled: true, units: [ssh]}
    syslog: [{listen: ["udp://127.0.0.1:5514"]}]
    forward: {listen: ["tcp://127.0.0.1:24224"]}
`, "CAUSEWAY_COLLECT__LOGS__JOURNALD__PRIORITY=err")
	l := c.Collect.Logs
	if l.MaxLine != 64<<10 || len(l.Files) != 1 || l.Journald.Enabled != "true" || l.Journald.Priority != "err" || len(l.Syslog) != 1 || !l.Forward.Enabled() {
		t.Errorf("%+v", l)
	}
	wrong(t, `
collect:
  logs: {journal: {}, syslog: [{listen: ["udp://x"]}], max_lin: 1}
`, "",
		"agent.yaml:3:10: collect.logs.journal: unknown key (did you mean journald?)",
		`agent.yaml:3:42: collect.logs.syslog[0].listen[0]: "udp://x" has no host:port: write udp://127.0.0.1:5514`,
		"agent.yaml:3:56: collect.logs.max_lin: unknown key (did you mean max_line?)")
}

func TestVariablesThatAreWrongAreNamed(t *testing.T) {
	f := func(env string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "environment variable " + want[i]
		}
		wrong(t, "agent: {drain: 5s}", env, want...)
	}
	f("CAUSEWAY_AGENT__DRAIN=10", "CAUSEWAY_AGENT__DRAIN: agent.drain: needs a unit: 10s, 5m, 1h30m or 7d")
	f("CAUSEWAY_AGENT__DRAIN=1h", "CAUSEWAY_AGENT__DRAIN: agent.drain: must be at most 10m")
	f("CAUSEWAY_AGENT__TAGS=a:1,b", "CAUSEWAY_AGENT__TAGS: agent.tags[1]: must be written as key:value")
	f("CAUSEWAY_AGENT__TAGS=[a:1,", "CAUSEWAY_AGENT__TAGS: agent.tags: is no YAML list, though it begins with a bracket")
	f("CAUSEWAY_AGENT__TAGS=[{}]", "CAUSEWAY_AGENT__TAGS: agent.tags[0]: must be a single value, not a section of keys")
	f("CAUSEWAY_ACTIVE=lcal", "CAUSEWAY_ACTIVE: active[0]: is no destination; there is: local (did you mean local?)")
	f("CAUSEWAY_AGENT__CLUSTR=x", "CAUSEWAY_AGENT__CLUSTR: agent.clustr: names no key of the configuration (did you mean CAUSEWAY_AGENT__CLUSTER?)")
	f("CAUSEWAY_AGENT_CLUSTER=x", "CAUSEWAY_AGENT_CLUSTER: agent_cluster: names no key of the configuration (did you mean CAUSEWAY_AGENT__CLUSTER?)")
	f("CAUSEWAY_AGNT__CLUSTER=x", "CAUSEWAY_AGNT__CLUSTER: agnt.cluster: names no key of the configuration (did you mean CAUSEWAY_AGENT__CLUSTER?)")
	f("CAUSEWAY_AGENT__NODE__X=x", "CAUSEWAY_AGENT__NODE__X: agent.node.x: names no key of the configuration")
	f("CAUSEWAY_AGENT=x", "CAUSEWAY_AGENT: agent: is a section; a variable sets one of its keys")
	f("CAUSEWAY_DESTINATIONS=x", "CAUSEWAY_DESTINATIONS: destinations: is a section; a variable sets one of its keys: CAUSEWAY_DESTINATIONS__NAME__KEY")
	f("CAUSEWAY_DESTINATIONS__X__URL=x", "CAUSEWAY_DESTINATIONS__X__URL: destinations.x.type: is missing; it names the vendor: datadog, googlecloud, influxdb, newrelic, stackdriver, stdout")
	f("CAUSEWAY_DESTINATIONS__X__TYPE=influx CAUSEWAY_DESTINATIONS__X__URL=x", "CAUSEWAY_DESTINATIONS__X__TYPE: destinations.x.type: unknown type; there is: datadog, googlecloud, influxdb, newrelic, stackdriver, stdout (did you mean influxdb?)")
	wrong(t, "agent: {drain: [x]}", "CAUSEWAY_AGENT__DRAIN=1h",
		"agent.yaml:1:16: agent.drain: must be a single value, not a list",
		"environment variable CAUSEWAY_AGENT__DRAIN: agent.drain: must be at most 10m")
	f("CAUSEWAY_AGENT__NODE=\xff", "CAUSEWAY_AGENT__NODE: agent.node: is not UTF-8")
}

func TestOtherPeoplesVariablesAreLeftAlone(t *testing.T) {
	want := Default()
	same(t, good(t, "version: 1", "CAUSEWAY_SERVICE_HOST=10.0.0.1", "CAUSEWAY_PORT=tcp://10.0.0.1:9580", "CAUSEWAY_PORT_9580_TCP_ADDR=10.0.0.1",
		"CAUSEWAY_SERVICE_PORT_HTTP=9580", "CAUSEWAY_AGENT_SERVICE_HOST=10.0.0.1", "CAUSEWAY_AGENT_PORT_9580_TCP=x", "CAUSEWAY_AGENT_PORT_9580_TCP_PROTO=tcp",
		"CAUSEWAY_CONFIG=x", "PATH=/bin", "=C:=x", "NONSENSE", "CAUSEWAY_=1"), &want)
}

func TestAliasesAndMerges(t *testing.T) {
	c := good(t, `
destinations:
  a: &a {type: influxdb, url: "http://a:1", tags: &tags ["x:1"], tls: {ca_file: ca}}
  b: {<<: *a, url: "http://b:1"}
agent: {tags: *tags}
`)
	b := c.Destinations["b"]
	if b.Influx.URL != "http://b:1" || b.TLS.CAFile != "ca" || !slices.Equal(c.Agent.Tags, []string{"x:1"}) {
		t.Errorf("got %+v, %v", b, c.Agent.Tags)
	}
	wrong(t, "agent: &a {<<: *a, node: x}", "", "agent.yaml:1:12: agent: merges too many levels deep")
	wrong(t, "agent: &a\n  tags: &t [*t, *a]", "",
		"agent.yaml:2:13: agent.tags[0]: must be a single value, not a list",
		"agent.yaml:2:17: agent.tags[1]: must be a single value, not a section of keys")
	bomb := "agent: {tags: [" + strings.Repeat("a,", maxNodes) + "]}"
	wrong(t, bomb, "", "agent.yaml: holds more than 16384 values, aliases counted at each use")
}

func TestSecretsComeFromFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yaml")
	write(t, filepath.Join(dir, "token"), "from-file\r\n")
	write(t, filepath.Join(dir, "other"), "two\nlines\n")
	write(t, filepath.Join(dir, "void"), "\n")
	load := func(text string, env ...string) (*Config, error) {
		write(t, path, text)
		return Load(path, env)
	}
	c, err := load("agent: {token_file: token}\nactive: [local]\ndestinations: {local: {type: influxdb, embedded: true}, x: {type: influxdb, token_file: /nowhere}}")
	if err != nil {
		t.Fatal(err)
	}
	if c.Agent.Token.Reveal() != "from-file" || c.Origin("agent.token") != "file token" {
		t.Errorf("the token is %q, from %s", c.Agent.Token.Reveal(), c.Origin("agent.token"))
	}
	if want := []string{path, filepath.Join(dir, "token"), "/nowhere"}; !slices.Equal(c.Files(), want) {
		t.Errorf("to be watched: %v, want %v", c.Files(), want)
	}
	if c, err = load("agent: {token_file: token}", "CAUSEWAY_AGENT__TOKEN_FILE="+filepath.Join(dir, "other")); err != nil || c.Agent.Token.Reveal() != "two\nlines" {
		t.Errorf("a variable's file gave %v", err)
	}
	if c, err = load("agent: {token: abc}", "CAUSEWAY_AGENT__TOKEN_FILE="+filepath.Join(dir, "other")); err != nil || c.Agent.Token.Reveal() != "two\nlines" {
		t.Errorf("a variable's file beside the file's token gave %v", err)
	}
	if c, err = load("agent: {token_file: nowhere}", "CAUSEWAY_AGENT__TOKEN=abc"); err != nil || c.Agent.Token.Reveal() != "abc" || len(c.Files()) != 1 {
		t.Errorf("a variable beside the file's token_file gave %v", err)
	}
	bad := func(text string, want string, env ...string) {
		t.Helper()
		if _, err := load(text, env...); err == nil || err.Error() != want {
			t.Errorf("%s\ngave %v\nwant %s", text, err, want)
		}
	}
	bad("agent: {token_file: nowhere}", path+":1:21: agent.token_file: read the secret's file: no such file or directory")
	bad("agent: {token_file: .}", path+":1:21: agent.token_file: read the secret's file: not a regular file")
	bad("agent: {token_file: void}", path+":1:21: agent.token_file: read the secret's file: the file is empty")
	bad("agent: {token_file: token, token: x}", path+":1:35: agent.token: is given beside token_file; one of them is enough")
	bad("agent: {token: x, token_file: token}", path+":1:31: agent.token_file: is given beside token; one of them is enough")
	bad("version: 1", "environment variable CAUSEWAY_AGENT__TOKEN_FILE: agent.token_file: is given beside token; one of them is enough",
		"CAUSEWAY_AGENT__TOKEN=x", "CAUSEWAY_AGENT__TOKEN_FILE=token")
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	f := func(path, want string) {
		t.Helper()
		if _, err := Load(path, nil); err == nil || err.Error() != want {
			t.Errorf("%s gave %v, want %s", path, err, want)
		}
	}
	none := filepath.Join(dir, "none.yaml")
	f(none, none+": there is no such file; name yours with -c, or start from the agent.yaml that comes with Causeway")
	f(dir, dir+": is a directory")
	large := filepath.Join(dir, "large.yaml")
	write(t, large, strings.Repeat("#\n", maxFile/2)+"#")
	f(large, large+": is larger than 1 MiB, which no configuration is")
	write(t, large, strings.Repeat("x", maxSecret+1))
	if _, err := readSecret(large); err == nil {
		t.Error("a secret of any size is read")
	}
}

// TestNothingTellsASecret puts one secret in every place and looks for it in
// everything that is ever shown.
func TestNothingTellsASecret(t *testing.T) {
	const key = "hunter2$x"
	quoted := strings.ReplaceAll(key, "$", "$$")
	outputs := map[string]string{}
	show := func(text string, env ...string) {
		c, err := load("agent.yaml", []byte(text), append(env, "KEY="+key), func(string) ([]byte, error) { return []byte(key), nil })
		if err != nil {
			outputs[text] = fmt.Sprintf("%v %+v %#v", err, err, err)
			return
		}
		var b strings.Builder
		for _, origin := range []bool{false, true} {
			if err := c.Print(&b, origin); err != nil {
				t.Fatal(err)
			}
		}
		outputs[text] = b.String() + fmt.Sprintf("%v %+v %#v", c, *c, *c)
	}
	for _, value := range []string{quoted, "'${KEY}'"} {
		for _, shape := range []string{
			"agent: {token: %s}", "agent: {token: %s, listen: x}", "agent: {token: [%s]}", "agent: {token: {x: %s}}", "agent: {token: *%s}",
			"agent:\n  token: a: %s", "agent:\n  token: %s\n bad: x", "agent: {token: !x %s}", "agent: {token: %s, token: %s}",
			"destinations: {x: {type: influxdb, proxy_url: %s}}", "destinations: {x: {type: influxdb, token: %s, url: x}}\nactive: [x]",
		} {
			show(strings.ReplaceAll(shape, "%s", value))
		}
	}
	for _, shape := range []string{
		"agent: {drain: '%s'}", "agent: {role: '%s'}", "agent: {tags: ['%s']}", "agent: {listen: '%s'}", "active: ['%s']", "active: '%s'", "version: '%s'",
		"spool: {logs: {max_size: '%s', when_full: '%s'}}", "destinations: {x: {type: '%s'}}", "destinations: {x: {type: influxdb, match: 'a %s'}}",
		"destinations: {x: {type: influxdb, api: '%s', url: '%s'}}\nactive: [x]", "destinations: {x: {type: influxdb, embedded: '%s'}}",
		"collect: {host: {root: '%s', enabled: '%s'}}", "collect: {logs: {files: [{path: '%s', tags: ['%s']}]}}", "process: {rules: [{kind: '%s', action: '%s', match: '%s'}]}",
	} {
		show(strings.ReplaceAll(shape, "%s", "${KEY}"))
	}
	show("version: 1", "CAUSEWAY_AGENT__TOKEN="+key)
	show("version: 1 ", "CAUSEWAY_AGENT__TOKEN="+key, "CAUSEWAY_AGENT__DRAIN=x")
	show("agent: {token_file: x}")
	show("agent: {token_file: x, drain: x}")
	show("destinations: {x: {type: influxdb, proxy_url: 'http://user:" + quoted + "@host:1/'}}")
	show("destinations: {x: {type: influxdb, url: 'http://user:" + quoted + "@host:1/', proxy_url: 'http://user:" + quoted + "@host:1/'}}")
	show("collect: {host: {root: 'http://user:" + quoted + "@host'}}")
	show("agent: {token: " + quoted + "}\ncollect: {host: {root: " + quoted + "}}")
	for text, out := range outputs {
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s\ntells the secret:\n%s", text, out)
		}
		if out == "" {
			t.Errorf("%s\ntells nothing", text)
		}
	}
	if len(outputs) < 35 {
		t.Errorf("only %d outputs were looked at", len(outputs))
	}
}

func TestRoomsMessagesAreRedacted(t *testing.T) {
	f := func(message, want string, hidden ...string) {
		t.Helper()
		if got := redact(message, hidden); got != want {
			t.Errorf("%q became %q, want %q", message, got, want)
		}
	}
	f(`url: "a\"b" is none`, `url: "***" is none`, `a"b`)
	f("password abc is short", "password *** is short", "abc")
	f(`"a" is no a`, `"***" is no a`, "a")
	f("nothing to hide", "nothing to hide", "", "xyz")
}

func TestSuggestions(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := distance(a, b); got != want {
			t.Errorf("%q is %d from %q, want %d", a, got, b, want)
		}
	}
	f("", "", 0)
	f("abc", "", 3)
	f("node", "node", 0)
	f("nodes", "node", 1)
	f("ndoe", "node", 1)
	f("interval", "internal", 1)
	if got := nearest("xyz", []string{"abc", "node"}); got != "" {
		t.Errorf("suggests %q for xyz", got)
	}
	if got := nearest(strings.Repeat("x", 1000), []string{"abc"}); got != "" {
		t.Errorf("suggests %q for a long word", got)
	}
}

func TestListOfSectionsComesFromAVariableToo(t *testing.T) {
	c := good(t, "collect: {logs: {files: [{path: /a, service: s}, {path: /b}]}}", "CAUSEWAY_COLLECT__LOGS__FILES=[{path: /c, tags: ['a:$x']}]")
	files := c.Collect.Logs.Files
	if len(files) != 1 || files[0].Path != "/c" || files[0].Service != "" || !slices.Equal(files[0].Tags, []string{"a:$x"}) {
		t.Errorf("the files are %+v", files)
	}
	for _, key := range []string{"collect.logs.files", "collect.logs.files[0]", "collect.logs.files[0].path", "collect.logs.files[0].tags"} {
		if got := c.Origin(key); got != "env CAUSEWAY_COLLECT__LOGS__FILES" {
			t.Errorf("%s comes from %s", key, got)
		}
	}
	wrong(t, "version: 1", `CAUSEWAY_COLLECT__LOGS__FILES=[{"path":"/a","servce":"x"}]`,
		"environment variable CAUSEWAY_COLLECT__LOGS__FILES: collect.logs.files[0].servce: unknown key (did you mean service?)")
	wrong(t, "version: 1", "CAUSEWAY_COLLECT__LOGS__FILES=/a,/b",
		"environment variable CAUSEWAY_COLLECT__LOGS__FILES: collect.logs.files: must be a list of sections, as YAML in brackets: [{…: …}]")
}
