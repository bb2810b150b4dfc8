import { isMainThread } from 'node:worker_threads';

// Loaded into every process of a snapshotter: its service then serves as on a kernel that cannot send requests again (before 6.9).
if (isMainThread && process.argv[1]?.endsWith('/service.js')) {
  const { FlatFuse } = await import('@soci/fuse');
  const serve = FlatFuse.serve.bind(FlatFuse);
  FlatFuse.serve = (options) => serve({ ...options, mayResend: false });
}
