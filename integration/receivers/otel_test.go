//go:build receivers

package receivers

import (
	"fmt"
	"testing"
)

// OpenTelemetry's SDKs for Go and Node.js, over every transport they have and
// with both temporalities.
func TestOpenTelemetrySDKsIntoEveryDestination(t *testing.T) {
	t.Parallel()
	v := startStandins(t)
	v.mixed = "open" // an up-down counter is a sum in one temporality, a gauge in the other
	a := start(t, setup{active: v.active, destinations: v.destinations})
	goSDK := build(t, Program{"otelgo", ".", ""})
	for _, transport := range []string{"grpc", "http", "proto", "json"} {
		to := a.otlpHTTP
		if transport == "grpc" {
			to = a.otlpGRPC
		}
		for _, temporality := range []string{"delta", "cumulative"} {
			if transport == "grpc" || transport == "http" {
				service := fmt.Sprintf("go-%s-%s", transport, temporality)
				t.Run(service, func(t *testing.T) {
					t.Parallel()
					runs(t, goSDK, transport, to, temporality, service)
					a.saysTheSDK(t, v, service, temporality, temporality)
				})
			}
			if transport != "http" {
				service := fmt.Sprintf("node-%s-%s", transport, temporality)
				t.Run(service, func(t *testing.T) {
					t.Parallel()
					name, args := node(t, "otel.js", transport, to, temporality, service)
					runs(t, name, args...)
					a.saysTheSDK(t, v, service, temporality, "cumulative") // to Node.js' SDK, delta leaves up-down counters alone
				})
			}
		}
	}
}

// A collector between the SDK and the agent, which forwards by each transport.
func TestACollectorForwardsIntoEveryDestination(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"grpc", "http"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			v := startStandins(t)
			v.mixed = "open"
			a := start(t, setup{active: v.active, destinations: v.destinations})
			grpc, http := a.otlpGRPC, ""
			if by == "http" {
				grpc, http = "", "http://"+a.otlpHTTP
			}
			c := StartCollector(t, grpc, http)
			for _, temporality := range []string{"delta", "cumulative"} {
				runs(t, build(t, Program{"otelgo", ".", ""}), "grpc", c.GRPC, temporality, temporality)
				a.saysTheSDK(t, v, temporality, temporality, temporality)
			}
			if n := len(c.Logs(t).ResourceLogs); n == 0 {
				t.Error("the collector itself saw no lines")
			}
		})
	}
}

// saysTheSDK compares the store and the vendors with what otelgo and otel.js measured: the same
// in each of two rounds. ups is the temporality of the up-down counter.
func (a *agent) saysTheSDK(t *testing.T, v *standins, service, temporality, ups string) {
	t.Helper()
	where := fmt.Sprintf(` WHERE service = '%s' AND env = 'prod' AND version = '1.2.3' AND host = 'proof'`, service)
	a.becomes(t, 398, `SELECT sum(increase) FROM orders`+where+` AND route = '/buy'`)
	a.becomes(t, 0.75, `SELECT last("value") FROM load`+where)
	sum, count := "sum", "count"
	if temporality == "cumulative" {
		sum, count = "sum_increase", "count_increase"
		a.becomes(t, 398, `SELECT last(total) FROM orders`+where)
	}
	if ups == "cumulative" {
		a.becomes(t, 8, `SELECT last("value") FROM "open"`+where)
	} else {
		a.becomes(t, 8, `SELECT sum(increase) FROM "open"`+where)
	}
	for _, name := range []string{"time", "exp"} {
		a.becomes(t, 10100, fmt.Sprintf(`SELECT sum(%s) FROM "%s"%s`, sum, name, where))
		a.becomes(t, 200, fmt.Sprintf(`SELECT sum(%s) FROM "%s"%s`, count, name, where))
	}
	// OpenTelemetry's own bounds have 50 among them; of the values 1 to 100, that is half.
	if v, n := a.total(t, `SELECT first(le_50) FROM "time"`+where); n != 1 || v != 50 {
		t.Errorf("%s: %v of the first round's values are not above 50", service, v)
	}
	if v, n := a.total(t, `SELECT first(p50) FROM exp`+where); n != 1 || !near(v, 50, 0.022) {
		t.Errorf("%s: the median of 1 to 100 is %v", service, v) // 160 buckets leave 2.2 %
	}
	where = fmt.Sprintf(` WHERE appname = '%s' AND hostname = 'proof' AND severity = 'warning'`, service)
	a.becomes(t, 200, `SELECT count(message) FROM syslog`+where)
	a.becomes(t, 2, `SELECT count(message) FROM syslog`+where+` AND message = 'order 42'`)

	of := "service=" + service
	v.grew(t, 398, "orders", of, "route=/buy")
	v.holds(t, 0.75, "load", of)
	if ups == "cumulative" {
		v.holds(t, 8, "open", of)
	}
	for _, name := range []string{"time", "exp"} {
		v.counted(t, 200, 10100, name, of)
	}
	v.lines(t, 2, service, "order 42")
}
