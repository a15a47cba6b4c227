package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// ID says which machine this is. Fields that cannot be known are empty.
type ID struct {
	Host          string // its name
	HostID        string // machine-id: 32 hexadecimal digits, its own for as long as it is installed
	OSType        string // linux
	OSName        string // Debian GNU/Linux
	OSVersion     string // 12
	OSDescription string // Debian GNU/Linux 12 (bookworm)
	Kernel        string // 6.1.0-18-amd64
	Arch          string // amd64, arm64
}

// Labels returns the flat label set of everything but the host's name and id.
func (id ID) Labels() string {
	return signal.Labels(
		signal.LabelOSType, id.OSType,
		signal.LabelOSName, id.OSName,
		signal.LabelOSVersion, id.OSVersion,
		signal.LabelOSDescription, id.OSDescription,
		signal.LabelKernel, id.Kernel,
		signal.LabelArch, id.Arch,
	)
}

// Identity reads which machine lies below root. What it could read it returns
// also beside an error; what the machine does not have is no error.
func Identity(root string) (ID, error) {
	id := ID{OSType: "linux", Arch: runtime.GOARCH}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return id, fmt.Errorf("identify the host: %w", err)
	}
	defer dir.Close()
	var errs []error
	// first returns the first of the files that exists.
	first := func(names ...string) string {
		for _, name := range names {
			text, err := readSmall(dir, name)
			if err == nil {
				return text
			}
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("identify the host: %w", err))
			}
		}
		return ""
	}
	word := func(names ...string) string { return printable(bytes.TrimSpace([]byte(first(names...)))) }

	// The name in proc is that of the reader's own UTS namespace: the host's
	// only for an agent that stands in the host's tree.
	if filepath.Clean(root) == "/" {
		id.Host = word("proc/sys/kernel/hostname", "etc/hostname")
	} else {
		id.Host = word("etc/hostname", "proc/sys/kernel/hostname")
	}
	id.HostID = word("etc/machine-id", "var/lib/dbus/machine-id")
	id.Kernel = word("proc/sys/kernel/osrelease")
	release := parseOSRelease(first("etc/os-release", "usr/lib/os-release"))
	id.OSName = release["NAME"]
	id.OSVersion = release["VERSION_ID"]
	id.OSDescription = release["PRETTY_NAME"]
	return id, errors.Join(errs...)
}

// readSmall reads at most 64 KiB of a file below dir. A symbolic link that
// leaves dir, as an absolute one does, is a file that does not exist: followed,
// it would show the agent's own container.
func readSmall(dir *os.Root, name string) (string, error) {
	f, err := dir.Open(name)
	if err != nil {
		if link, e := dir.Lstat(name); e == nil && link.Mode()&fs.ModeSymlink != 0 {
			return "", fs.ErrNotExist
		}
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(text), err
}

// parseOSRelease reads the assignments of os-release(5): shell words, quoted or
// not. Lines that are none are passed over, as that page demands.
func parseOSRelease(text string) map[string]string {
	values := map[string]string{}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		key, value, ok := strings.Cut(strings.TrimSpace(sc.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		switch {
		case len(value) >= 2 && value[0] == '"':
			if s, err := strconv.Unquote(value); err == nil {
				value = s
			} else {
				value = strings.Trim(value, `"`)
			}
		case len(value) >= 2 && value[0] == '\'':
			value = strings.Trim(value, "'")
		}
		values[key] = printable([]byte(value))
	}
	return values
}

// info gives the identity as a gauge that is always 1, for vendors that join on
// labels. It is read until it was read well once: a kernel does not change
// under its agent.
type info struct {
	root   string
	series signal.Series
}

func newInfo(root string) *info { return &info{root: root} }

func (f *info) sample(_ context.Context, p *pass) error {
	var err error
	if !f.series.Valid() {
		var id ID
		id, err = Identity(f.root)
		series := signal.Intern(signal.Desc{Name: signal.SystemInfo, Unit: "1", Type: signal.Gauge, Labels: id.Labels()})
		if err == nil {
			f.series = series
		}
		p.gauge(series, 1)
		return err
	}
	p.gauge(f.series, 1)
	return nil
}
