// Command otelgo is an application measured with OpenTelemetry's SDK for Go: it
// counts, measures and logs what the test knows, once, and ends.
//
//	otelgo grpc|http HOST:PORT delta|cumulative SERVICE
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

func main() {
	// The SDK retries by itself and tells only its error handler.
	failed := false
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		fmt.Fprintln(os.Stderr, err)
		failed = true
	}))
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		failed = true
	}
	if failed {
		os.Exit(1)
	}
}

func run(ctx context.Context, transport, to, temporality, service string) error {
	metrics, logs, err := exporters(ctx, transport, to, temporality)
	if err != nil {
		return err
	}
	about := resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.version", "1.2.3"),
		attribute.String("deployment.environment.name", "prod"))
	// The histogram exp gets exponential buckets, time the SDK's own.
	view := sdk.NewView(sdk.Instrument{Name: "exp"}, sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})
	reader := sdk.NewPeriodicReader(metrics)
	meters := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithResource(about), sdk.WithView(view))
	loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)), sdklog.WithResource(about))

	m := meters.Meter("shop")
	orders, err1 := m.Int64Counter("orders")
	open, err2 := m.Int64UpDownCounter("open")
	load, err3 := m.Float64Gauge("load")
	latency, err4 := m.Float64Histogram("time", metric.WithUnit("ms"))
	exp, err5 := m.Float64Histogram("exp", metric.WithUnit("ms"))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	logger := loggers.Logger("shop")
	route := metric.WithAttributes(attribute.String("route", "/buy"))
	// Twice: what is cumulative has an increase only from its second export on.
	for range 2 {
		for i := range 100 {
			orders.Add(ctx, int64(1+i%3), route)
			latency.Record(ctx, float64(i+1), route)
			exp.Record(ctx, float64(i+1), route)
			var r log.Record
			r.SetSeverity(log.SeverityWarn)
			r.SetBody(attribute.StringValue(fmt.Sprintf("order %d", i)))
			r.AddAttributes(attribute.Int("amount", i))
			logger.Emit(ctx, r)
		}
		open.Add(ctx, 7, route)
		open.Add(ctx, -3, route)
		load.Record(ctx, 0.75, route)
		if err := meters.ForceFlush(ctx); err != nil {
			return err
		}
		if err := loggers.ForceFlush(ctx); err != nil {
			return err
		}
		time.Sleep(5100 * time.Millisecond) // Google takes a point every five seconds, the agent a reading of a total every second
	}
	return errors.Join(meters.Shutdown(ctx), loggers.Shutdown(ctx))
}

func exporters(ctx context.Context, transport, to, temporality string) (sdk.Exporter, sdklog.Exporter, error) {
	choose := sdk.DefaultTemporalitySelector
	if temporality == "delta" {
		choose = func(sdk.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }
	}
	if transport == "grpc" {
		m, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(to), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithCompressor("gzip"),
			otlpmetricgrpc.WithTemporalitySelector(choose))
		if err != nil {
			return nil, nil, err
		}
		l, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(to), otlploggrpc.WithInsecure())
		return m, l, err
	}
	m, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpoint(to), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithTemporalitySelector(choose))
	if err != nil {
		return nil, nil, err
	}
	l, err := otlploghttp.New(ctx, otlploghttp.WithEndpoint(to), otlploghttp.WithInsecure())
	return m, l, err
}
