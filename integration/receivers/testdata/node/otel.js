// An application measured with OpenTelemetry's SDK for Node.js: what the test knows, once.
// node otel.js grpc|proto|json HOST:PORT delta|cumulative SERVICE
'use strict';
const { MeterProvider, PeriodicExportingMetricReader, AggregationTemporality, AggregationType } = require('@opentelemetry/sdk-metrics');
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { diag, DiagLogLevel } = require('@opentelemetry/api');

const [transport, to, temporality, service] = process.argv.slice(2);
diag.setLogger({ error: fail, warn: fail, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN);
function fail(...words) { console.error(...words); process.exitCode = 1; }

const temporalityPreference = temporality === 'delta' ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE;
const pkg = { grpc: 'grpc', proto: 'proto', json: 'http' }[transport];
const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-' + pkg);
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-' + pkg);
const at = (what) => ({ url: transport === 'grpc' ? 'http://' + to : `http://${to}/v1/${what}`, compression: 'gzip', temporalityPreference });

const resource = resourceFromAttributes({ 'service.name': service, 'service.version': '1.2.3', 'deployment.environment.name': 'prod' });
const meters = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(at('metrics')), exportIntervalMillis: 3600e3 })],
  views: [{ instrumentName: 'exp', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
});
const loggers = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(at('logs')) })] });

const m = meters.getMeter('shop');
const orders = m.createCounter('orders'), open = m.createUpDownCounter('open'), load = m.createGauge('load');
const time = m.createHistogram('time', { unit: 'ms' }), exp = m.createHistogram('exp', { unit: 'ms' });
const logger = loggers.getLogger('shop');
const route = { route: '/buy' };

(async () => {
  // Twice: what is cumulative has an increase only from its second export on.
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 100; i++) {
      orders.add(1 + i % 3, route);
      time.record(i + 1, route);
      exp.record(i + 1, route);
      logger.emit({ severityNumber: SeverityNumber.WARN, body: 'order ' + i, attributes: { amount: i } });
    }
    open.add(7, route);
    open.add(-3, route);
    load.record(0.75, route);
    await meters.forceFlush();
    await loggers.forceFlush();
    await new Promise((done) => setTimeout(done, 5100)); // Google takes a point every five seconds, the agent a reading of a total every second
  }
  await meters.shutdown();
  await loggers.shutdown();
})().catch(fail);
