import { fileURLToPath } from 'node:url';
import { keep } from '@soci/fuse/keeper';

/** Memory before speed where nobody notices: a small young generation, one thread beside the main one for collections and compilation, no copy of the built-in code for each thread. */
const SMALL = ['--max-semi-space-size=2', '--v8-pool-size=1', '--no-short-builtin-calls'];
/** For `returnMemoryWhenIdle`. */
const COLLECTABLE = ['--expose-gc'];

// The parent of the service: it holds what outlives a service that is killed, the FUSE device among it. The service itself is another script, so that none of its
// packages is loaded here.
await keep({
  main: fileURLToPath(new URL('./service.js', import.meta.url)),
  args: process.argv.slice(2),
  title: 'soci-snapshotter-grpc',
  nodeArguments: ['--disable-sigusr1', ...SMALL, ...COLLECTABLE],
});
