// A service that answers after 600 to 1200 ms and measures itself with hot-shots and OpenTelemetry.
// It prints its port; SIGTERM makes it say what it has and end.
// node service.js STATSD-PORT OTLP-HTTP-HOST:PORT
'use strict';
const http = require('http');
const StatsD = require('hot-shots');
const { MeterProvider, PeriodicExportingMetricReader, AggregationTemporality, AggregationType } = require('@opentelemetry/sdk-metrics');
const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-proto');

const statsd = new StatsD({ host: '127.0.0.1', port: Number(process.argv[2]), maxBufferSize: 1400, bufferFlushInterval: 100 });
const meters = new MeterProvider({
  readers: [new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter({ url: `http://${process.argv[3]}/v1/metrics`, temporalityPreference: AggregationTemporality.DELTA }),
    exportIntervalMillis: 3600e3,
  })],
  views: [{ instrumentName: 'service.otel', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
});
const duration = meters.getMeter('service').createHistogram('service.otel', { unit: 'ms' });

let n = 0;
const server = http.createServer((req, res) => {
  const began = process.hrtime.bigint();
  // The golden ratio's multiples fill an interval evenly, however many there are.
  setTimeout(() => res.end('done\n'), 600 + 600 * ((n++ * 0.6180339887498949) % 1));
  res.on('finish', () => {
    const ms = Number(process.hrtime.bigint() - began) / 1e6;
    statsd.timing('service.statsd', ms);
    statsd.increment('service.requests', { status: res.statusCode });
    duration.record(ms);
  });
});
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
process.on('SIGTERM', async () => {
  await meters.shutdown();
  statsd.close(() => process.exit(0));
});
