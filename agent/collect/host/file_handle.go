package host

import (
	"bytes"
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// fileHandles gives the open files of the whole machine.
type fileHandles struct {
	path   string
	series [3]signal.Series // allocated, unused, limit: the file's order
}

func newFileHandles(t *tree) *fileHandles {
	return &fileHandles{
		path: t.path("proc/sys/fs/file-nr"),
		series: [3]signal.Series{
			gaugeOf(signal.SystemFileHandlesAllocated, "{file_handle}"),
			gaugeOf(signal.SystemFileHandlesUnused, "{file_handle}"),
			gaugeOf(signal.SystemFileHandlesLimit, "{file_handle}"),
		},
	}
}

func (f *fileHandles) sample(_ context.Context, p *pass) error {
	text, err := p.tree.read(f.path)
	if text == nil {
		return err
	}
	v, err := parseFileNr(text)
	if err != nil {
		return inFile(f.path, err)
	}
	for i, s := range f.series {
		p.gauge(s, float64(v[i]))
	}
	return nil
}

// parseFileNr reads "557	0	2466177".
func parseFileNr(text []byte) (v [3]uint64, err error) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	n, err := parseUints(v[:], line)
	if err == nil && n < len(v) {
		err = errShort
	}
	if err != nil {
		err = atLine(1, line, err)
	}
	return v, err
}
