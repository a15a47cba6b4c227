package host

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/prometheus/procfs/sysfs"

	"github.com/causeway-agent/causeway/agent/signal"
)

// cpuModes are the values of cpu.mode, in the order of cpuTimes without guests.
func cpuModes() [8]string {
	return [...]string{"user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"}
}

// cpu gives the CPUs' time by mode, and how many there are.
type cpu struct {
	sys     string // path of /sys
	perCore bool

	time, utilization [8]signal.Series
	guest, guestNice  signal.Series
	logical, physical signal.Series
	cores             [][8]signal.Series // by CPU number

	last    cpuTimes // of the sample before; all zero if there is none
	counted int      // logical CPUs when the physical ones were counted
	found   int      // physical CPUs; 0 if unknown
}

func newCPU(c Config, t *tree) *cpu {
	u := &cpu{
		sys:       t.path("sys"),
		perCore:   c.PerCPU,
		guest:     counterOf(signal.SystemCPUGuestTime, "s", signal.LabelCPUMode, "user"),
		guestNice: counterOf(signal.SystemCPUGuestTime, "s", signal.LabelCPUMode, "nice"),
		logical:   gaugeOf(signal.SystemCPULogicalCount, "{cpu}"),
		physical:  gaugeOf(signal.SystemCPUPhysicalCount, "{cpu}"),
	}
	for i, mode := range cpuModes() {
		u.time[i] = counterOf(signal.SystemCPUTime, "s", signal.LabelCPUMode, mode)
		u.utilization[i] = gaugeOf(signal.SystemCPUUtilization, "1", signal.LabelCPUMode, mode)
	}
	return u
}

func (u *cpu) sample(_ context.Context, p *pass) error {
	if p.stat.has&hasCPU == 0 {
		return nil
	}
	u.times(p, &u.time, &p.stat.all)
	p.counter(u.guest, float64(p.stat.all[cpuGuest])/ticks)
	p.counter(u.guestNice, float64(p.stat.all[cpuGuestNice])/ticks)
	if share, ok := p.stat.all.share(&u.last); ok {
		for i, s := range u.utilization {
			p.gauge(s, share[i])
		}
	}
	u.last = p.stat.all

	n := len(p.stat.cores)
	if n == 0 {
		return nil
	}
	p.gauge(u.logical, float64(n))
	if u.perCore {
		for i := range p.stat.cores {
			c := &p.stat.cores[i]
			u.times(p, u.coreSeries(c.number), &c.times)
		}
	}
	var err error
	if u.counted != n { // at the first call, and when CPUs went on or off line
		u.found, err = countCores(u.sys)
		u.counted = n
	}
	if u.found > 0 {
		p.gauge(u.physical, float64(u.found))
	}
	return err
}

// times appends one cpu line. The kernel counts a guest's time twice, in user
// and in guest; here it stays in user, so that the modes add up.
func (u *cpu) times(p *pass, series *[8]signal.Series, t *cpuTimes) {
	for i, s := range series {
		p.counter(s, float64(t[i])/ticks)
	}
}

// coreSeries returns the series of one logical CPU.
func (u *cpu) coreSeries(number uint64) *[8]signal.Series {
	const most = 1 << 16 // the kernel's own limit is 8192
	number = min(number, most)
	for uint64(len(u.cores)) <= number {
		u.cores = append(u.cores, [8]signal.Series{})
	}
	series := &u.cores[number]
	if !series[0].Valid() {
		for i, mode := range cpuModes() {
			series[i] = counterOf(signal.SystemCPUCoreTime, "s",
				signal.LabelCPU, strconv.FormatUint(number, 10), signal.LabelCPUMode, mode)
		}
	}
	return series
}

// share returns the part of the time since last that each mode took; ok is false
// if no time passed or there is no last. Where a mode ran backwards, as iowait
// may by the kernel's own account, it took none.
func (t *cpuTimes) share(last *cpuTimes) (share [8]float64, ok bool) {
	if *last == (cpuTimes{}) {
		return share, false
	}
	total := 0.0
	for i := range share {
		if t[i] > last[i] {
			share[i] = float64(t[i] - last[i])
			total += share[i]
		}
	}
	for i := range share {
		share[i] /= max(total, 1)
	}
	return share, total > 0
}

// countCores returns how many cores the online CPUs are, 0 where /sys does not
// say.
func countCores(sys string) (int, error) {
	if _, err := os.Stat(sys + "/devices/system/cpu"); err != nil {
		return 0, nil
	}
	fs, err := sysfs.NewFS(sys)
	if err != nil {
		return 0, fmt.Errorf("count physical cpus: %w", err)
	}
	cpus, err := fs.CPUs()
	if err != nil {
		return 0, fmt.Errorf("count physical cpus: %w", err)
	}
	type id struct{ pkg, core string }
	cores := map[id]bool{}
	for _, c := range cpus {
		t, err := c.Topology()
		if err != nil {
			continue // off line: it has no topology and runs nothing
		}
		cores[id{t.PhysicalPackageID, t.CoreID}] = true
	}
	return len(cores), nil
}
