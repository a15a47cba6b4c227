//go:build receivers

package receivers

import (
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The service of deploy/examples under load: the three ways in which it measures
// each order, and its log, agree to the order, and to the microsecond.
func TestTheExampleIsMeasuredAlikeInAllThreeWays(t *testing.T) {
	packages, err := nodePackages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program, err := filepath.Abs("../../deploy/examples/node/server.js")
	if err != nil {
		t.Fatal(err)
	}
	// The example's ports are those of a node; this address is no other test's.
	const ip = "127.0.0.77"
	at := Address(t)
	_, port, _ := strings.Cut(at, ":")
	a := start(t, setup{active: []string{"local"}, scrape: "http://" + at + "/metrics", ip: ip})
	log := filepath.Join(a.Logs, "shop.log")
	p := Start(t, "env", "NODE_PATH="+filepath.Join(packages, "node_modules"), "AGENT_HOST="+ip, "PORT="+port,
		"sh", "-c", `exec node "$0" >"$1"`, program, log)
	p.serves(t, func() bool { return up("http://" + at + "/healthz") })
	if out, err := exec.CommandContext(t.Context(), "wrk", "-t1", "-c32", "-d3s", "http://"+at+"/order").CombinedOutput(); err != nil {
		t.Fatalf("wrk (Debian: apt-get install wrk): %v\n%s", err, out)
	}

	// An order takes 100 ms at most; wrk waits for no answer that is on its way.
	orders := func() float64 { return float64(strings.Count(readFile(t, log), `"message":"order"`)) }
	n := math.NaN()
	eventually(t, "what was asked is answered, and the page has it", func() bool {
		n = orders()
		total, _ := a.total(t, `SELECT last(total) FROM shop_orders_total GROUP BY status`)
		dog, _ := a.total(t, `SELECT sum(increase) FROM "shop.dog.orders"`)
		return total == n && dog == n
	})
	do(t, p.cmd.Process.Signal(syscall.SIGTERM)) // it sends what OTLP's interval has not sent
	<-p.gone
	if n < 500 || n != orders() {
		t.Fatalf("%v orders were taken, %v are in the log", n, orders())
	}
	a.becomes(t, n, `SELECT count(message) FROM syslog WHERE message =~ /"message":"order"/ AND hostname = 'proof'`)
	a.becomes(t, n, `SELECT last(total) FROM "shop.otel.orders" WHERE service = 'shop' GROUP BY status`)
	a.becomes(t, n, `SELECT last("count") FROM shop_order_duration_seconds GROUP BY status`)
	a.becomes(t, n, `SELECT last("count") FROM "shop.otel.order.duration" GROUP BY status`)
	a.becomes(t, n, `SELECT sum("count") FROM "shop.dog.order.duration" WHERE service = 'shop'`)
	seconds, _ := a.total(t, `SELECT last("sum") FROM shop_order_duration_seconds GROUP BY status`)
	dog, _ := a.total(t, `SELECT sum("sum") FROM "shop.dog.order.duration"`)
	otel, _ := a.total(t, `SELECT last("sum") FROM "shop.otel.order.duration" GROUP BY status`)
	if !near(dog, seconds, 1e-6) || !near(otel, seconds, 1e-6) || seconds/n < 0.04 || seconds/n > 0.2 {
		t.Errorf("%v orders took %v s by Prometheus, %v by DogStatsD, %v by OTLP", n, seconds, dog, otel)
	}
	for _, bound := range []string{"0.05", "0.1"} {
		page, _ := a.total(t, `SELECT last("le_`+bound+`") FROM shop_order_duration_seconds GROUP BY status`)
		a.becomes(t, page, `SELECT last("le_`+bound+`") FROM "shop.otel.order.duration" GROUP BY status`)
	}
	t.Logf("%v orders, %.3f s", n, seconds)
}
