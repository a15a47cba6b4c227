// Package kube runs a real Kubernetes on one machine, for tests: etcd, the API
// server, controllers and scheduler and, where it may, a node with kubelet,
// containerd and kube-proxy, all as plain processes.
//
// Its own tests call it (build tag kube, `make test-kube`), and nobody else. It
// calls the go command to build what it runs, and the programs of the machine
// that a node takes: containerd, runc, the CNI plugins, ip and iptables.
//
// What always holds:
//
//  1. Kubernetes is built from Go modules and kept in a folder by its version
//     (binaries.go). $CAUSEWAY_KUBE_BIN names a folder that has it already.
//  2. A Cluster lives in a folder of its own, and its processes end with it, by
//     their ids. What a node changes on the machine (a bridge, an address,
//     iptables rules, a few sysctls, cgroups) is undone by Stop.
//  3. What is missing is said before anything is started: Missing returns it as
//     one sentence, with which a test skips.
//  4. Every wait has an end, and says what it waited for.
//
// A node takes root, and /run/containerd/containerd.sock for itself: the
// kubelet's cAdvisor knows no other address. So there is one node at a time on a
// machine; control planes alone may be many.
//
// Not here: clusters of several nodes (fake Node objects do for what is tested),
// DNS, and a way out of the machine for pods.
package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cluster is a running Kubernetes.
type Cluster struct {
	Dir        string // all its files; logs/ has one per process
	Kubeconfig string // of system:masters
	NodeName   string
	NodeIP     string // the kubelet listens there, at 10250; "" without a node
	CA         string // file: signs the API server's certificate, and the kubelet's
	Server     string // https://127.0.0.1:PORT

	bin      Binaries
	pki      *pki
	apiPort  int
	etcdPort int
	undo     []func() // what a node changed on the machine, in order
	mounts   *mounts  // the node's; nil without one

	mu    sync.Mutex // guards procs
	procs []*process
}

// Options say what to start.
type Options struct {
	Node bool      // with a kubelet, on which pods run
	Say  io.Writer // what takes long is said there
}

const (
	nodeName      = "node-1"
	nodeIP        = "10.250.0.1" // on lo: the kubelet refuses a loopback address
	bridge        = "causewaykube0"
	podNetwork    = "10.244.0.0/24"
	podGateway    = "10.244.0.1/24"
	serviceRange  = "10.96.0.0/24"
	serviceIP     = "10.96.0.1"
	containerdAt  = "/run/containerd/containerd.sock"
	cniPlugins    = "/usr/lib/cni" // Debian's place for them
	startPatience = 3 * time.Minute
)

// Start starts a cluster and returns when it is ready: the default service
// account is there and, with a node, that is Ready. The caller stops it.
func Start(ctx context.Context, o Options) (c *Cluster, err error) {
	bin, err := build(ctx, o)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "causeway-kube-")
	if err != nil {
		return nil, err
	}
	c = &Cluster{Dir: dir, NodeName: nodeName, bin: bin, Kubeconfig: filepath.Join(dir, "admin.conf"), CA: filepath.Join(dir, "pki", "ca.crt")}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.Logs(20))
			c.Stop(context.WithoutCancel(ctx))
			c = nil
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for _, d := range []string{"pki", "logs", "etc"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return c, err
		}
	}
	if err := c.controlPlane(ctx); err != nil {
		return c, err
	}
	if o.Node {
		c.NodeIP = nodeIP
		if err := c.node(ctx); err != nil {
			return c, err
		}
	}
	return c, c.Until(ctx, "the default service account", func() error {
		_, err := c.Kubectl(ctx, "", "get", "serviceaccount", "default")
		return err
	})
}

// Stop ends all processes and removes what they left.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	if c.NodeIP != "" {
		errs = append(errs, c.stopNode(ctx))
	}
	c.mu.Lock()
	procs := c.procs
	c.procs = nil
	c.mu.Unlock()
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].stop(10 * time.Second)
	}
	for i := len(c.undo) - 1; i >= 0; i-- {
		c.undo[i]()
	}
	return errors.Join(append(errs, os.RemoveAll(c.Dir))...)
}

// controlPlane starts etcd, the API server, controllers and scheduler.
func (c *Cluster) controlPlane(ctx context.Context) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	c.etcdPort, c.apiPort = ports[0], ports[2]
	c.Server = "https://127.0.0.1:" + strconv.Itoa(c.apiPort)
	if c.pki, err = newPKI(filepath.Join(c.Dir, "pki"), c.Server); err != nil {
		return err
	}
	for file, who := range map[string][2]string{
		"admin.conf": {"admin", "system:masters"}, "etc/controller-manager.conf": {"system:kube-controller-manager", ""},
		"etc/scheduler.conf": {"system:kube-scheduler", ""}, "etc/proxy.conf": {"system:kube-proxy", ""},
		"etc/kubelet.conf": {"system:node:" + nodeName, "system:nodes"},
	} {
		if err := c.pki.kubeconfig(filepath.Join(c.Dir, file), who[0], who[1]); err != nil {
			return err
		}
	}
	pki, etc := filepath.Join(c.Dir, "pki")+"/", filepath.Join(c.Dir, "etc")+"/"
	client, peer := "http://127.0.0.1:"+strconv.Itoa(c.etcdPort), "http://127.0.0.1:"+strconv.Itoa(ports[1])
	// Nothing here outlives the cluster, so etcd need not wait for the disk.
	err = c.start("etcd", c.bin.Path("etcd"), "--name=kube", "--data-dir="+filepath.Join(c.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer,
		"--initial-cluster=kube="+peer)
	if err != nil {
		return err
	}
	err = c.start("kube-apiserver", c.bin.Path("kube-apiserver"), "--etcd-servers="+client,
		"--bind-address=0.0.0.0", "--secure-port="+strconv.Itoa(c.apiPort), "--advertise-address="+nodeIP,
		"--tls-cert-file="+pki+"apiserver.crt", "--tls-private-key-file="+pki+"apiserver.key", "--client-ca-file="+pki+"ca.crt",
		"--kubelet-client-certificate="+pki+"apiserver-kubelet.crt", "--kubelet-client-key="+pki+"apiserver-kubelet.key",
		"--kubelet-certificate-authority="+pki+"ca.crt", "--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--service-cluster-ip-range="+serviceRange, "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pki+"sa.pub", "--service-account-signing-key-file="+pki+"sa.key", "--event-ttl=1h")
	if err != nil {
		return err
	}
	if err := c.Until(ctx, "the API server", c.ready); err != nil {
		return err
	}
	err = c.start("kube-controller-manager", c.bin.Path("kube-controller-manager"), "--kubeconfig="+etc+"controller-manager.conf",
		"--authentication-kubeconfig="+etc+"controller-manager.conf", "--authorization-kubeconfig="+etc+"controller-manager.conf",
		"--secure-port=0", "--leader-elect=false", "--use-service-account-credentials=true",
		"--service-account-private-key-file="+pki+"sa.key", "--root-ca-file="+pki+"ca.crt",
		"--cluster-signing-cert-file="+pki+"ca.crt", "--cluster-signing-key-file="+pki+"ca.key",
		"--flex-volume-plugin-dir="+filepath.Join(c.Dir, "volume-plugins"),
		"--allocate-node-cidrs=true", "--cluster-cidr="+podNetwork, "--node-cidr-mask-size=24", "--service-cluster-ip-range="+serviceRange)
	if err != nil {
		return err
	}
	return c.start("kube-scheduler", c.bin.Path("kube-scheduler"), "--kubeconfig="+etc+"scheduler.conf",
		"--authentication-kubeconfig="+etc+"scheduler.conf", "--authorization-kubeconfig="+etc+"scheduler.conf", "--secure-port=0", "--leader-elect=false")
}

// ready asks the API server whether it is.
func (c *Cluster) ready() error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.pki.trust()}, Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(c.Server + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// Kubectl runs kubectl with stdin for its input, as system:masters.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.bin.Path("kubectl"), append([]string{
		"--kubeconfig=" + c.Kubeconfig, "--cache-dir=" + filepath.Join(c.Dir, "kubectl-cache"),
	}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out.String(), nil
}

// Until calls done until it returns nil, or ctx ends, or one of the cluster's
// processes has.
func (c *Cluster) Until(ctx context.Context, what string, done func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		if dead := c.dead(); dead != "" {
			return fmt.Errorf("wait for %s: %s has ended: %w", what, dead, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// process is one of the cluster's.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a program of the cluster's; its output goes into logs.
func (c *Cluster) start(name, program string, args ...string) error {
	return c.startIn(func(f func() error) error { return f() }, name, program, args...)
}

// startIn is start where within calls what it is given, such as mounts.do.
func (c *Cluster) startIn(within func(func() error) error, name, program string, args ...string) error {
	log, err := os.Create(filepath.Join(c.Dir, "logs", name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{name: name, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = c.Dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt at the terminal is ours to pass on, in order
	if err := within(p.cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs = append(c.procs, p)
	return nil
}

// stop ends p, by force if it outlives patience.
func (p *process) stop(patience time.Duration) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// stopNamed ends one process.
func (c *Cluster) stopNamed(name string) {
	c.mu.Lock()
	var found *process
	for i, p := range c.procs {
		if p.name == name {
			found = p
			c.procs = append(c.procs[:i:i], c.procs[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	if found != nil {
		found.stop(20 * time.Second)
	}
}

// dead returns the name of a process that has ended, "" if none has.
func (c *Cluster) dead() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.procs {
		select {
		case <-p.done:
			return p.name
		default:
		}
	}
	return ""
}

// Logs returns the last lines of each process's log.
func (c *Cluster) Logs(lines int) string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(c.Dir, "logs", "*.log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(f), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return b.String()
}

// freePorts returns ports of 127.0.0.1 that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
