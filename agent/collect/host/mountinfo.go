package host

import (
	"bytes"
	"errors"
)

// mountinfo is one line of /proc/PID/mountinfo.
type mountinfo struct {
	major, minor uint64
	root         string // what of the filesystem is mounted; / unless it is a bind mount or a subvolume
	point        string
	readOnly     bool
	fstype       string
	source       string
}

// parseMountinfo reads one line, as proc(5) describes it:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// Strings are as the kernel has them, not yet fit for labels.
func parseMountinfo(line []byte) (m mountinfo, err error) {
	_, rest := cutField(line)
	_, rest = cutField(rest)
	device, rest := cutField(rest)
	root, rest := cutField(rest)
	point, rest := cutField(rest)
	options, rest := cutField(rest)
	for { // optional fields, none or many, up to a lone dash
		var f []byte
		f, rest = cutField(rest)
		if len(f) == 0 {
			return m, errShort
		}
		if string(f) == "-" {
			break
		}
	}
	fstype, rest := cutField(rest)
	source, rest := cutField(rest)
	super, _ := cutField(rest)
	if len(super) == 0 && len(source) == 0 {
		return m, errShort
	}
	if len(super) == 0 { // a filesystem may have no source, which leaves two blanks
		source, super = nil, source
	}
	major, minor, ok := bytes.Cut(device, []byte{':'})
	if !ok {
		return m, errors.New("no device number as third field")
	}
	if m.major, err = parseUint(major); err != nil {
		return m, err
	}
	if m.minor, err = parseUint(minor); err != nil {
		return m, err
	}
	m.root, m.point = unescape(root), unescape(point)
	if m.point == "" || m.point[0] != '/' {
		return m, errors.New("no path as fifth field")
	}
	m.fstype, m.source = unescape(fstype), unescape(source)
	m.readOnly = hasOption(options, "ro") || hasOption(super, "ro")
	return m, nil
}

// unescape undoes the kernel's \040 for blank, tab, newline, backslash and hash.
func unescape(p []byte) string {
	if bytes.IndexByte(p, '\\') < 0 {
		return string(p)
	}
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+3 < len(p) && octal(p[i+1]) && octal(p[i+2]) && octal(p[i+3]) && p[i+1] < '4' {
			out = append(out, (p[i+1]-'0')<<6|(p[i+2]-'0')<<3|(p[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, p[i])
	}
	return string(out)
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// hasOption reports whether option stands in a list separated by commas.
func hasOption(list []byte, option string) bool {
	for len(list) > 0 {
		var o []byte
		o, list, _ = bytes.Cut(list, []byte{','})
		if string(o) == option {
			return true
		}
	}
	return false
}
