package container

import (
	"strings"
	"testing"
)

const (
	idA    = "3f9a5c1d2e4b6a798897a6b5c4d3e2f10f1e2d3c4b5a69788796a5b4c3d2e1f0"
	uidA   = "6f0c2a3b-1d2e-4f50-8a61-9b8c7d6e5f40"
	static = "0123456789abcdef0123456789abcdef"
)

var underscored = strings.ReplaceAll(uidA, "-", "_")

func TestIdentifyKnowsEveryRuntimesPaths(t *testing.T) {
	f := func(path, runtime, pod string) {
		t.Helper()
		id, ok := Identify(path)
		if want := (Identity{Container: idA, Runtime: runtime, Pod: pod}); !ok || id != want {
			t.Errorf("Identify(%q) = %+v, %v; want %+v", path, id, ok, want)
		}
	}
	// Kubernetes, cgroupfs driver: guaranteed, burstable, best effort; a static pod; kind's nesting.
	f("/kubepods/pod"+uidA+"/"+idA, "", uidA)
	f("/kubepods/burstable/pod"+uidA+"/"+idA, "", uidA)
	f("/kubepods/besteffort/pod"+static+"/"+idA, "", static)
	f("/kubelet/kubepods/burstable/pod"+uidA+"/"+idA, "", uidA)
	f("/kubepods/burstable/pod"+uidA+"/crio-"+idA, "cri-o", uidA)

	// Kubernetes, systemd driver.
	slice := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + underscored + ".slice/"
	f(slice+"cri-containerd-"+idA+".scope", "containerd", uidA)
	f(slice+"docker-"+idA+".scope", "docker", uidA)
	f(slice+"crio-"+idA+".scope", "cri-o", uidA)
	f("/kubepods.slice/kubepods-pod"+underscored+".slice/cri-containerd-"+idA+".scope", "containerd", uidA)
	f("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod"+underscored+".slice/crio-"+idA+".scope", "cri-o", uidA)

	// A systemd-style name given to the cgroupfs driver.
	f("/kubepods-burstable-pod"+underscored+".slice:cri-containerd:"+idA, "containerd", uidA)
	f("/system.slice:docker:"+idA, "docker", "")

	// Without Kubernetes.
	f("/docker/"+idA, "docker", "")
	f("/system.slice/docker-"+idA+".scope", "docker", "")
	f("/machine.slice/libpod-"+idA+".scope", "podman", "")
	f("/libpod_parent/libpod-"+idA, "podman", "")
	f("/libpod_parent/"+idA, "podman", "")
	f("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"+idA+".scope", "podman", "")
	f("/default/"+idA, "containerd", "")
	f("/k8s.io/"+idA, "containerd", "")
	f("/system.slice/nerdctl-"+idA+".scope", "containerd", "")
	f("/ecs/4d3c2b1a/"+idA, "", "")
	f("/docker/"+strings.Repeat("a", 64)+"/docker/"+idA, "docker", "") // Docker in Docker: the inner one
}

func TestIdentifyRefusesWhatIsNoContainersOwn(t *testing.T) {
	f := func(path, pod string) {
		t.Helper()
		if id, ok := Identify(path); ok || id != (Identity{Pod: pod}) {
			t.Errorf("Identify(%q) = %+v, %v; want pod %q and no container", path, id, ok, pod)
		}
	}
	f("", "")
	f("/", "")
	f("/system.slice/ssh.service", "")
	f("/kubepods/burstable", "")
	f("/kubepods/burstable/pod"+uidA, uidA) // the pod's own cgroup
	f("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"+underscored+".slice", uidA)
	f("/kubepods/pod"+uidA+"/crio-conmon-"+idA, uidA)
	f("/machine.slice/libpod-conmon-"+idA+".scope", "")
	f("/machine.slice/libpod-"+idA+".scope/container", "") // inside a container
	f("/docker/"+idA+"/init.scope", "")
	f("/docker/"+idA[1:], "")
	f("/docker/"+strings.ToUpper(idA), "")
	f("/system.slice/var-lib-docker-overlay2-"+idA+"-merged.mount", "")
	f("/kubepods/podium", "")
	f("/kubepods/pod6f0c2a3b_1d2e_4f50_8a61_9b8c7d6e5f40", "") // underscores belong to systemd
	f("/kubepods/pod"+uidA[:35]+"x", "")
	f("/tripod"+uidA, "")
}

func FuzzIdentify(f *testing.F) {
	for _, seed := range []string{
		"/kubepods/burstable/pod" + uidA + "/" + idA,
		"/kubepods.slice/kubepods-pod" + underscored + ".slice/cri-containerd-" + idA + ".scope",
		"/kubepods-burstable-pod" + underscored + ".slice:cri-containerd:" + idA,
		"/machine.slice/libpod-" + idA + ".scope/container",
		"/docker/" + idA, "//pod//", ":-:.scope",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id, ok := Identify(path)
		if ok != (id.Container != "") || ok && !isContainerID(id.Container) {
			t.Errorf("Identify(%q) = %+v, %v: not a container's id", path, id, ok)
		}
		if n := len(id.Pod); n != 0 && n != 32 && n != 36 {
			t.Errorf("Identify(%q): pod %q", path, id.Pod)
		}
		// Nesting the whole hierarchy, as kind does, changes nothing but what a
		// lone first element says of its runtime.
		nested, nestedOK := Identify("/nested.slice/x/" + path)
		if nestedOK != ok || nested != id {
			t.Errorf("Identify(%q) = %+v, nested %+v", path, id, nested)
		}
	})
}
