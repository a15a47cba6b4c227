// Sends records as @fluent-org/logger does: client.js PORT MODE KEY COUNT
const { FluentClient } = require('@fluent-org/logger');
const [port, mode, key, count] = process.argv.slice(2);
const options = {
  eventMode: mode, ack: {}, socket: { host: '127.0.0.1', port: Number(port) },
  milliseconds: true, eventRetry: {}, sendQueueIntervalLimit: 10,
};
if (key) options.security = { clientHostname: 'peer', sharedKey: key };
const logger = new FluentClient('peer', options);
(async () => {
  const sent = [];
  for (let i = 0; i < Number(count); i++) sent.push(logger.emit('a', { message: `message ${i}`, level: 'warn', n: i }));
  await Promise.all(sent);
  await logger.shutdown();
})().catch((e) => { console.error(e); process.exit(1); });
