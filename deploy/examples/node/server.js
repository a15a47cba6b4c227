// A shop that sells one thing. Every order is counted and timed in three ways, each with its own library, so that what
// becomes of them can be compared: a page for Prometheus, DogStatsD packets, and OTLP. Plain node:http, nothing else.
'use strict';

const http = require('node:http');
const prom = require('prom-client');
const { StatsD } = require('hot-shots');
const { MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-proto');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const agent = process.env.AGENT_HOST || '127.0.0.1';
const port = Number(process.env.PORT || 8080);
const service = 'shop';

// 1. Prometheus: the agent fetches GET /metrics, which the pod's annotations announce.
const registry = new prom.Registry();
prom.collectDefaultMetrics({ register: registry }); // nodejs_*, process_*
const promOrders = new prom.Counter({ name: 'shop_orders_total', help: 'Orders taken.', labelNames: ['status'], registers: [registry] });
const promSeconds = new prom.Histogram({
  name: 'shop_order_duration_seconds', help: 'Time to take an order.', labelNames: ['status'],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1], registers: [registry],
});

// 2. DogStatsD: a packet now and then, to port 8125.
const dogstatsd = new StatsD({
  host: agent, port: 8125, globalTags: { service }, maxBufferSize: 1400, bufferFlushInterval: 1000,
  errorHandler: (err) => log('warn', 'statsd', { error: err.message }), // an agent that is away is no reason to stop
});

// 3. OTLP: the SDK sums, and sends every ten seconds to port 4318.
const meters = new MeterProvider({
  resource: resourceFromAttributes({ 'service.name': service, 'service.version': '1.0.0', 'k8s.pod.uid': process.env.POD_UID }),
  readers: [new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter({ url: `http://${agent}:4318/v1/metrics` }), exportIntervalMillis: 10_000,
  })],
});
const meter = meters.getMeter('shop');
const otelOrders = meter.createCounter('shop.otel.orders', { unit: '{order}', description: 'Orders taken.' });
const otelSeconds = meter.createHistogram('shop.otel.order.duration', {
  unit: 's', description: 'Time to take an order.',
  advice: { explicitBucketBoundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1] }, // its default is for milliseconds
});

function measure(status, seconds) {
  promOrders.inc({ status });
  promSeconds.observe({ status }, seconds);
  dogstatsd.increment('shop.dog.orders', { status });
  dogstatsd.distribution('shop.dog.order.duration', seconds, { status });
  otelOrders.add(1, { status });
  otelSeconds.record(seconds, { status });
}

// The log is lines of JSON on stdout; the agent reads them from the node's files.
function log(level, message, more) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...more })}\n`);
}

const server = http.createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/metrics') {
    response.setHeader('Content-Type', registry.contentType);
    response.end(await registry.metrics());
  } else if (path === '/order') {
    const began = process.hrtime.bigint();
    setTimeout(() => {
      const status = Math.random() < 0.05 ? 'failed' : 'ok';
      const seconds = Number(process.hrtime.bigint() - began) / 1e9;
      measure(status, seconds);
      log(status === 'ok' ? 'info' : 'error', 'order', { status, seconds });
      response.statusCode = status === 'ok' ? 200 : 503;
      response.end(`${status}\n`);
    }, Math.random() * 100);
  } else if (path === '/healthz') {
    response.end('ok\n');
  } else {
    response.statusCode = 404;
    response.end('GET /order, /metrics or /healthz\n');
  }
});

server.listen(port, () => log('info', 'listening', { port, agent }));

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  server.close();
  await meters.shutdown().catch((err) => log('warn', 'otlp', { error: err.message })); // sends what there is
  dogstatsd.close(() => process.exit(0));
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
