import { fileURLToPath } from 'node:url';
import { keep } from '@soci/fuse/keeper';

// The parent of the service: it holds what outlives a service that is killed, the FUSE device among it. The service itself is another script, so that none of its
// packages is loaded here.
await keep({
  main: fileURLToPath(new URL('./service.js', import.meta.url)),
  args: process.argv.slice(2),
  title: 'soci-snapshotter-grpc',
});
