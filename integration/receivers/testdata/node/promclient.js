// An application measured with prom-client; it prints its port and serves its page.
// Each time the page is asked for, one more round has been counted.
'use strict';
const http = require('http');
const prom = require('prom-client');

const type = process.argv[2] === 'openmetrics' ? prom.Registry.OPENMETRICS_CONTENT_TYPE : prom.Registry.PROMETHEUS_CONTENT_TYPE;
const register = new prom.Registry(type);
const registers = [register];
const orders = new prom.Counter({ name: 'orders_total', help: 'Orders "placed"\nsince the start.', labelNames: ['route'], registers });
const temperature = new prom.Gauge({ name: 'temperature', help: 'Of a room.', labelNames: ['room'], registers });
const time = new prom.Histogram({ name: 'time_ms', help: 'Per order.', labelNames: ['route'], buckets: [10, 50, 100, 500], registers });
const size = new prom.Summary({ name: 'size_bytes', help: 'Of orders.', percentiles: [0.5, 0.95], registers });
prom.collectDefaultMetrics({ register });

temperature.set({ room: 'a "cellar" \\ with\na break' }, 21.5);
temperature.set({ room: 'roof' }, -3.25);
orders.inc({ route: '/buy' }, 1000);

http.createServer(async (req, res) => {
  for (let i = 1; i <= 100; i++) {
    orders.inc({ route: '/buy' });
    time.observe({ route: '/buy' }, i);
    size.observe(i * 1000);
  }
  res.setHeader('Content-Type', register.contentType);
  res.end(await register.metrics());
}).listen(0, '127.0.0.1', function () { console.log('port', this.address().port); });
