package container

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// KubeletConfig is the section collect.containers.kubelet of agent.yaml.
type KubeletConfig struct {
	// Where the kubelet listens, https://HOST:10250. Empty: $NODE_IP or $HOST_IP, which the
	// manifests set from status.hostIP, else the node's name.
	URL string `yaml:"url"`

	// The certificates that the kubelet's own must be signed by. Empty: the cluster's, as every
	// pod has it. On GKE and EKS the kubelet's certificate is mostly signed by another.
	CAFile string `yaml:"ca_file"`

	// Talk to whoever answers, without looking at the certificate. Whoever can take over the
	// node's address then gets the agent's token.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`

	// The token to show, read anew for each call, since it rotates. Empty: the pod's service account's.
	TokenFile string `yaml:"token_file"`

	// Go through the API server where the kubelet itself cannot be reached. That takes get on
	// nodes/proxy, with which one may run commands in every pod of the node.
	AllowProxy bool `yaml:"allow_proxy"`
}

// check returns all complaints about c, each beginning with its key.
func (c KubeletConfig) check() []error {
	var errs []error
	if c.URL != "" {
		switch u, err := url.Parse(c.URL); {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			errs = append(errs, fmt.Errorf("kubelet.url: %q is not like https://10.0.0.1:10250", c.URL))
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			errs = append(errs, fmt.Errorf("kubelet.url: %q would send the token in plain text; use https", c.URL))
		}
	}
	if c.InsecureSkipVerify && c.CAFile != "" {
		errs = append(errs, errors.New("kubelet.insecure_skip_verify: makes ca_file useless; leave one of them out"))
	}
	return errs
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serviceAccount is where Kubernetes puts a pod's own credentials.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// The most that is read of one answer. A page of cAdvisor's is 5 MB for 110
// pods; a kubelet has rarely more than 250.
const mostBody = 256 << 20

// kubeletClient asks one kubelet.
type kubeletClient struct {
	conf KubeletConfig
	node string
	env  func(string) string
	log  *slog.Logger

	mu    sync.Mutex   // guards what is below
	http  *http.Client // nil until the first call, and after the certificates turned out not to fit
	base  string       // https://HOST:PORT, or the API server's proxy
	proxy bool         // base is that
}

func newKubeletClient(c KubeletConfig, node string, env func(string) string, log *slog.Logger) *kubeletClient {
	return &kubeletClient{conf: c, node: node, env: env, log: log}
}

// address returns where the kubelet listens, "" if nothing says it.
func (c *kubeletClient) address() string {
	if c.conf.URL != "" {
		return strings.TrimSuffix(c.conf.URL, "/")
	}
	host := cmp.Or(c.env("NODE_IP"), c.env("HOST_IP"), c.env("NODE_NAME"))
	if host == "" && c.env("KUBERNETES_SERVICE_HOST") != "" {
		host = c.node
	}
	if host == "" {
		return ""
	}
	return "https://" + net.JoinHostPort(strings.Trim(host, "[]"), "10250")
}

// from says where the kubelet is asked.
func (c *kubeletClient) from() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proxy {
		return c.base
	}
	return c.address()
}

// open returns the client to use, making it at first.
func (c *kubeletClient) open() (*http.Client, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		return c.http, c.base, nil
	}
	base := c.address()
	if base == "" {
		return nil, "", fmt.Errorf("no kubelet: not in a cluster; set containers.kubelet.url, or NODE_IP from status.hostIP: %w", collect.ErrAbsent)
	}
	conf := &tls.Config{InsecureSkipVerify: c.conf.InsecureSkipVerify} //nolint:gosec // the user's explicit choice, warned about below
	switch {
	case c.conf.InsecureSkipVerify:
		c.log.Warn("the kubelet's certificate is not verified: whoever takes over its address gets the agent's token", "kubelet", base)
	case strings.HasPrefix(base, "https:"):
		roots, err := readRoots(c.conf.CAFile)
		if err != nil {
			return nil, "", err
		}
		conf.RootCAs = roots
	}
	c.use(base, conf)
	return c.http, c.base, nil
}

// use makes a client for base. The kubelet's answers are not compressed: they
// do not leave the machine, and packing them costs more than all the rest.
func (c *kubeletClient) use(base string, conf *tls.Config) {
	c.base = base
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: conf, DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute,
		TLSHandshakeTimeout: 5 * time.Second, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
}

// readRoots reads the certificates to trust: those in file, or the cluster's;
// nil stands for the system's, where there is no such file.
func readRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(cmp.Or(file, serviceAccount+"ca.crt"))
	if err != nil {
		if file == "" && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("read containers.kubelet.ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", cmp.Or(file, serviceAccount+"ca.crt"))
	}
	return roots, nil
}

// throughProxy turns to the API server's way to the kubelet. It returns false
// where there is none, or it is not allowed, or already taken.
func (c *kubeletClient) throughProxy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	host := c.env("KUBERNETES_SERVICE_HOST")
	if !c.conf.AllowProxy || c.proxy || host == "" || c.node == "" {
		return false
	}
	roots, err := readRoots("")
	if err != nil {
		return false
	}
	c.proxy = true
	c.use("https://"+net.JoinHostPort(host, cmp.Or(c.env("KUBERNETES_SERVICE_PORT"), "443"))+
		"/api/v1/nodes/"+url.PathEscape(c.node)+"/proxy", &tls.Config{RootCAs: roots})
	c.log.Warn("the kubelet is asked through the API server, which takes the right to run commands in every pod", "rule", "get nodes/proxy")
	return true
}

// forget makes the next call read the certificates anew.
func (c *kubeletClient) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	c.http, c.proxy = nil, false
}

// errNoKubelet marks an error of the connection: no other path will fare better.
var errNoKubelet = errors.New("the kubelet does not answer")

// refused is the answer of a kubelet that will not say.
type refused struct {
	status int
	text   string
}

func (e *refused) Error() string { return e.text }

// get asks for path and hands the answer to read. rule is the resource that the
// service account needs get on.
func (c *kubeletClient) get(ctx context.Context, path, rule string, read func(io.Reader) error) error {
	err := c.try(ctx, path, rule, read)
	if errors.Is(err, errNoKubelet) && ctx.Err() == nil && c.throughProxy() {
		err = c.try(ctx, path, rule, read)
	}
	return err
}

func (c *kubeletClient) try(ctx context.Context, path, rule string, read func(io.Reader) error) error {
	client, base, err := c.open()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return fmt.Errorf("ask the kubelet for %s: %w", path, err)
	}
	file := cmp.Or(c.conf.TokenFile, serviceAccount+"token")
	token, err := os.ReadFile(file)
	switch {
	case err == nil:
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	case c.conf.TokenFile == "" && errors.Is(err, fs.ErrNotExist): // a kubelet that asks for none, in a test or on a laptop
	default:
		return fmt.Errorf("read containers.kubelet.token_file: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return c.explain(base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return c.refusal(resp.StatusCode, base, path, rule, file, strings.TrimSpace(string(said)))
	}
	if err := read(io.LimitReader(resp.Body, mostBody)); err != nil {
		return fmt.Errorf("read the kubelet's %s: %w", path, err)
	}
	return nil
}

// explain says what to do about a connection that did not come about.
func (c *kubeletClient) explain(base string, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var bad *tls.CertificateVerificationError
	remedy := "is it reachable from here, and port 10250 open to pods (NetworkPolicy, firewall)?"
	switch {
	case errors.As(err, &unknown):
		remedy = "its certificate is signed by another than " + cmp.Or(c.conf.CAFile, serviceAccount+"ca.crt") +
			": set containers.kubelet.ca_file to the one that signed it, or insecure_skip_verify: true, which trusts whoever answers"
	case errors.As(err, &name):
		remedy = "its certificate is for another name: set containers.kubelet.url to one that it has"
	case errors.As(err, &bad):
		remedy = "its certificate is not valid"
	}
	if remedy[:2] != "is" {
		c.forget() // perhaps the file is a new one by the next call
	}
	return fmt.Errorf("%w at %s: %w; %s", errNoKubelet, base, err, remedy)
}

// refusal says which right is missing.
func (c *kubeletClient) refusal(status int, base, path, rule, file, said string) error {
	c.mu.Lock()
	if c.proxy {
		rule = "nodes/proxy"
	}
	c.mu.Unlock()
	text := fmt.Sprintf("the kubelet at %s answers %d to %s: %s", base, status, path, said)
	switch status {
	case http.StatusUnauthorized:
		text = fmt.Sprintf("the kubelet at %s does not know the token in %s (401): it must be a service account's of this cluster, and the kubelet must "+
			"allow webhook authentication", base, file)
	case http.StatusForbidden:
		text = fmt.Sprintf("the kubelet refuses %s (403): the agent's ClusterRole lacks "+
			"{apiGroups: [\"\"], resources: [%s], verbs: [get]}", path, rule)
		if rule == "nodes/pods" {
			text += " (a kubelet before 1.33 asks for nodes/proxy instead, which we do not; there, and on Autopilot, let the API server tell about pods)"
		}
	}
	return &refused{status, text}
}
