package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
)

// Verdicts of a check.
const (
	Pass = "PASS"
	Warn = "WARN" // works, or will; or is not needed as things are
	Fail = "FAIL"
)

// Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Remedy  string `json:"remedy,omitempty"`
}

// diagnosis is a list of checks being made.
type diagnosis struct {
	cfg   *config.Config
	room  *kube.Kube
	found func(Check)
}

// Diagnose looks at everything around the agent that it needs, as the user and
// from the place where it is called, and hands each finding to found: the data
// directory, the way to each destination in use, its keys, what is to be read,
// the kubelet, the rights in the cluster. It changes nothing but a file in
// data_dir that it removes again, and sends no data.
func Diagnose(ctx context.Context, cfg *config.Config, found func(Check)) {
	a := &Agent{log: slog.New(slog.DiscardHandler)}
	d := &diagnosis{cfg: cfg, found: found, room: a.clusterOf(cfg).room}
	d.dataDir()
	d.running(ctx)
	d.place(ctx)
	for _, name := range cfg.Active {
		d.destination(ctx, name)
	}
	if cfg.Agent.Role != "cluster" {
		d.logs()
		d.kubelet(ctx)
	}
	d.rights(ctx)
}

func (d *diagnosis) pass(name, format string, args ...any) {
	d.found(Check{Name: name, Verdict: Pass, Found: line(fmt.Sprintf(format, args...))})
}

func (d *diagnosis) say(verdict, name, remedy, format string, args ...any) {
	d.found(Check{Name: name, Verdict: verdict, Found: line(fmt.Sprintf(format, args...)), Remedy: remedy})
}

// leastFree is what the file system of data_dir must have to be of any use.
const leastFree = 64 << 20

func (d *diagnosis) dataDir() {
	dir := d.cfg.Agent.DataDir
	there := dir
	for { // the folder that is there: the agent makes what is below
		if _, err := os.Stat(there); err == nil || there == filepath.Dir(there) {
			break
		}
		there = filepath.Dir(there)
	}
	f, err := os.CreateTemp(there, ".diagnose-*")
	if err != nil {
		d.say(Fail, "data_dir", "choose a folder that the agent's user may write, or make it for it", "%v", bare(err))
		return
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil {
		d.say(Warn, "data_dir", "remove it by hand", "%v", err)
	}
	if there != dir {
		d.pass("data_dir", "%s is not there, and can be made", dir)
	} else {
		d.pass("data_dir", "%s can be written", dir)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(there, &st); err != nil {
		d.say(Warn, "data_dir/space", "", "%v", err)
		return
	}
	free, want := int64(st.Bavail)*st.Bsize, int64(0)
	for _, k := range signal.Kinds {
		want += spoolOptions(d.cfg, k).MaxBytes
	}
	const mib = 1 << 20
	switch {
	case free < leastFree:
		d.say(Fail, "data_dir/space", "free space, or choose another file system", "%d MiB are free", free/mib)
	case free < want:
		d.say(Warn, "data_dir/space", "lower spool.*.max_size, or free space: a full disk costs what an outage would have kept",
			"%d MiB are free, and the spools may grow to %d", free/mib, want/mib)
	default:
		d.pass("data_dir/space", "%d MiB are free, and the spools may grow to %d", free/mib, want/mib)
	}
}

// answerTime bounds one question.
const answerTime = 10 * time.Second

func (d *diagnosis) running(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.cfg.Agent.Listen+"/livez", nil)
	if err != nil {
		d.say(Fail, "agent", "", "%v", err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.say(Warn, "agent", "start one with: causeway run", "none answers at %s", d.cfg.Agent.Listen)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.say(Warn, "agent", "is it another program? set agent.listen", "%s answers %s", d.cfg.Agent.Listen, resp.Status)
		return
	}
	d.pass("agent", "one answers at %s", d.cfg.Agent.Listen)
}

func (d *diagnosis) place(ctx context.Context) {
	if !asksForPlace(d.cfg) {
		return
	}
	at, err := askPlace(ctx, metadata.NewClient(&http.Client{Timeout: placeAnswer}))
	if err != nil {
		d.say(Fail, "metadata", "set project, location and agent.cluster by hand, or let the agent reach 169.254.169.254", "%v", err)
		return
	}
	d.pass("metadata", "project %s, location %s, cluster %s", at.Project, at.Location, at.Cluster)
}

// destination looks at the way to one destination, step by step, and stops where
// no further step can succeed.
func (d *diagnosis) destination(ctx context.Context, name string) {
	dest := d.cfg.Destinations[name]
	prefix := "destination/" + name
	if dest.Type == "stdout" || dest.Type == "influxdb" && dest.Influx.Embedded {
		d.pass(prefix, "is in the agent itself")
		return
	}
	seen := map[string]bool{}
	for _, k := range signal.Kinds {
		if !wants(dest, k) {
			continue
		}
		to, err := address(ctx, name, d.cfg, k)
		if err != nil {
			d.say(Fail, prefix, "correct it in agent.yaml", "%v", err)
			return
		}
		if !seen[to.Host] && !d.way(ctx, prefix, dest, to) {
			return
		}
		seen[to.Host] = true
	}
	ctx, cancel := context.WithTimeout(ctx, 3*answerTime)
	defer cancel()
	if err := Connect(ctx, name, d.cfg); err != nil {
		d.say(Fail, prefix+"/key", "as it says", "%v", err)
		return
	}
	d.pass(prefix+"/key", "it would take our data")
}

// address returns where a destination takes a kind.
func address(ctx context.Context, name string, cfg *config.Config, k signal.Kind) (*url.URL, error) {
	e, done, err := vendor(name, cfg.Destinations[name], k, surroundings(ctx, cfg.Destinations[name], cfg, io.Discard))
	if err != nil {
		return nil, err
	}
	defer done()
	to := strings.TrimPrefix(target(e), "POST ")
	if !strings.Contains(to, "://") {
		to = "https://" + to
	}
	u, err := url.Parse(to)
	if err == nil && u.Hostname() == "" {
		err = fmt.Errorf("%q has no host", to)
	}
	return u, err
}

// way looks at the proxy, the name, TLS and the clock on the way to a host. It
// returns false if that host cannot be reached.
func (d *diagnosis) way(ctx context.Context, prefix string, dest config.Destination, to *url.URL) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTime)
	defer cancel()
	h := exporters.HTTP{ProxyURL: dest.ProxyURL.Reveal(), TLS: exporters.TLS(dest.TLS), Timeout: answerTime}
	client, err := h.Client(1)
	if err != nil {
		d.say(Fail, prefix+"/tls", "correct the files in agent.yaml", "%v", err)
		return false
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, to.Scheme+"://"+to.Host+"/", nil)
	if err != nil {
		d.say(Fail, prefix, "correct it in agent.yaml", "%v", err)
		return false
	}
	proxy, err := client.Transport.(exporters.Transport).Proxy(req)
	switch {
	case err != nil:
		d.say(Fail, prefix+"/proxy", "correct proxy_url, HTTPS_PROXY or HTTP_PROXY", "%v", err)
		return false
	case proxy != nil:
		d.pass(prefix+"/proxy", "%s is asked through %s", to.Hostname(), proxy.Host) // without its password
	default: // behind a proxy, names are the proxy's to look up
		addrs, err := net.DefaultResolver.LookupHost(ctx, to.Hostname())
		if err != nil {
			d.say(Fail, prefix+"/dns", "is the name right, and does this node's or pod's resolver answer (dnsPolicy, /etc/resolv.conf)?", "%v", err)
			return false
		}
		d.pass(prefix+"/dns", "%s is %s", to.Hostname(), strings.Join(addrs[:min(3, len(addrs))], ", "))
	}
	asked := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		d.say(Fail, prefix+"/tls", "may it be reached from here (firewall, NetworkPolicy, proxy_url)? does a proxy show a certificate of its own (tls.ca_file)?", "%v", err)
		return false
	}
	resp.Body.Close()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		c := resp.TLS.PeerCertificates[0]
		d.pass(prefix+"/tls", "%s, its certificate by %s is good until %s", to.Host, c.Issuer.CommonName, c.NotAfter.UTC().Format(time.DateOnly))
	} else {
		d.pass(prefix+"/connect", "%s answers, without TLS", to.Host)
	}
	d.clock(prefix, resp.Header.Get("Date"), asked, time.Now())
	return true
}

// The difference of clocks that is worth a word, and the one at which vendors
// begin to refuse what is ahead of theirs: Datadog at ten minutes, Google at five.
const (
	skewWarn = 10 * time.Second
	skewFail = 5 * time.Minute
)

// clock compares a server's Date, which is whole seconds, with ours.
func (d *diagnosis) clock(prefix, date string, asked, answered time.Time) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return // a server need not say
	}
	skew, side := asked.Sub(theirs.Add(time.Second)), "ahead of"
	if behind := theirs.Sub(answered); behind > skew {
		skew, side = behind, "behind"
	}
	verdict := Warn
	switch {
	case skew < skewWarn:
		d.pass(prefix+"/clock", "agrees with the server's")
		return
	case skew >= skewFail:
		verdict = Fail
	}
	d.say(verdict, prefix+"/clock", "set this machine's clock (chrony, systemd-timesyncd)", "this machine's clock is %v %s the server's", skew.Round(time.Second), side)
}

// logs looks whether what is to be followed can be seen and read.
func (d *diagnosis) logs() {
	c := d.cfg.Collect.Logs
	folder := func(name, enabled, path string) {
		if enabled == "false" {
			return
		}
		_, err := os.ReadDir(path)
		switch {
		case err == nil:
			d.pass(name, "%s can be read", path)
		case errors.Is(err, fs.ErrNotExist) && enabled == "auto" && os.Getenv("KUBERNETES_SERVICE_HOST") == "":
			d.pass(name, "%s is not there, and auto minds nothing", path)
		case errors.Is(err, fs.ErrNotExist):
			d.say(Fail, name, "mount it into the agent's container, or correct its path", "%s is not there", path)
		default:
			d.say(Fail, name, "let the agent's user read it, or run the agent as root", "%v", err)
		}
	}
	folder("logs/pods", c.Pods.Enabled, c.Pods.Path)
	folder("logs/docker", c.Docker.Enabled, c.Docker.Path)
	for i, f := range c.Files {
		d.files(fmt.Sprintf("logs/files/%d", i), f.Path)
	}
}

// mostOpened is how many files of a pattern are opened for a look.
const mostOpened = 1000

func (d *diagnosis) files(name, pattern string) {
	base := pattern
	if i := strings.IndexAny(base, "*?["); i >= 0 {
		base = filepath.Dir(base[:i] + "x")
	}
	if _, err := os.Stat(base); err != nil {
		d.say(Fail, name, "mount it into the agent's container, let its user enter the folders, or correct the pattern", "%v", err)
		return
	}
	if strings.Contains(pattern, "**") { // the folder is there; how many are below, status says
		d.pass(name, "%s: its folder %s is there", pattern, base)
		return
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		d.say(Fail, name, "correct the pattern", "%s: %v", pattern, err)
		return
	}
	readable, others, why := 0, 0, error(nil)
	for _, p := range paths[:min(len(paths), mostOpened)] {
		info, err := os.Stat(p)
		if err == nil && !info.Mode().IsRegular() {
			others++ // not opened: that would let the writer of a FIFO go on
			continue
		}
		if err == nil {
			var f *os.File
			if f, err = os.Open(p); err == nil {
				f.Close()
				readable++
				continue
			}
		}
		if why == nil {
			why = err
		}
	}
	switch {
	case why != nil:
		d.say(Fail, name, "let the agent's user read it (a group, setfacl -R -m u:USER:rX), run the agent as root, or name it in exclude", "%s: %v", pattern, why)
	case readable == 0 && others > 0:
		d.say(Warn, name, "name them in exclude, or correct the pattern", "%s names folders, FIFOs, sockets or devices, and no file", pattern)
	case readable == 0:
		d.say(Warn, name, "none, if it will be written later; else correct the pattern", "%s names no file", pattern)
	default:
		d.pass(name, "%s: %d files can be read", pattern, readable)
	}
}

func (d *diagnosis) kubelet(ctx context.Context) {
	c := d.cfg.Collect.Containers
	if c.Enabled == "false" || c.Provider == "cadvisor" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	k := container.NewKubelet(c, nodeName(d.cfg), os.Getenv, nil, slog.New(slog.DiscardHandler))
	defer k.Close()
	readings, err := k.Read(ctx)
	from, _ := k.From()
	switch {
	case errors.Is(err, collect.ErrAbsent) && c.Provider != "kubelet":
		d.pass("kubelet", "none here; containers are read from their cgroups")
	case len(readings) > 0 && err == nil:
		d.pass("kubelet", "%s tells of %d containers and pods", from, len(readings))
	case len(readings) > 0 || c.Provider != "kubelet":
		d.say(Warn, "kubelet", "as it says; meanwhile containers are read from what answers", "%v", err)
	default:
		d.say(Fail, "kubelet", "as it says", "%v", err)
	}
}

// rights asks the API server, verb by verb, whether the agent may do what its
// configuration takes.
func (d *diagnosis) rights(ctx context.Context) {
	k := d.cfg.Collect.Kubernetes
	if k.Enabled == "false" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*answerTime)
	defer cancel()
	err := d.room.Review(ctx, d.needed(), func(r kube.Right, allowed bool, reason string) {
		name := "rights/" + r.String()
		what := r.Feature
		if r.Leader {
			what += ", while this agent leads,"
		}
		if allowed {
			d.pass(name, "allowed; %s needs it", what)
			return
		}
		d.say(Fail, name, "a rule of the agent's role must have "+r.Rule()+"; causeway kubernetes manifest prints it", "forbidden, and %s needs it %s", what, reason)
	})
	switch {
	case errors.Is(err, collect.ErrAbsent) && k.Enabled == "auto":
		d.pass("rights", "no cluster here")
	case err != nil:
		d.say(Fail, "rights", "is the API server's address right, and may it be reached from here?", "%v", err)
	}
}

// needed is every right that the configuration takes.
func (d *diagnosis) needed() []kube.Right {
	p, c := d.cfg.Collect.Prometheus, d.cfg.Collect.Containers
	var t *kube.TargetsConfig
	if p.Enabled != "false" {
		t = &kube.TargetsConfig{Services: p.Services, Monitors: p.Monitors}
	}
	rights := d.room.Rights(t)
	if d.cfg.Agent.Role != "cluster" && c.Enabled != "false" && c.Provider != "cadvisor" {
		sub := []string{"nodes/metrics", "nodes/stats"}
		if !d.cfg.Collect.Kubernetes.Pods {
			sub = append(sub, "nodes/pods")
		}
		if c.Kubelet.AllowProxy {
			sub = append(sub, "nodes/proxy")
		}
		for _, s := range sub {
			rights = append(rights, kube.Right{Verb: "get", Resource: s, Feature: "containers"})
		}
	}
	slices.SortStableFunc(rights, func(x, y kube.Right) int { return strings.Compare(x.Feature, y.Feature) })
	return rights
}
