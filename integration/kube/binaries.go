package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Version is the Kubernetes that is run.
const Version = "v1.37.2"

// programs are those that one binary is, by the name it is called by.
var programs = [...]string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// sources are the programs built here, each a main.go.
//
//go:embed testdata/kube/main.go testdata/pause/main.go testdata/workload/main.go
var sources embed.FS

// Binaries is what a cluster is made of.
type Binaries struct{ dir string }

// Path returns the path of one program.
func (b Binaries) Path(program string) string { return filepath.Join(b.dir, program) }

// Missing returns why what o asks for cannot be started on this machine, "" if
// it can.
func Missing(o Options) string {
	if !o.Node {
		return ""
	}
	if os.Geteuid() != 0 {
		return "a node takes root; run the tests of integration/kube as root, or only those of the control plane"
	}
	for _, p := range []string{"containerd", "runc", "ip", "iptables", filepath.Join(cniPlugins, "bridge")} {
		if _, err := exec.LookPath(p); err != nil {
			return "a node takes " + p + " (Debian: containerd runc containernetworking-plugins iptables iproute2)"
		}
	}
	if exec.Command("ctr", "-a", containerdAt, "version").Run() == nil {
		return "another containerd serves " + containerdAt + ", where the kubelet's cAdvisor looks for ours"
	}
	return ""
}

// build returns the binaries, building what is not there yet. Kubernetes takes
// ten minutes of two cores the first time.
func build(ctx context.Context, o Options) (Binaries, error) {
	if dir := os.Getenv("CAUSEWAY_KUBE_BIN"); dir != "" {
		for _, p := range programs {
			if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
				return Binaries{}, fmt.Errorf("CAUSEWAY_KUBE_BIN: %w", err)
			}
		}
		return Binaries{dir}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{filepath.Join(cache, "causeway", "kube-"+Version)}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return b, err
	}
	unlock, err := lock(filepath.Join(b.dir, "lock"))
	if err != nil {
		return b, err
	}
	defer unlock()
	main, err := sources.ReadFile("testdata/kube/main.go")
	if err != nil {
		return b, err
	}
	stamp := fmt.Sprintf("%s %x\n", Version, sha256.Sum256(main))
	if have, _ := os.ReadFile(b.Path("built")); string(have) == stamp {
		return b, nil
	}
	if o.Say != nil {
		fmt.Fprintf(o.Say, "building Kubernetes %s into %s; that takes ten minutes, once\n", Version, b.dir)
	}
	if err := b.buildKubernetes(ctx, main); err != nil {
		return b, err
	}
	for _, p := range programs {
		os.Remove(b.Path(p))
		if err := os.Symlink("kube", b.Path(p)); err != nil {
			return b, err
		}
	}
	return b, os.WriteFile(b.Path("built"), []byte(stamp), 0o644)
}

// lock waits for a lock on file, so that two tests do not build at once.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}

// staged matches a replacement in Kubernetes' own go.mod: its published parts
// lie in its repository, and are modules of their own.
var staged = regexp.MustCompile(`=> \./staging/src/(k8s\.io/[a-z0-9-]+)`)

// buildKubernetes builds the one binary in a module of its own: that of
// Kubernetes with another name, k8s.io/kubernetes required, and its parts
// replaced by those published with it, v0.X.Y for v1.X.Y. Its go.sum comes
// along, so every other module is the one that Kubernetes is released with.
func (b Binaries) buildKubernetes(ctx context.Context, main []byte) error {
	out, err := run(ctx, os.TempDir(), nil, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+Version)
	if err != nil {
		return err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("download Kubernetes: %w", err)
	}
	mod, err := os.ReadFile(filepath.Join(module.Dir, "go.mod"))
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(module.Dir, "go.sum"))
	if err != nil {
		return err
	}
	part := "v0." + strings.TrimPrefix(Version, "v1.")
	mod = bytes.Replace(mod, []byte("module k8s.io/kubernetes"), []byte("module kube"), 1)
	mod = staged.ReplaceAll(mod, []byte("=> $1 "+part))
	mod = fmt.Appendf(mod, "\nrequire k8s.io/kubernetes %s\n", Version)
	dir := filepath.Join(b.dir, "build")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"go.mod": mod, "go.sum": sum, "main.go": main} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	minor, _, _ := strings.Cut(strings.TrimPrefix(Version, "v1."), ".")
	ld := "-s -w"
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} { // without, feature gates misbehave
		ld += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=%[3]s -X %[1]s.gitTreeState=clean", pkg, Version, minor)
	}
	if _, err := run(ctx, dir, goEnv(), "go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", ld, "-o", "../kube.new", "."); err != nil {
		return err
	}
	return os.Rename(b.Path("kube.new"), b.Path("kube"))
}

// buildSmall builds one of the small programs of testdata, of the standard
// library alone, into dir.
func buildSmall(ctx context.Context, name, dir string) (string, error) {
	text, err := sources.ReadFile("testdata/" + name + "/main.go")
	if err != nil {
		return "", err
	}
	src := filepath.Join(dir, "src-"+name)
	if err := os.MkdirAll(src, 0o755); err != nil {
		return "", err
	}
	for file, content := range map[string][]byte{"main.go": text, "go.mod": []byte("module " + name + "\n\ngo 1.24\n")} {
		if err := os.WriteFile(filepath.Join(src, file), content, 0o644); err != nil {
			return "", err
		}
	}
	bin := filepath.Join(dir, name)
	_, err = run(ctx, src, goEnv(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin, ".")
	return bin, err
}

// BuildAgent builds the agent of the project at root, static as an image takes it.
func BuildAgent(ctx context.Context, root, out string) error {
	_, err := run(ctx, root, goEnv(), "go", "build", "-trimpath", "-buildvcs=false", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", out, "./agent/cmd/causeway")
	return err
}

func goEnv() []string { return []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="} }

// run runs a command to its end and returns what it wrote.
func run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.Writer(&said)
	if err := cmd.Run(); err != nil {
		text := said.Bytes()
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text[max(0, len(text)-2000):])
	}
	return out.Bytes(), nil
}
