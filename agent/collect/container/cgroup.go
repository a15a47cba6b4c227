package container

import "strings"

// Identity is what the path of a cgroup tells about the container in it.
type Identity struct {
	Container string // the runtime's id: 64 lower-case hexadecimal digits
	Runtime   string // "containerd", "cri-o", "docker" or "podman"; "" where the path does not say
	Pod       string // UID of its Kubernetes pod as the API writes it; "" outside of pods
}

// Identify reads the path of a cgroup below its hierarchy's root. ok reports
// whether that cgroup is one container's own: not a pod's, a slice's, a
// monitor's (conmon), nor one that a container made inside its own. Pod is
// filled for a pod's cgroup, too.
//
// The shapes, of both cgroup drivers:
//
//	/kubepods/burstable/pod6f0c…/3f9a…                                             cgroupfs
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f0c_….slice/cri-containerd-3f9a….scope
//	…/crio-3f9a…[.scope]      …/docker-3f9a….scope      …/libpod-3f9a….scope       and nerdctl-
//	/docker/3f9a…   /libpod_parent/libpod-3f9a…   /default/3f9a…   /k8s.io/3f9a…
//	/system.slice:cri-containerd:3f9a…         a systemd-style name given to the cgroupfs driver
func Identify(path string) (id Identity, ok bool) {
	parent, last := "", ""
	for rest := path; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		if elem == "" {
			continue
		}
		parent, last = last, elem
		if uid := podUID(elem); uid != "" {
			id.Pod = uid
		}
	}
	name := strings.TrimSuffix(last, ".scope")
	prefix := ""
	if i := strings.LastIndexAny(name, "-:"); i >= 0 {
		prefix, name = name[:i], name[i+1:]
	}
	if !isContainerID(name) {
		return id, false
	}
	if i := strings.LastIndexByte(prefix, ':'); i >= 0 {
		prefix = prefix[i+1:] // slice:prefix:id
	}
	switch prefix {
	case "cri-containerd", "nerdctl":
		id.Runtime = "containerd"
	case "crio":
		id.Runtime = "cri-o"
	case "docker":
		id.Runtime = "docker"
	case "libpod":
		id.Runtime = "podman"
	case "":
		id.Runtime = runtimeOfParent(parent)
	default:
		return id, false // crio-conmon, libpod-conmon, and whatever else borrows a container's id
	}
	id.Container = name
	return id, true
}

// runtimeOfParent tells the runtime of a container whose own cgroup bears
// nothing but its id. Below a pod any runtime may have made it.
func runtimeOfParent(parent string) string {
	switch parent {
	case "docker":
		return "docker"
	case "libpod_parent":
		return "podman"
	case "default", "k8s.io", "moby": // namespaces of containerd, which runc is given as parents
		return "containerd"
	}
	return ""
}

// podUID returns the UID in one element of a path, "" if it has none:
// "pod<uid>" from the cgroupfs driver, "kubepods[-besteffort]-pod<uid>.slice"
// with underscores from systemd's, and the latter before a colon. A static
// pod's UID is a hash without dashes.
func podUID(elem string) string {
	elem, _, _ = strings.Cut(elem, ":")
	slice, fromSystemd := strings.CutSuffix(elem, ".slice")
	i := strings.LastIndex(slice, "pod")
	if i < 0 || i > 0 && slice[i-1] != '-' {
		return ""
	}
	uid := slice[i+len("pod"):]
	if fromSystemd {
		uid = strings.ReplaceAll(uid, "_", "-")
	}
	switch len(uid) {
	case 32:
		if isHex(uid) {
			return uid
		}
	case 36:
		for i := range len(uid) {
			if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (uid[i] == '-') || !dash && !isHex(uid[i:i+1]) {
				return ""
			}
		}
		return uid
	}
	return ""
}

func isContainerID(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// SplitImage takes a reference to an image apart: registry/name:tag@digest,
// where each but the name may be missing, or nothing but a digest.
func SplitImage(ref string) (name, tag, digest string) {
	if strings.HasPrefix(ref, "sha256:") {
		return "", "", ref
	}
	name, digest, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') { // else it is the registry's port
		name, tag = name[:i], name[i+1:]
	}
	return name, tag, digest
}
