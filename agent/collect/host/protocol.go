package host

import (
	"bytes"
	"context"
	"errors"

	"github.com/causeway-agent/causeway/agent/signal"
)

// mib is one counter of the kernel's that we pass on: its key is the protocol
// and the name of /proc/net/snmp, netstat or snmp6 written together.
type mib struct {
	key, name, unit, family string
}

// mibs is the list of counters, by file. RFC 1213 and RFC 4293 define those of
// snmp and snmp6; Documentation/networking/snmp_counter.rst those of netstat.
func mibs() (list []mib) {
	const segment, connection, datagram, packet, event, fault, message = "{segment}", "{connection}", "{datagram}", "{packet}", "{event}", "{error}", "{message}"
	add := func(family, proto, keys string, counters ...[3]string) {
		for _, c := range counters {
			list = append(list, mib{keys + c[0], signal.SystemNetworkPrefix + proto + "." + c[1], c[2], family})
		}
	}
	add("", "tcp", "Tcp",
		[3]string{"ActiveOpens", "active_opens", connection},
		[3]string{"PassiveOpens", "passive_opens", connection},
		[3]string{"AttemptFails", "attempt_fails", connection},
		[3]string{"EstabResets", "estab_resets", connection},
		[3]string{"InSegs", "in_segs", segment},
		[3]string{"OutSegs", "out_segs", segment},
		[3]string{"RetransSegs", "retrans_segs", segment},
		[3]string{"InErrs", "in_errs", segment},
		[3]string{"InCsumErrors", "in_csum_errors", segment},
		[3]string{"OutRsts", "out_rsts", segment})
	add("", "tcp", "TcpExt",
		[3]string{"ListenOverflows", "listen_overflows", connection},
		[3]string{"ListenDrops", "listen_drops", connection},
		[3]string{"SyncookiesSent", "syncookies_sent", packet},
		[3]string{"SyncookiesRecv", "syncookies_recv", packet},
		[3]string{"SyncookiesFailed", "syncookies_failed", packet},
		[3]string{"TCPTimeouts", "timeouts", event},
		[3]string{"TCPSynRetrans", "syn_retrans", segment},
		[3]string{"TCPFastRetrans", "fast_retrans", segment},
		[3]string{"TCPRetransFail", "retrans_fail", segment},
		[3]string{"TCPAbortOnTimeout", "abort_on_timeout", connection},
		[3]string{"TCPAbortOnMemory", "abort_on_memory", connection},
		[3]string{"TCPBacklogDrop", "backlog_drop", packet},
		[3]string{"PruneCalled", "prune_called", event},
		[3]string{"RcvPruned", "rcv_pruned", packet},
		[3]string{"OfoPruned", "ofo_pruned", event},
		[3]string{"TCPFromZeroWindowAdv", "from_zero_window_adv", event},
		[3]string{"TCPToZeroWindowAdv", "to_zero_window_adv", event},
		[3]string{"TWRecycled", "tw_recycled", connection},
		[3]string{"TCPMemoryPressures", "memory_pressures", event})
	udp := [][3]string{
		{"InDatagrams", "in_datagrams", datagram},
		{"OutDatagrams", "out_datagrams", datagram},
		{"NoPorts", "no_ports", datagram},
		{"InErrors", "in_errors", datagram},
		{"RcvbufErrors", "rcvbuf_errors", datagram},
		{"SndbufErrors", "sndbuf_errors", datagram},
		{"InCsumErrors", "in_csum_errors", datagram},
	}
	add("ipv4", "udp", "Udp", udp...)
	add("ipv6", "udp", "Udp6", udp...)
	ip := [][3]string{
		{"InReceives", "in_receives", packet},
		{"InDelivers", "in_delivers", packet},
		{"OutRequests", "out_requests", packet},
		{"InHdrErrors", "in_hdr_errors", packet},
		{"InAddrErrors", "in_addr_errors", packet},
		{"InUnknownProtos", "in_unknown_protos", packet},
		{"InDiscards", "in_discards", packet},
		{"OutDiscards", "out_discards", packet},
		{"OutNoRoutes", "out_no_routes", packet},
		{"ReasmReqds", "reasm_reqds", packet},
		{"ReasmOKs", "reasm_oks", packet},
		{"ReasmFails", "reasm_fails", packet},
		{"ReasmTimeout", "reasm_timeout", event},
		{"FragOKs", "frag_oks", packet},
		{"FragFails", "frag_fails", packet},
		{"FragCreates", "frag_creates", packet},
	}
	add("ipv4", "ip", "Ip", ip...)
	add("ipv6", "ip", "Ip6", ip...)
	add("ipv4", "ip", "Ip", [3]string{"ForwDatagrams", "forw_datagrams", packet})
	add("ipv6", "ip", "Ip6", [3]string{"OutForwDatagrams", "forw_datagrams", packet})
	add("ipv4", "ip", "TcpExt", [3]string{"IPReversePathFilter", "reverse_path_filter", packet})
	icmp := [][3]string{{"InMsgs", "in_msgs", message}, {"OutMsgs", "out_msgs", message}, {"InErrors", "in_errors", fault}}
	add("ipv4", "icmp", "Icmp", icmp...)
	add("ipv6", "icmp", "Icmp6", icmp...)
	return list
}

// protocols gives the counters of the network protocols, and the number of
// established connections, which TCP keeps among them.
type protocols struct {
	series      map[string]signal.Series // by key
	established signal.Series
	key         []byte // the key being looked up
}

func newProtocols(_ *tree) *protocols {
	s := &protocols{
		series:      map[string]signal.Series{},
		established: gaugeOf(signal.SystemNetworkPrefix+"tcp.curr_estab", "{connection}"),
	}
	for _, m := range mibs() {
		s.series[m.key] = counterOf(m.name, m.unit, signal.LabelNetType, m.family)
	}
	return s
}

func (s *protocols) sample(_ context.Context, p *pass) error {
	var errs []error
	for _, f := range [...]struct {
		name  string
		parse func([]byte, func(proto, name []byte, v uint64)) error
	}{{"snmp", parseSNMP}, {"netstat", parseSNMP}, {"snmp6", parseSNMP6}} {
		path := p.tree.netPath(f.name)
		text, err := p.tree.read(path)
		if err == nil {
			err = inFile(path, f.parse(text, func(proto, name []byte, v uint64) { s.append(p, proto, name, v) }))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// append appends one counter, if it is on the list.
func (s *protocols) append(p *pass, proto, name []byte, v uint64) {
	s.key = append(append(s.key[:0], proto...), name...)
	if series, ok := s.series[string(s.key)]; ok {
		p.counter(series, float64(v))
	} else if string(s.key) == "TcpCurrEstab" {
		p.gauge(s.established, float64(v))
	}
}

// parseSNMP reads /proc/net/snmp or netstat: pairs of lines, the first with the
// names, the second with the values, both beginning with the protocol. A bad
// pair costs itself. Values below zero, such as an unlimited MaxConn, are none.
func parseSNMP(text []byte, each func(proto, name []byte, v uint64)) error {
	var bad faults
	var names []byte
	for n, line := range lines(text) {
		if names == nil {
			names = line
			continue
		}
		if err := pair(names, line, each); err != nil {
			bad.add(atLine(n, line, err))
		}
		names = nil
	}
	if names != nil {
		bad.add(atLine(1+bytes.Count(bytes.TrimRight(text, "\n"), []byte{'\n'}), names, errors.New("no values for the names")))
	}
	return bad.join()
}

func pair(names, values []byte, each func(proto, name []byte, v uint64)) error {
	proto, names, ok := bytes.Cut(names, []byte(":"))
	other, values, ok2 := bytes.Cut(values, []byte(":"))
	if !ok || !ok2 || !bytes.Equal(proto, other) {
		return errors.New("not the values of the line before")
	}
	for {
		var name, value []byte
		name, names = cutField(names)
		value, values = cutField(values)
		if len(name) == 0 {
			return nil
		}
		if len(value) > 0 && value[0] == '-' {
			continue
		}
		v, err := parseUint(value)
		if err != nil {
			return err
		}
		each(proto, name, v)
	}
}

// parseSNMP6 reads /proc/net/snmp6: a name and a value a line. The protocol is
// within the name.
func parseSNMP6(text []byte, each func(proto, name []byte, v uint64)) error {
	var bad faults
	for n, line := range lines(text) {
		name, rest := cutField(line)
		value, _ := cutField(rest)
		v, err := parseUint(value)
		if err != nil {
			bad.add(atLine(n, line, err))
			continue
		}
		each(nil, name, v)
	}
	return bad.join()
}
