// Command collector is an OpenTelemetry Collector: the official one, with the
// OTLP receiver, the two OTLP exporters, and one more exporter, lines, which
// writes what arrives as OTLP JSON, one request a line.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	lines := component.MustNewType("lines")
	linesFactory := exporter.NewFactory(lines, func() component.Config { return &file{} },
		exporter.WithMetrics(newMetrics, component.StabilityLevelDevelopment),
		exporter.WithLogs(newLogs, component.StabilityLevelDevelopment))
	receiverFactory, grpc, http := otlpreceiver.NewFactory(), otlpexporter.NewFactory(), otlphttpexporter.NewFactory()
	cmd := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "collector", Version: "test"},
		Factories: func() (otelcol.Factories, error) {
			return otelcol.Factories{
				Telemetry: otelconftelemetry.NewFactory(),
				Receivers: map[component.Type]receiver.Factory{receiverFactory.Type(): receiverFactory},
				Exporters: map[component.Type]exporter.Factory{lines: linesFactory, grpc.Type(): grpc, http.Type(): http},
			}, nil
		},
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()}, DefaultScheme: "file",
		}},
	})
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// file is the configuration of the exporter lines, and the file it writes.
type file struct {
	Path string `mapstructure:"path"`

	mu sync.Mutex
}

func (f *file) append(p []byte, err error) error {
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Write(append(p, '\n'))
	return err
}

func newMetrics(ctx context.Context, set exporter.Settings, c component.Config) (exporter.Metrics, error) {
	f := c.(*file)
	return exporterhelper.NewMetrics(ctx, set, c, func(_ context.Context, m pmetric.Metrics) error {
		return f.append((&pmetric.JSONMarshaler{}).MarshalMetrics(m))
	})
}

func newLogs(ctx context.Context, set exporter.Settings, c component.Config) (exporter.Logs, error) {
	f := c.(*file)
	return exporterhelper.NewLogs(ctx, set, c, func(_ context.Context, l plog.Logs) error {
		return f.append((&plog.JSONMarshaler{}).MarshalLogs(l))
	})
}
