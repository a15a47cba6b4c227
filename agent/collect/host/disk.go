package host

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// sector is the unit of /proc/diskstats and of /sys/block/*/size, whatever the
// sectors of the disk (Documentation/admin-guide/iostats.rst).
const sector = 512

// diskstat is one line of /proc/diskstats. Times are milliseconds.
type diskstat struct {
	name []byte // within the text
	v    [11]uint64
}

// Columns of diskstat.v.
const (
	diskReads = iota
	diskReadsMerged
	diskReadSectors
	diskReadTime
	diskWrites
	diskWritesMerged
	diskWriteSectors
	diskWriteTime
	diskPending
	diskIOTime
	diskWeightedTime
)

// parseDiskstat reads one line: major, minor, name, and eleven or more columns.
func parseDiskstat(line []byte) (d diskstat, err error) {
	_, rest := cutField(line)
	_, rest = cutField(rest)
	d.name, rest = cutField(rest)
	n, err := parseUints(d.v[:], rest)
	if err == nil && n < len(d.v) {
		err = errShort
	}
	return d, err
}

// disks gives the traffic of block devices.
type disks struct {
	exclude    []string
	partitions bool
	path, sys  string
	cache      cache[disk]
	seen       []*disk // in this pass, in the file's order
}

// disk is what is known of one device; without series if it is left out.
type disk struct {
	wanted                          bool
	sizePath                        string
	bytes, operations, time, merged [2]signal.Series // read, write
	ioTime, weighted, pending, size signal.Series
}

func newDisks(c Disks, t *tree) *disks {
	return &disks{exclude: c.Exclude, partitions: c.Partitions, path: t.path("proc/diskstats"), sys: t.path("sys")}
}

func (d *disks) sample(_ context.Context, p *pass) error {
	text, err := p.tree.read(d.path)
	if text == nil {
		return err
	}
	var bad faults
	d.seen = d.seen[:0]
	for n, line := range lines(text) {
		st, err := parseDiskstat(line)
		if err != nil {
			bad.add(atLine(n, line, err))
			continue
		}
		if disk := d.cache.get(st.name, d.learn); disk.wanted {
			disk.append(p, &st.v)
			d.seen = append(d.seen, disk)
		}
	}
	d.cache.sweep()
	return errors.Join(inFile(d.path, bad.join()), d.sizes(p))
}

// sizes appends the size of each disk seen, after the rest is done, because it
// reads other files into the same buffer.
func (d *disks) sizes(p *pass) error {
	var bad faults
	for _, disk := range d.seen {
		v, ok, err := p.tree.readUint(disk.sizePath)
		if err != nil {
			bad.add(err)
		}
		if ok {
			p.gauge(disk.size, float64(v)*sector)
		}
	}
	return bad.join()
}

// learn decides about a device and makes its series.
func (d *disks) learn(name string) disk {
	dir := d.sys + "/class/block/" + strings.ReplaceAll(name, "/", "!") // as /sys writes cciss/c0d0
	if matchAny(d.exclude, name) {
		return disk{}
	}
	if !d.partitions {
		if _, err := os.Lstat(dir + "/partition"); err == nil {
			return disk{}
		}
	}
	both := func(metric, unit string) (s [2]signal.Series) {
		for i, direction := range [2]string{"read", "write"} {
			s[i] = counterOf(metric, unit, signal.LabelDevice, name, signal.LabelDiskDirection, direction)
		}
		return s
	}
	return disk{
		wanted:     true,
		sizePath:   dir + "/size",
		bytes:      both(signal.SystemDiskIO, "By"),
		operations: both(signal.SystemDiskOperations, "{operation}"),
		time:       both(signal.SystemDiskOperationTime, "s"),
		merged:     both(signal.SystemDiskMerged, "{operation}"),
		ioTime:     counterOf(signal.SystemDiskIOTime, "s", signal.LabelDevice, name),
		weighted:   counterOf(signal.SystemDiskWeightedIOTime, "s", signal.LabelDevice, name),
		pending:    gaugeOf(signal.SystemDiskPending, "{operation}", signal.LabelDevice, name),
		size:       gaugeOf(signal.SystemDiskLimit, "By", signal.LabelDevice, name),
	}
}

func (d *disk) append(p *pass, v *[11]uint64) {
	p.counter(d.bytes[0], float64(v[diskReadSectors])*sector)
	p.counter(d.bytes[1], float64(v[diskWriteSectors])*sector)
	p.counter(d.operations[0], float64(v[diskReads]))
	p.counter(d.operations[1], float64(v[diskWrites]))
	p.counter(d.time[0], float64(v[diskReadTime])/1000)
	p.counter(d.time[1], float64(v[diskWriteTime])/1000)
	p.counter(d.merged[0], float64(v[diskReadsMerged]))
	p.counter(d.merged[1], float64(v[diskWritesMerged]))
	p.counter(d.ioTime, float64(v[diskIOTime])/1000)
	p.counter(d.weighted, float64(v[diskWeightedTime])/1000)
	p.gauge(d.pending, float64(v[diskPending]))
}
