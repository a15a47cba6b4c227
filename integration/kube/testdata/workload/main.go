// Command workload is what the tests run in pods. Its arguments are deeds, done
// in order:
//
//	log=N           writes N numbered lines to stdout
//	every=DURATION  writes a numbered line each so often, from now on
//	serve=ADDRESS   answers /healthz and /metrics, from now on
//	burn=DURATION   uses a core for so long
//	eat=BYTES       takes memory, and touches it
//	exit=CODE       ends
//	wait            waits to be ended
//
// Each tenth line is followed by an error on stderr.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var lines atomic.Int64
	line := func() {
		n := lines.Add(1)
		fmt.Printf(`{"level":"info","msg":"line %d"}`+"\n", n)
		if n%10 == 0 {
			fmt.Fprintf(os.Stderr, "error %d: something is wrong\n", n)
		}
	}
	var held [][]byte
	for _, arg := range os.Args[1:] {
		deed, value, _ := strings.Cut(arg, "=")
		switch deed {
		case "log":
			for range number(value) {
				line()
			}
		case "every":
			d := duration(value)
			go func() {
				for range time.Tick(d) {
					line()
				}
			}()
		case "serve":
			mux := http.NewServeMux()
			mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
			mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, "# TYPE workload_lines_total counter\nworkload_lines_total %d\n", lines.Load())
			})
			go func() { panic(http.ListenAndServe(value, mux)) }()
		case "burn":
			for end := time.Now().Add(duration(value)); time.Now().Before(end); {
			}
		case "eat":
			for left := number(value); left > 0; left -= 1 << 20 {
				b := make([]byte, min(left, 1<<20))
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				held = append(held, b)
			}
		case "exit":
			os.Exit(number(value))
		case "wait":
			<-signals
			return
		default:
			fmt.Fprintf(os.Stderr, "workload: no deed %q\n", arg)
			os.Exit(2)
		}
	}
	fmt.Println(len(held), "MiB held to the end")
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
