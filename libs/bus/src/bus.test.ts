import { collectLogs } from '@soci/log';
import { freePort, Nats } from '@soci/testing';
import { InProcessBus } from './in-process-bus.ts';
import { busConformance, type Ends } from './testing/conformance.ts';
import { connected, Deployed } from './testing/deployed.ts';

busConformance('in process', () => {
  const bus = new InProcessBus();
  return Promise.resolve({ asker: bus, answerer: bus, node: 'local', [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose]() });
});

busConformance('NATS with TLS and nkeys', async (): Promise<Ends> => {
  const resources = new AsyncDisposableStack();
  const deployed = resources.use(await Deployed.make(await freePort()));
  resources.use(await Nats.start(deployed.server));
  const { log } = collectLogs();
  const asker = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
  const answerer = resources.use(deployed.bus('cri-proxy', 'node-x', log));
  await connected(asker, answerer);
  return { asker, answerer, node: 'node-x', [Symbol.asyncDispose]: () => resources.disposeAsync() };
});
