package datadog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

// claimed is what Datadog says of each name we send: metric, type on the wire
// and unit, from the metadata.csv of its checks (integrations-core) and the
// source of its core checks. A unit "byte" of system.disk is KiB on the wire.
const claimed = `
system.cpu.user gauge percent
system.cpu.system gauge percent
system.cpu.idle gauge percent
system.cpu.iowait gauge percent
system.cpu.stolen gauge percent
system.cpu.interrupt gauge percent
system.cpu.user.total gauge second
system.cpu.nice.total gauge second
system.cpu.system.total gauge second
system.cpu.idle.total gauge second
system.cpu.iowait.total gauge second
system.cpu.irq.total gauge second
system.cpu.softirq.total gauge second
system.cpu.steal.total gauge second
system.cpu.num_cores gauge core
system.cpu.context_switches count -
system.load.1 gauge -
system.load.5 gauge -
system.load.15 gauge -
system.load.norm.1 gauge -
system.load.norm.5 gauge -
system.load.norm.15 gauge -
system.uptime gauge second
system.mem.used gauge mebibyte
system.mem.free gauge mebibyte
system.mem.buffered gauge mebibyte
system.mem.cached gauge mebibyte
system.mem.total gauge mebibyte
system.mem.usable gauge mebibyte
system.mem.pct_usable gauge fraction
system.mem.shared gauge mebibyte
system.mem.slab_reclaimable gauge mebibyte
system.mem.slab gauge mebibyte
system.mem.page_tables gauge mebibyte
system.mem.committed_as gauge mebibyte
system.mem.commit_limit gauge mebibyte
system.swap.cached gauge mebibyte
system.swap.total gauge mebibyte
system.swap.used gauge mebibyte
system.swap.free gauge mebibyte
system.swap.pct_free gauge fraction
system.io.block_in gauge block/second
system.io.block_out gauge block/second
system.disk.used gauge byte
system.disk.in_use gauge fraction
system.disk.utilized gauge percent
system.disk.free gauge byte
system.disk.total gauge byte
system.fs.inodes.used gauge inode
system.fs.inodes.in_use gauge fraction
system.fs.inodes.utilized gauge percent
system.fs.inodes.free gauge inode
system.fs.inodes.total gauge inode
system.fs.file_handles.allocated gauge -
system.fs.file_handles.allocated_unused gauge -
system.fs.file_handles.max gauge -
system.fs.file_handles.in_use gauge fraction
system.io.rkb_s gauge kibibyte/second
system.io.wkb_s gauge kibibyte/second
system.io.avg_rq_sz gauge sector
system.io.r_s gauge request/second
system.io.w_s gauge request/second
system.io.rrqm_s gauge request/second
system.io.wrqm_s gauge request/second
system.io.r_await gauge millisecond
system.io.w_await gauge millisecond
system.io.await gauge millisecond
system.disk.read_time count millisecond
system.disk.write_time count millisecond
system.io.util gauge percent
system.io.avg_q_sz gauge request
system.net.bytes_rcvd gauge byte/second
system.net.bytes_sent gauge byte/second
system.net.packets_in.count gauge packet/second
system.net.packets_out.count gauge packet/second
system.net.packets_in.error gauge error/second
system.net.packets_out.error gauge error/second
system.net.packets_in.drop gauge packet/second
system.net.packets_out.drop gauge packet/second
system.net.tcp.current_established gauge connection
system.net.tcp.active_opens gauge connection
system.net.tcp.active_opens.count count connection
system.net.tcp.passive_opens gauge connection
system.net.tcp.passive_opens.count count connection
system.net.tcp.attempt_fails gauge connection
system.net.tcp.attempt_fails.count count connection
system.net.tcp.established_resets gauge connection
system.net.tcp.established_resets.count count connection
system.net.tcp.in_segs gauge segment/second
system.net.tcp.in_segs.count count segment
system.net.tcp.out_segs gauge segment/second
system.net.tcp.out_segs.count count segment
system.net.tcp.retrans_segs gauge segment/second
system.net.tcp.retrans_segs.count count segment
system.net.tcp.in_errors gauge packet
system.net.tcp.in_errors.count count packet
system.net.tcp.in_csum_errors gauge packet
system.net.tcp.in_csum_errors.count count packet
system.net.tcp.out_resets gauge packet
system.net.tcp.out_resets.count count packet
system.net.tcp.listen_overflows gauge -
system.net.tcp.listen_overflows.count count -
system.net.tcp.listen_drops gauge -
system.net.tcp.listen_drops.count count -
system.net.udp.in_datagrams gauge datagram/second
system.net.udp.in_datagrams.count count datagram
system.net.udp.out_datagrams gauge datagram/second
system.net.udp.out_datagrams.count count datagram
system.net.udp.no_ports gauge datagram/second
system.net.udp.no_ports.count count datagram
system.net.udp.in_errors gauge datagram/second
system.net.udp.in_errors.count count datagram
system.net.udp.rcv_buf_errors gauge error/second
system.net.udp.rcv_buf_errors.count count error
system.net.udp.snd_buf_errors gauge error/second
system.net.udp.snd_buf_errors.count count error
system.net.udp.in_csum_errors gauge error
system.net.udp.in_csum_errors.count count error
system.net.ip.in_receives gauge datagram
system.net.ip.in_receives.count count datagram
system.net.ip.in_delivers gauge datagram
system.net.ip.in_delivers.count count datagram
system.net.ip.out_requests gauge datagram
system.net.ip.out_requests.count count datagram
system.net.ip.in_header_errors gauge datagram
system.net.ip.in_header_errors.count count datagram
system.net.ip.in_addr_errors gauge datagram
system.net.ip.in_addr_errors.count count datagram
system.net.ip.in_unknown_protos gauge datagram
system.net.ip.in_unknown_protos.count count datagram
system.net.ip.in_discards gauge datagram
system.net.ip.in_discards.count count datagram
system.net.ip.out_discards gauge datagram
system.net.ip.out_discards.count count datagram
system.net.ip.out_no_routes gauge datagram
system.net.ip.out_no_routes.count count datagram
system.net.ip.reassembly_requests gauge -
system.net.ip.reassembly_requests.count count -
system.net.ip.reassembly_oks gauge datagram
system.net.ip.reassembly_oks.count count datagram
system.net.ip.reassembly_fails gauge -
system.net.ip.reassembly_fails.count count -
system.net.ip.reassembly_timeouts gauge timeout
system.net.ip.reassembly_timeouts.count count timeout
system.net.ip.fragmentation_oks gauge datagram
system.net.ip.fragmentation_oks.count count datagram
system.net.ip.fragmentation_fails gauge datagram
system.net.ip.fragmentation_fails.count count datagram
system.net.ip.fragmentation_creates gauge -
system.net.ip.fragmentation_creates.count count -
system.net.ip.forwarded_datagrams gauge datagram
system.net.ip.forwarded_datagrams.count count datagram
system.net.ip.reverse_path_filter gauge packet/second
system.net.ip.reverse_path_filter.count count packet
container.uptime gauge second
container.cpu.usage gauge nanocore
kubernetes.cpu.usage.total gauge nanocore
container.cpu.limit gauge nanocore
container.cpu.user gauge nanocore
container.cpu.system gauge nanocore
kubernetes.cpu.user.total gauge core
kubernetes.cpu.system.total gauge core
kubernetes.cpu.cfs.periods gauge -
container.cpu.throttled.periods gauge -
kubernetes.cpu.cfs.throttled.periods gauge -
container.cpu.throttled gauge nanosecond
kubernetes.cpu.cfs.throttled.seconds gauge -
container.memory.usage gauge byte
kubernetes.memory.usage gauge byte
kubernetes.memory.usage_pct gauge fraction
container.memory.usage.peak gauge byte
container.memory.working_set gauge byte
kubernetes.memory.working_set gauge byte
container.memory.rss gauge byte
kubernetes.memory.rss gauge byte
container.memory.cache gauge byte
kubernetes.memory.cache gauge byte
container.memory.swap gauge byte
kubernetes.memory.swap gauge byte
container.memory.limit gauge byte
container.memory.soft_limit gauge byte
container.memory.oom_events gauge -
container.memory.major_page_faults count -
container.memory.page_faults count -
container.io.read gauge byte
container.io.write gauge byte
kubernetes.io.read_bytes gauge byte
kubernetes.io.write_bytes gauge byte
container.io.read.operations gauge -
container.io.write.operations gauge -
kubernetes.filesystem.usage gauge byte
kubernetes.filesystem.usage_pct gauge fraction
container.net.rcvd gauge byte
container.net.sent gauge byte
container.net.rcvd.packets gauge -
container.net.sent.packets gauge -
container.pid.thread_count gauge -
container.pid.thread_limit gauge -
kubernetes.network.rx_bytes gauge byte/second
kubernetes.network.tx_bytes gauge byte/second
kubernetes.network.rx_errors gauge error/second
kubernetes.network.tx_errors gauge error/second
kubernetes.network.rx_dropped gauge packet/second
kubernetes.network.tx_dropped gauge packet/second
kubernetes.ephemeral_storage.usage gauge byte
kubernetes.node.filesystem.usage gauge byte
kubernetes.node.filesystem.usage_pct gauge fraction
`

// claims returns claimed, by metric.
func claims() map[string][2]string {
	m := map[string][2]string{}
	for line := range strings.Lines(claimed + claimedKube) {
		if f := strings.Fields(line); len(f) == 3 {
			m[f[0]] = [2]string{f[1], f[2]}
		}
	}
	return m
}

func everyRow() (all []row) {
	return slices.Concat(hostRows(), protocolRows(), containerRows(), kubeletRows(), stateRows())
}

// encode returns what Encode makes of b, read strictly.
func encode(t testing.TB, names string, b *signal.Batch) (list []ddintake.Point, skipped int) {
	t.Helper()
	c := Default()
	c.Names = names
	body, next, skipped := Metrics("t", c, nil).Encode(nil, b, 0, b.Len())
	if next != b.Len() {
		t.Fatalf("took %d of %d", next, b.Len())
	}
	if len(body) == 0 {
		return nil, skipped
	}
	list, err := ddintake.Intake{}.Series(body)
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	return list, skipped
}

// alone returns a batch in which row r applies, and what it sends.
func alone(r row) (b *signal.Batch, to string) {
	b = &signal.Batch{Kind: signal.Metric}
	add := func(metric string, labels ...string) {
		typ := signal.Gauge
		if r.how >= rate {
			typ = signal.Counter
		}
		s := signal.Sample{Prev: 1700000000000, Time: 1700000010000, Value: 50, Delta: 50}
		switch {
		case r.only == ones || metric == r.where.metric:
			s.Value = 1
		case r.only == zeros:
			s.Value = 0
		}
		labels = append([]string{"host.name", "n1", "k8s.pod.name", "p", r.also[0], r.also[1]}, labels...)
		if r.has != "" {
			labels = append(labels, r.has, "x")
		}
		s.Series = signal.Intern(signal.Desc{Name: metric, Type: typ, Labels: signal.Labels(labels...)})
		b.Add(s)
	}
	to = r.to
	if r.word != "" {
		to += "cpu" + r.tail
	}
	if r.word == "" {
		add(r.from, r.key, strings.ReplaceAll(r.is, every, "x"))
	} else {
		add(r.from, r.key, r.is, r.word, "cpu")
	}
	for _, p := range r.per {
		if p.metric != r.from || p.is != r.is {
			add(p.metric, r.key, p.is)
		}
	}
	if r.where.metric != "" {
		add(r.where.metric, r.where.key, r.where.is)
	}
	return b, to
}

// Each row sends a name that Datadog has, as the type it has there, once, and
// each name claimed is sent. Of the row's own labels those that are in its name
// are no tags.
func TestRowsAreDatadogs(t *testing.T) {
	claim, sent, rows := claims(), map[string]string{}, map[string]bool{}
	for _, r := range everyRow() {
		if r.to == "" {
			continue
		}
		b, to := alone(r)
		list, _ := encode(t, "native", b)
		found := 0
		for _, s := range list {
			if s.Metric != to {
				continue
			}
			found++
			want := 3
			if claim[to][0] == "count" {
				want = 1
			}
			if s.Type != want || (s.Interval != nil) != (want == 1) || len(s.Resources) != 1 || s.Resources[0].Name != "n1" {
				t.Errorf("%s is sent as %+v, Datadog has a %s", to, s, claim[to][0])
			}
			tags := 1
			for _, more := range []bool{r.keep, r.word != "", r.add != "", r.has != "" && r.has != "k8s.pod.name"} {
				if more {
					tags++
				}
			}
			if !slices.Contains(s.Tags, "pod_name:p") && !slices.Contains(s.Tags, "pod_name:x") || len(s.Tags) != tags || r.add != "" && s.Tags[0] != r.add {
				t.Errorf("%s has tags %v", to, s.Tags)
			}
		}
		who := fmt.Sprint(to, r.is, r.only)
		if found != 1 || rows[who] || sent[to] != "" && sent[to] != r.from {
			t.Errorf("%s of %s was sent %d times, twice in the table: %v", to, r.from, found, rows[who])
		}
		if _, ok := claim[to]; !ok {
			t.Errorf("%s is no name of Datadog's", to)
		}
		sent[to], rows[who] = r.from, true
	}
	for name := range claim {
		if sent[name] == "" {
			t.Errorf("%s is claimed and not sent", name)
		}
	}
}

// show writes series as "name type value interval unit tags".
func show(list []ddintake.Point) string {
	var lines []string
	for _, s := range list {
		l := fmt.Sprintf("%s %s %v", s.Metric, map[int]string{1: "count", 3: "gauge"}[s.Type], *s.Points[0].Value)
		if s.Interval != nil {
			l += fmt.Sprintf("/%ds", *s.Interval)
		}
		if s.Unit != nil {
			l += " " + *s.Unit
		}
		if len(s.Tags) > 0 {
			l += " " + strings.Join(s.Tags, ",")
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "\n")
}

func parse(t testing.TB, kind signal.Kind, text string) *signal.Batch {
	t.Helper()
	b, err := signal.Parse(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	since = " since 1700000000000 @1700000010000\n"
	at    = " @1700000010000\n"
)

// The units that bite, and values that take several samples.
func TestUnits(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		list, skipped := encode(t, "native", parse(t, signal.Metric, in))
		if got := show(list); got != strings.Join(want, "\n") || skipped != 0 {
			t.Errorf("skipped %d, got\n%s\nwant\n%s", skipped, got, strings.Join(want, "\n"))
		}
	}
	util := func(mode, v string) string {
		return `system.cpu.utilization{cpu.mode="` + mode + `"} gauge 1 ` + v + at
	}
	f(util("user", "0.25")+util("nice", "0.125"), "system.cpu.user gauge 37.5")
	f(util("nice", "0.125")+util("user", "0.25"), "system.cpu.user gauge 37.5")
	f(util("system", "0.25")+util("interrupt", "0.125")+util("softirq", "0.0625"), "system.cpu.system gauge 43.75", "system.cpu.interrupt gauge 18.75")
	f(util("steal", "0.5"), "system.cpu.stolen gauge 50")
	f(`system.cpu.core.time{cpu.logical_number="3",cpu.mode="interrupt"} counter s 12.5`+at, "system.cpu.irq.total gauge 12.5 core:cpu3")
	f(`system.cpu.load_average.1m gauge {thread} 3`+at+`system.cpu.logical.count gauge {cpu} 2`+at,
		"system.load.1 gauge 3", "system.load.norm.1 gauge 1.5", "system.cpu.num_cores gauge 2")
	f(`system.cpu.load_average.1m gauge {thread} 3`+at, "system.load.1 gauge 3")
	f(`system.context_switches counter {context_switch} 100 +30`+since, "system.cpu.context_switches count 30/10s")

	mem := func(state, v string) string {
		return `system.memory.usage{system.memory.state="` + state + `"} gauge By ` + v + at
	}
	f(mem("used", "1048576")+mem("buffers", "2097152")+mem("cached", "3145728")+mem("free", "4194304"),
		"system.mem.used gauge 6", "system.mem.buffered gauge 2", "system.mem.cached gauge 3", "system.mem.free gauge 4")
	f(`system.memory.linux.available gauge By 2097152`+at+`system.memory.limit gauge By 8388608`+at,
		"system.mem.usable gauge 2", "system.mem.pct_usable gauge 0.25", "system.mem.total gauge 8")
	f(`system.paging.usage{system.paging.state="free"} gauge By 1048576`+at+`system.paging.limit gauge By 4194304`+at,
		"system.swap.free gauge 1", "system.swap.pct_free gauge 0.25", "system.swap.total gauge 4")
	f(`system.paging.usage{system.paging.state="free"} gauge By 0`+at+`system.paging.limit gauge By 0`+at,
		"system.swap.free gauge 0", "system.swap.total gauge 0")
	f(`system.paging.io{system.paging.direction="in"} counter By 0 +20480`+since, "system.io.block_in gauge 2")

	fs := func(name, device, mount, state, v string) string {
		return name + `{system.device="` + device + `",system.filesystem.mountpoint="` + mount + `",system.filesystem.state="` + state + `"} gauge By ` + v + at
	}
	const disk, inodes, a, b = "system.filesystem.usage", "system.filesystem.inodes.usage", " device_name:sda1,device:/dev/sda1,mount_point:/", " device_name:sdb1,device:/dev/sdb1,mount_point:/x"
	f(fs(disk, "/dev/sda1", "/", "used", "6144")+fs(disk, "/dev/sda1", "/", "free", "2048")+fs(disk, "/dev/sda1", "/", "reserved", "512")+fs(disk, "/dev/sdb1", "/x", "used", "1024")+fs(disk, "/dev/sdb1", "/x", "free", "3072"),
		"system.disk.used gauge 6"+a, "system.disk.in_use gauge 0.75"+a, "system.disk.utilized gauge 75"+a, "system.disk.free gauge 2"+a,
		"system.disk.used gauge 1"+b, "system.disk.in_use gauge 0.25"+b, "system.disk.utilized gauge 25"+b, "system.disk.free gauge 3"+b)
	f(fs(inodes, "/dev/sda1", "/", "used", "1")+fs(inodes, "/dev/sda1", "/", "free", "3"),
		"system.fs.inodes.used gauge 1"+a, "system.fs.inodes.in_use gauge 0.25"+a, "system.fs.inodes.utilized gauge 25"+a, "system.fs.inodes.free gauge 3"+a)

	io := func(name, dir, v string) string {
		return name + `{disk.io.direction="` + dir + `",system.device="sda"} counter - 0 +` + v + since
	}
	const sda = " device_name:sda,device:sda"
	f(io("system.disk.io", "read", "20480"), "system.io.rkb_s gauge 2"+sda)
	f(io("system.disk.operations", "write", "5"), "system.io.w_s gauge 0.5"+sda)
	f(io("system.disk.operation_time", "read", "0.5")+io("system.disk.operation_time", "write", "0.25")+io("system.disk.operations", "read", "10")+io("system.disk.operations", "write", "5"),
		"system.io.r_await gauge 50"+sda, "system.io.await gauge 50"+sda, "system.disk.read_time count 500/10s"+sda,
		"system.io.w_await gauge 50"+sda, "system.disk.write_time count 250/10s"+sda, "system.io.r_s gauge 1"+sda, "system.io.w_s gauge 0.5"+sda)
	f(io("system.disk.operation_time", "write", "0")+io("system.disk.operations", "write", "0"),
		"system.io.w_await gauge 0"+sda, "system.disk.write_time count 0/10s"+sda, "system.io.w_s gauge 0"+sda)
	f(io("system.disk.io", "read", "1024")+io("system.disk.io", "write", "1024")+io("system.disk.operations", "read", "1")+io("system.disk.operations", "write", "1"),
		"system.io.rkb_s gauge 0.1"+sda, "system.io.avg_rq_sz gauge 2"+sda, "system.io.wkb_s gauge 0.1"+sda, "system.io.r_s gauge 0.1"+sda, "system.io.w_s gauge 0.1"+sda)
	f(`system.disk.io_time{system.device="sda"} counter s 0 +2.5`+since, "system.io.util gauge 25"+sda)
	f(`system.disk.weighted_io_time{system.device="sda"} counter s 0 +10.24`+since, "system.io.avg_q_sz gauge 1"+sda)
	f(`system.network.io{network.interface.name="eth0",network.io.direction="receive"} counter By 0 +5`+since,
		"system.net.bytes_rcvd gauge 0.5 device_name:eth0,device:eth0")
	f(`system.network.tcp.retrans_segs counter {segment} 0 +5`+since, "system.net.tcp.retrans_segs gauge 0.5", "system.net.tcp.retrans_segs.count count 5/10s")
	f(`system.network.ip.in_receives{network.type="ipv6"} counter {packet} 0 +5`+since, "otel.system.network.ip.in_receives count 5/10s network.type:ipv6")

	const pod, tag = `{k8s.container.name="c",k8s.pod.name="p"}`, " kube_container_name:c,pod_name:p"
	f(`container.cpu.usage`+pod+` gauge {cpu} 0.25`+at, "container.cpu.usage gauge 2.5e+08"+tag, "kubernetes.cpu.usage.total gauge 2.5e+08"+tag)
	f(`container.cpu.usage{container.name="c"} gauge {cpu} 0.25`+at, "container.cpu.usage gauge 2.5e+08 container_name:c")
	f(`container.cpu.limit gauge {cpu} 1`+at, "container.cpu.limit gauge 1e+09")
	f(`container.cpu.time{cpu.mode="user",k8s.pod.name="p"} counter s 0 +5`+since,
		"container.cpu.user gauge 5e+08 pod_name:p", "kubernetes.cpu.user.total gauge 0.5 pod_name:p")
	f(`container.cpu.throttling.throttled_time counter s 0 +1`+since, "container.cpu.throttled gauge 1e+08")
	f(`container.memory.usage`+pod+` gauge By 1000`+at+`container.memory.limit`+pod+` gauge By 4000`+at,
		"container.memory.usage gauge 1000"+tag, "kubernetes.memory.usage gauge 1000"+tag, "kubernetes.memory.usage_pct gauge 0.25"+tag, "container.memory.limit gauge 4000"+tag)
	f(`container.memory.paging.faults{system.paging.fault.type="minor"} counter {fault} 0 +5`+since+`container.memory.paging.faults{system.paging.fault.type="major"} counter {fault} 0 +1`+since,
		"container.memory.page_faults count 6/10s", "container.memory.major_page_faults count 1/10s")
	f(`k8s.pod.network.io{k8s.pod.name="p",network.interface.name="eth0",network.io.direction="transmit"} counter By 0 +5`+since,
		"kubernetes.network.tx_bytes gauge 0.5 pod_name:p,interface:eth0")
	f(`container.network.io{network.interface.name="eth0",network.io.direction="receive"} counter By 0 +5`+since, "container.net.rcvd gauge 0.5 interface:eth0")
	f(`container.filesystem.usage{container.id="x"} gauge By 7`+at,
		"container.filesystem.usage gauge 7 byte container_id:x") // the kubelet check knows only pods'
}

// What a sample stands beside is nothing to it if it differs in time or labels.
func TestNeighboursThatAreNotRelated(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		list, _ := encode(t, "native", parse(t, signal.Metric, in))
		if got := show(list); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	}
	f("system.cpu.load_average.1m gauge - 3 @10000\nsystem.cpu.logical.count gauge - 2 @20000", "system.load.1 gauge 3", "system.cpu.num_cores gauge 2")
	f("system.cpu.load_average.1m{k=\"a\"} gauge - 3 @10000\nsystem.cpu.logical.count{k=\"b\"} gauge - 2 @10000", "system.load.1 gauge 3 k:a", "system.cpu.num_cores gauge 2 k:b")
	// The same labels are other tags under another name.
	const disk, net = `{disk.io.direction="read"}`, `{network.interface.name="eth0",network.io.direction="receive"}`
	f("system.disk.merged"+disk+" counter - 0 +1"+since+"x"+disk+" gauge - 1"+at, "system.io.rrqm_s gauge 0.1", "x gauge 1 disk.io.direction:read")
	f("system.network.io"+net+" counter - 0 +1"+since+"container.network.io"+net+" counter - 0 +1"+since,
		"system.net.bytes_rcvd gauge 0.1 device_name:eth0,device:eth0", "container.net.rcvd gauge 0.1 interface:eth0")
}

// What has no native name keeps its own, as every metric does with names: otel.
func TestOtherNames(t *testing.T) {
	f := func(names, in, want string, skips int) {
		t.Helper()
		list, skipped := encode(t, names, parse(t, signal.Metric, in))
		if got := show(list); got != want || skipped != skips {
			t.Errorf("%s: skipped %d, got\n%s\nwant\n%s", names, skipped, got, want)
		}
	}
	for _, names := range []string{"native", "otel"} {
		f(names, `http_requests_total{code="200"} counter - 10 +4`+since, "http_requests_total count 4/10s code:200", 0)
		f(names, `hits delta - 4 @1700000010000 from 1700000000000`, "hits count 4/10s", 0)
		f(names, `hits delta - 4 @1700000010000`, "hits count 4", 0)
		f(names, `hits delta - 4 @1700000010000 from 1700000009900`, "hits count 4/1s", 0)
		f(names, `hits counter - 4 @1700000010000`, "", 1) // no increase yet
		f(names, `size gauge By 4 @1700000010000`, "size gauge 4 byte", 0)
		f(names, `nan gauge - NaN @1700000010000`, "", 1)
		f(names, "nan gauge - NaN @1700000010000\nx gauge - 1 @1700000010000", "x gauge 1", 1)
		f(names, `1.2 gauge - 1 @1700000010000`, "", 1)
		f(names, `5xx-rate% gauge - 1 @1700000010000`, "xx_rate gauge 1", 0)
		f(names, `process.cpu.time counter s 4 +1`+since, "otel.process.cpu.time count 1/10s second", 0)
		f(names, `system.pressure.avg10{pressure.resource="io"} gauge 1 0.5`+at, "otel.system.pressure.avg10 gauge 0.5 pressure.resource:io", 0)
		f(names, `systemd_units gauge - 4`+at, "systemd_units gauge 4", 0)
	}
	f("otel", `system.uptime gauge s 4`+at, "otel.system.uptime gauge 4 second", 0)
	f("native", `system.uptime gauge s 4`+at, "system.uptime gauge 4", 0)
	f("otel", `system.memory.usage{system.memory.state="used"} gauge By 4`+at, "otel.system.memory.usage gauge 4 byte system.memory.state:used", 0)
	f("native", `system.memory.usage{system.memory.state="inactive"} gauge By 4`+at, "otel.system.memory.usage gauge 4 byte system.memory.state:inactive", 0)
	f("native", `system.disk.io{disk.io.direction="read"} gauge By 4`+at,
		"otel.system.disk.io gauge 4 byte disk.io.direction:read", 0) // not the type it has here
	f("native", `system.cpu.utilization{cpu.mode="nice"} gauge 1 0.5`+at, "", 1) // no body at all
}

// A value that takes several samples is the same wherever a batch is split.
func TestEncodeDependsOnTheBatchAlone(t *testing.T) {
	for _, b := range []*signal.Batch{hostBatch(), kubeBatch(3)} {
		e := Metrics("t", Default(), nil)
		whole, _, skipped := e.Encode(nil, b, 0, b.Len())
		list, err := ddintake.Intake{}.Series(whole)
		if err != nil || skipped != 0 {
			t.Fatal(skipped, err)
		}
		var parts []ddintake.Point
		for i := range b.Len() {
			body, next, _ := e.Encode(nil, b, i, i+1)
			if next != i+1 {
				t.Fatalf("sample %d: next %d", i, next)
			}
			if len(body) == 0 {
				continue // another sample says it
			}
			part, err := ddintake.Intake{}.Series(body)
			if err != nil {
				t.Fatal(err)
			}
			if parts = append(parts, part...); len(part) > 4 {
				t.Errorf("sample %d is %d series", i, len(part))
			}
		}
		if show(list) != show(parts) {
			t.Error("the parts are not the whole")
		}
	}
}
