import { fileURLToPath } from 'node:url';
import { launch } from '@soci/fuse/launcher';

// The parent of the service: it holds the FUSE device and nothing else. The service itself is another script, so that none of its packages is loaded here.
await launch({
  main: fileURLToPath(new URL('./service.js', import.meta.url)),
  args: process.argv.slice(2),
  title: 'soci-snapshotter',
});
