# Causeway. `make run` starts the agent here, `make test` passes its tests;
# both need Go and make, and nothing else.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# grpcnotrace leaves out gRPC's tracing pages, and with them 29 MB of templates.
TAGS    := grpcnotrace
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GO      ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@latest

export CGO_ENABLED ?= 0

.PHONY: run build cross influxd test test-kube test-receivers test-peers race fuzz golden bench soak lint image check clean

# Who is not root keeps the data here rather than in /var/lib.
run: build
	@if [ "$$(id -u)" != 0 ] && [ -z "$$CAUSEWAY_AGENT__DATA_DIR" ]; then export CAUSEWAY_AGENT__DATA_DIR=./data; fi; \
	exec ./bin/causeway run --hello -c agent.yaml

build:
	@mkdir -p bin
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/causeway ./agent/cmd/causeway

cross:
	@mkdir -p bin
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/causeway-linux-$$arch ./agent/cmd/causeway || exit 1; done

# An InfluxDB that others made is part of the tests where it can be had.
influxd:
	@command -v influxd >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends influxdb >/dev/null; }; } || \
		echo "influxd is not installed and cannot be: the tests against it are left out"

test: influxd
	$(GO) vet -tags $(TAGS) ./...
	$(GO) test -tags $(TAGS) -shuffle=on ./...

# A real Kubernetes on this machine: etcd, API server, controllers, kubelet, containerd. It needs root, and Debian's
# containerd, runc, containernetworking-plugins, iptables and iproute2; the first run builds Kubernetes, for ten minutes
# or so, and keeps it in ~/.cache/causeway.
test-kube:
	$(GO) test -tags $(TAGS),kube -count=1 -v -timeout 60m ./integration/kube

# Receivers and clients that others made: VictoriaMetrics, VictoriaLogs, an OpenTelemetry collector, SDKs. It needs node and npm.
test-receivers:
	$(GO) test -tags $(TAGS),receivers -count=1 -v -timeout 60m ./integration/receivers/...

# What others made and sends us lines: Debian's rsyslog, logger (bsdutils), systemd-journal-remote with journalctl, and
# Fluentd's client for Node, which npm fetches into bin/peers.
PEERS := rsyslogd logger /lib/systemd/systemd-journal-remote journalctl node npm
FLUENT := @fluent-org/logger@1.0.10
test-peers:
	@for p in $(PEERS); do PATH=$$PATH:/usr/sbin command -v $$p >/dev/null || { \
		echo "test-peers needs $$p; on Debian: apt-get install rsyslog bsdutils systemd-journal-remote nodejs npm"; exit 1; }; done
	@mkdir -p bin/peers
	npm install --silent --no-audit --no-fund --prefix bin/peers $(FLUENT)
	PATH=$$PATH:/usr/sbin NODE_PATH=$(CURDIR)/bin/peers/node_modules $(GO) test -tags $(TAGS),peers -count=1 -v \
		-run 'TestLogger|TestRsyslog|TestAJournalThatSystemdWrites|TestTheClientOfNode' ./agent/collect/syslog ./agent/collect/journald ./agent/collect/forward

# The race detector needs cgo; the packages that embed whole servers are left
# to their own tests without it.
race:
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) -shuffle=on $$($(GO) list -tags $(TAGS) ./... | grep -vE '/(integration|store|cadvisor|causeway)$$')

FUZZTIME ?= 10s
fuzz:
	@for pkg in $$($(GO) list -tags $(TAGS) ./...); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$($(GO) list -f '{{.Dir}}' $$pkg)/*_test.go 2>/dev/null | sed 's/^func //'); do \
			echo "$$pkg $$f"; $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; \
		done; \
	done

# Rewrites the golden files; the diff is the review.
golden:
	$(GO) test -tags $(TAGS) ./exporters/... ./agent/collect/... ./deploy/... -update

BENCH ?= .
bench:
	$(GO) test -tags $(TAGS) -run '^$$' -bench '$(BENCH)' -benchmem ./agent/... ./exporters/... | tee bin/bench.txt

lint:
	$(GO) vet -tags $(TAGS) ./...
	@out=$$(gofmt -l agent exporters config deploy integration); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...

image:
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t causeway:$(VERSION) .

# The long form of the proof: hours of what CI runs for minutes.
soak:
	CAUSEWAY_SOAK=1 $(GO) test -tags $(TAGS) -timeout 5h -v ./integration ./agent/collect/tail ./agent/collect/statsd

check: lint race
	$(MAKE) fuzz FUZZTIME=5s
	$(GO) test -tags $(TAGS) ./integration -run House

clean:
	rm -rf bin
