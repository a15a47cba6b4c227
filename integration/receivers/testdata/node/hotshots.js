// An application measured with hot-shots, StatsD's client: what the test knows, once.
// node hotshots.js PORT
'use strict';
const StatsD = require('hot-shots');

const c = new StatsD({
  host: '127.0.0.1', port: Number(process.argv[2]), prefix: 'node.', globalTags: { env: 'prod', version: '1.2.3' },
  maxBufferSize: 1400, errorHandler: (err) => { console.error(err); process.exitCode = 1; },
});
for (let i = 0; i < 100; i++) {
  c.increment('orders', 1 + i % 3, { route: '/buy' });
  c.timing('time', i + 1, { route: '/buy' });
  c.histogram('size', (i + 1) * 1000, { route: '/buy' });
  c.distribution('wait', (i + 1) / 8, { route: '/buy' });
}
c.decrement('stock', 5);
c.gauge('temperature', 21.5, { room: 'cellar' });
c.gauge('temperature', -3.25, { room: 'roof' });
for (const user of ['anna', 'bert', 'anna', 'carl']) c.set('users', user);
c.event('deployed', 'version 1.2.3\nis out', { alert_type: 'success' }, { route: '/buy' });
c.check('database', c.CHECKS.WARNING, { message: 'slow' }, { route: '/buy' });
c.close();
