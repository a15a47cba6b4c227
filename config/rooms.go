package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/forward"
	"github.com/causeway-agent/causeway/agent/collect/host"
	"github.com/causeway-agent/causeway/agent/collect/journald"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/otlp"
	"github.com/causeway-agent/causeway/agent/collect/probe"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/statsd"
	"github.com/causeway-agent/causeway/agent/collect/syslog"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// Collect is the section collect: one field for each collector that exists.
type Collect struct {
	// Host is layer 1: what the kernel says of this machine.
	Host host.Config `yaml:"host"`
	// Containers is layer 2: the containers of this machine.
	Containers container.Config `yaml:"containers"`
	// Prometheus is layer 3: the pages that applications show.
	Prometheus prom.Config `yaml:"prometheus"`
	// Probes ask servers whether they answer.
	Probes probe.Config `yaml:"probes"`
	// StatsD is layer 3: what applications send by StatsD and DogStatsD.
	StatsD statsd.Config `yaml:"statsd"`
	// OTLP is layer 3 too: what applications with an OpenTelemetry SDK send.
	OTLP otlp.Config `yaml:"otlp"`
	// Kubernetes is layer 4: pods, objects, events.
	Kubernetes kube.Config `yaml:"kubernetes"`
	// Logs are the lines: of files, of the journal, and what others send.
	Logs Logs `yaml:"logs"`
}

// Logs is the section collect.logs.
type Logs struct {
	tail.Config `yaml:",inline"`
	// Journald is systemd's journal.
	Journald journald.Config `yaml:"journald"`
	// Syslog are places to listen at for syslog.
	Syslog []syslog.Config `yaml:"syslog"`
	// Forward is a place to listen at for Fluentd and Fluent Bit.
	Forward forward.Config `yaml:"forward"`
}

// Check returns every complaint about the section.
func (l Logs) Check() error {
	errs := []error{l.Config.Check(), under("journald", l.Journald.Check()), under("forward", l.Forward.Check())}
	for i, c := range l.Syslog {
		errs = append(errs, under(fmt.Sprintf("syslog[%d]", i), c.Check()))
	}
	return errors.Join(errs...)
}

// defaultCollect returns what an empty section collect means.
func defaultCollect() Collect {
	return Collect{
		Host: host.Default(), Containers: container.Default(), Prometheus: prom.Default(), StatsD: statsd.Default(), OTLP: otlp.Default(),
		Kubernetes: kube.Default(), Logs: Logs{Config: tail.Default(), Journald: journald.Default(), Forward: forward.Default()},
	}
}

// check returns every complaint about the section collect.
func (c Collect) check() error {
	return errors.Join(
		under("host", c.Host.Check()),
		under("containers", c.Containers.Check()),
		under("prometheus", c.Prometheus.Check()),
		c.Probes.Check(), // its complaints begin with probes[i]
		under("statsd", c.StatsD.Check()),
		under("otlp", c.OTLP.Check()),
		under("kubernetes", c.Kubernetes.Check()),
		under("logs", c.Logs.Check()),
	)
}

// vendors lists the types of destinations.
func vendors() []string {
	return []string{"datadog", "googlecloud", "influxdb", "newrelic", "stackdriver", "stdout"}
}

// newDestination returns the defaults of a destination of the given type.
func newDestination(typ string) Destination {
	d := Destination{Type: typ}
	switch typ {
	case "datadog":
		d.Datadog = datadog.Default()
	case "googlecloud", "stackdriver":
		d.Google = google.Default()
	case "influxdb":
		d.Influx = influx.Default()
	case "newrelic":
		d.NewRelic = newrelic.Default()
	case "stdout":
		d.Stdout = stdout.Default()
	}
	return d
}

// room returns the Config that d.Type chooses, nil for an unknown type.
func (d *Destination) room() any {
	switch d.Type {
	case "datadog":
		return &d.Datadog
	case "googlecloud", "stackdriver": // its name until 2020, by which many still know it
		return &d.Google
	case "influxdb":
		return &d.Influx
	case "newrelic":
		return &d.NewRelic
	case "stdout":
		return &d.Stdout
	}
	return nil
}

// roomType returns the type of the Config that a destination's type chooses, nil
// for an unknown one.
func roomType(typ string) reflect.Type {
	room := (&Destination{Type: typ}).room()
	if room == nil {
		return nil
	}
	return reflect.TypeOf(room).Elem()
}

// checkRoom returns every complaint of the room that d.Type chooses.
func (d Destination) checkRoom() error {
	return d.room().(interface{ Check() error }).Check()
}
