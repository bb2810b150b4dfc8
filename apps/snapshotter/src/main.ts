import { fileURLToPath } from 'node:url';
import { keep } from '@soci/fuse/keeper';

// The keeper: it holds the FUSE device and what else outlives the service, and starts the service. The service itself is another script, so that none of its packages is loaded here.
await keep({
  main: fileURLToPath(new URL('./service.js', import.meta.url)),
  args: process.argv.slice(2),
  title: 'soci-snapshotter',
  nodeArguments: ['--disable-sigusr1'],
});
