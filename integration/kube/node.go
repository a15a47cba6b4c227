package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Images of the small programs, which every node has.
const (
	PauseImage    = "registry.local/pause:1"
	WorkloadImage = "registry.local/workload:1" // testdata/workload/main.go says what it can do
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// node starts containerd, kubelet and kube-proxy, and waits until the node is
// Ready.
func (c *Cluster) node(ctx context.Context) error {
	c.saveSysctls()
	if err := c.network(ctx); err != nil {
		return err
	}
	var err error
	if c.mounts, err = newMounts(); err != nil {
		return err
	}
	if err := c.containerd(ctx); err != nil {
		return err
	}
	for _, name := range []string{"pause", "workload"} {
		bin, err := buildSmall(ctx, name, c.Dir)
		if err != nil {
			return err
		}
		if err := c.Import(ctx, Image{Name: "registry.local/" + name + ":1", Entrypoint: []string{"/" + name}, Files: map[string]string{"/" + name: bin}}); err != nil {
			return err
		}
	}
	if err := c.kubelet(); err != nil {
		return err
	}
	if err := c.proxy(); err != nil {
		return err
	}
	return c.Until(ctx, "the node to be Ready", func() error {
		out, err := c.Kubectl(ctx, "", "get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}

// Import makes an image and puts it on the node.
func (c *Cluster) Import(ctx context.Context, img Image) error {
	file := filepath.Join(c.Dir, "image.tar")
	if err := writeImage(file, img); err != nil {
		return err
	}
	defer os.Remove(file)
	_, err := run(ctx, c.Dir, nil, "ctr", "-a", containerdAt, "-n", "k8s.io", "images", "import", file)
	return err
}

// saveSysctls remembers what the kubelet is about to change on its own.
func (c *Cluster) saveSysctls() {
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		file := "/proc/sys/" + name
		if old, err := os.ReadFile(file); err == nil {
			c.undo = append(c.undo, func() { os.WriteFile(file, old, 0o644) })
		}
	}
}

// network makes the bridge of pods and the node's address. The bridge forwards,
// so that pods reach services; nothing else of the machine does.
func (c *Cluster) network(ctx context.Context) error {
	c.undo = append(c.undo, func() {
		exec.Command("ip", "link", "delete", bridge).Run()
		exec.Command("ip", "address", "delete", nodeIP+"/32", "dev", "lo").Run()
	})
	for _, args := range [][]string{
		{"address", "replace", nodeIP + "/32", "dev", "lo"},
		{"link", "add", bridge, "type", "bridge"},
		{"address", "replace", podGateway, "dev", bridge},
		{"link", "set", bridge, "up"},
		// What kube-proxy has no pod for goes to the bridge, where nobody answers.
		{"route", "replace", serviceRange, "dev", bridge},
	} {
		if _, err := run(ctx, c.Dir, nil, "ip", args...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/conf/"+bridge+"/forwarding", []byte("1"), 0o644)
}

// containerd starts it with a configuration of our own.
func (c *Cluster) containerd(ctx context.Context) error {
	cni := filepath.Join(c.Dir, "etc", "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	conflist := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "kube", "plugins": [
 {"type": "bridge", "bridge": %q, "isGateway": false, "hairpinMode": true, "ipam": {"type": "host-local", "dataDir": %q,
  "ranges": [[{"subnet": %q, "gateway": %q}]], "routes": [{"dst": %q}, {"dst": %q}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, bridge, filepath.Join(c.Dir, "cni"), podNetwork, strings.TrimSuffix(podGateway, "/24"), serviceRange, nodeIP+"/32")
	if err := os.WriteFile(filepath.Join(cni, "10-kube.conflist"), []byte(conflist), 0o644); err != nil {
		return err
	}
	dir := filepath.Join(c.Dir, "containerd")
	file := filepath.Join(c.Dir, "etc", "containerd.toml")
	// Without CAP_SYS_RESOURCE a pod's negative oom_score_adj is refused, and the
	// pod with it. crun refuses a hybrid of cgroup v1 and v2; runc does not.
	if err := os.WriteFile(file, fmt.Appendf(nil, `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "%[2]s"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[4]s"
    conf_dir = "%[5]s"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "runc"
        Root = "%[1]s/runc"
        SystemdCgroup = false
`, dir, containerdAt, PauseImage, cniPlugins, cni), 0o644); err != nil {
		return err
	}
	if err := c.startIn(c.mounts.do, "containerd", "containerd", "--config", file); err != nil {
		return err
	}
	return c.Until(ctx, "containerd", func() error {
		_, err := run(ctx, c.Dir, nil, "ctr", "-a", containerdAt, "version")
		return err
	})
}

// podLogs is where a node has the logs of its pods, as everywhere.
const podLogs = "/var/log/pods"

func (c *Cluster) kubelet() error {
	if _, err := os.Stat(podLogs); errors.Is(err, os.ErrNotExist) {
		c.undo = append(c.undo, func() { os.RemoveAll(podLogs) })
	}
	file := filepath.Join(c.Dir, "etc", "kubelet.yaml")
	pki := filepath.Join(c.Dir, "pki")
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
port: 10250
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true, cacheTTL: 1s}, x509: {clientCAFile: %[2]s/ca.crt}}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 1s, cacheUnauthorizedTTL: 1s}}
tlsCertFile: %[2]s/kubelet.crt
tlsPrivateKeyFile: %[2]s/kubelet.key
containerRuntimeEndpoint: unix://%[3]s
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
maxOpenFiles: %[4]d
clusterDomain: cluster.local
volumePluginDir: %[5]s/volume-plugins
podLogsDir: %[6]s
containerLogMaxSize: 64Ki
containerLogMaxFiles: 3
containerLogMonitorInterval: 3s
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%}
nodeStatusUpdateFrequency: 5s
`, nodeIP, pki, containerdAt, min(files.Max, 1<<20), c.Dir, podLogs), 0o644); err != nil {
		return err
	}
	return c.startIn(c.mounts.do, "kubelet", c.bin.Path("kubelet"), "--config="+file, "--kubeconfig="+filepath.Join(c.Dir, "etc", "kubelet.conf"),
		"--root-dir="+filepath.Join(c.Dir, "kubelet"), "--cert-dir="+filepath.Join(c.Dir, "kubelet", "pki"), "--hostname-override="+nodeName, "--node-ip="+nodeIP)
}

func (c *Cluster) proxy() error {
	file := filepath.Join(c.Dir, "etc", "proxy.yaml")
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	// The zeros leave the machine's conntrack settings alone.
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s/etc/proxy.conf}
hostnameOverride: %s
clusterCIDR: %s
mode: iptables
nodePortAddresses: [primary]
iptables: {localhostNodePorts: false, minSyncPeriod: 100ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:%d
metricsBindAddress: 127.0.0.1:%d
`, c.Dir, nodeName, podNetwork, ports[0], ports[1]), 0o644); err != nil {
		return err
	}
	c.undo = append(c.undo, func() {
		exec.Command(c.bin.Path("kube-proxy"), "--cleanup").Run()
		for _, tables := range []string{"iptables", "ip6tables"} { // what it leaves, for a kubelet that may still run
			for _, chain := range []string{"INPUT", "OUTPUT"} {
				exec.Command(tables, "-w", "-D", chain, "-j", "KUBE-FIREWALL").Run()
			}
			exec.Command(tables, "-w", "-F", "KUBE-FIREWALL").Run()
			exec.Command(tables, "-w", "-X", "KUBE-FIREWALL").Run()
		}
	})
	return c.start("kube-proxy", c.bin.Path("kube-proxy"), "--config="+file)
}

// stopNode removes all pods, with their networks and mounts, while there is
// somebody to do it.
func (c *Cluster) stopNode(ctx context.Context) error {
	c.stopNamed("kubelet")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	if c.dead() == "" {
		if _, err := run(ctx, c.Dir, nil, c.bin.Path("kube"), "remove-pods", "unix://"+containerdAt); err != nil {
			errs = append(errs, err)
		}
	}
	c.stopNamed("kube-proxy")
	c.stopNamed("containerd")
	if c.mounts != nil {
		c.mounts.close()
	}
	os.Remove(containerdAt)
	os.Remove(containerdAt + ".ttrpc")
	for _, h := range []string{"/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/*/kubepods"} {
		found, _ := filepath.Glob(h)
		for _, dir := range found {
			removeCgroups(dir)
		}
	}
	links, _ := filepath.Glob("/var/log/containers/*.log") // to logs that are gone
	for _, l := range links {
		if _, err := os.Stat(l); errors.Is(err, os.ErrNotExist) {
			os.Remove(l)
		}
	}
	return errors.Join(errs...)
}

// removeCgroups removes a cgroup and those below it: rmdir from the bottom up.
func removeCgroups(dir string) {
	var all []string
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, p)
		}
		return nil
	})
	for _, d := range slices.Backward(all) {
		syscall.Rmdir(d)
	}
}
