import { collectLogs } from '@soci/log';
import { LayerStore } from '../layer-store.ts';
import { SpanPool } from '../span-pool.ts';
import { fakeLayer } from './fake-layer.ts';

/** Fills a layer until it is killed; prints each span that was stored, and `flushed` after every tenth when they are on disk. Arguments: store folder, spans, bytes a span. */
const [root = '', spanCount = '0', spanBytes = '0'] = process.argv.slice(2);
const store = await LayerStore.open({ root, log: collectLogs().log, flushMs: 50 });
const { key, bytes } = await fakeLayer(store, Number(spanCount), Number(spanBytes));
const layer = await store.openLayer(key);
const pool = new SpanPool();
pool.open(layer);
console.log(key);
for (let i = 0; i < layer.index.spanCount; i++) {
  const span = (i * 7) % layer.index.spanCount;
  const start = layer.index.startBytes[span] ?? 0;
  layer.stored(span, await pool.storePlain(layer, span, new Uint8Array(bytes.slice(start, layer.index.startBytes[span + 1]))));
  layer.announce(span);
  console.log(span);
  if (i % 10 === 9) await layer.flush();
  if (i % 10 === 9) console.log('flushed');
}
setInterval(() => undefined, 1000);
