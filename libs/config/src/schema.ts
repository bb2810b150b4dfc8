import { z } from 'zod';

/** An integer for which 0 stands for the default, as the Go snapshotter has it. */
const orDefault = (value: number) =>
  z
    .int()
    .default(value)
    .transform((given) => (given === 0 ? value : given));
/** What a timer can wait at most: 24 days. */
const MAX_TIMER_MS = 2_000_000_000;
/** As `orDefault`, from 0 to `max`. */
const upTo = (max: number) => (value: number) =>
  z
    .int()
    .min(0)
    .max(max)
    .default(value)
    .transform((given) => (given === 0 ? value : given));
const milliseconds = upTo(MAX_TIMER_MS);
const seconds = upTo(MAX_TIMER_MS / 1_000);
const flag = (value: boolean) => z.boolean().default(value);
const text = (value: string) => z.string().default(value);
const int = (value: number) => z.int().default(value);

const mirror = z.object({
  host: z.string(),
  insecure: flag(false),
  request_timeout_sec: int(0),
  credentials: z.enum(['mirror', 'origin']).default('mirror'),
});
const decompressor = z.object({ path: z.string(), args: z.array(z.string()).default([]) });

const http = z.object({
  DialTimeoutMsec: milliseconds(3_000),
  ResponseHeaderTimeoutMsec: milliseconds(3_000),
  RequestTimeoutMsec: milliseconds(300_000),
  MaxRetries: orDefault(8),
  MinWaitMsec: milliseconds(30),
  MaxWaitMsec: milliseconds(300_000),
});

const blob = z.object({
  valid_interval: seconds(60),
  fetching_timeout_sec: seconds(300),
  max_retries: orDefault(8),
  min_wait_msec: milliseconds(30),
  max_wait_msec: milliseconds(300_000),
  check_always: flag(false),
  force_single_range_mode: flag(false),
  max_span_verification_retries: int(0).transform((given) => (given < 0 ? 3 : given)),
  read_timeout_sec: seconds(30),
});

const parallelPull = z.object({
  max_concurrent_downloads: int(-1),
  max_concurrent_downloads_per_image: int(3),
  concurrent_download_chunk_size: text(''),
  max_concurrent_unpacks: int(-1),
  max_concurrent_unpacks_per_image: int(1),
  discard_unpacked_layers: flag(false),
  enable: flag(false),
  experimental_parallel_pull_as_fallback: flag(false),
  decompress_streams: z.record(z.string(), decompressor).optional(),
});

/** The keys of config.toml by table, in the order in which they are printed. The first group are those of the Go snapshotter; ours are `[blob] read_timeout_sec`, `[kubeconfig_keychain] namespaces`, `[resolver] config_path` and `trusted_realms`, a mirror's `credentials` and the tables from `[credentials]` on. */
export const configSchema = z.object({
  http_cache_type: text(''),
  filesystem_cache_type: text(''),
  resolve_result_entry: int(0),
  debug: flag(false),
  disable_verification: flag(false),
  max_concurrency: orDefault(100),
  mount_timeout_sec: seconds(30),
  fuse_metrics_emit_wait_duration_sec: seconds(60),
  metrics_address: text(''),
  metrics_network: text('tcp'),
  no_prometheus: flag(false),
  debug_address: text(''),
  metadata_store: z.enum(['db', 'db-multi', '']).default('db'),
  metadata_db_no_sync: flag(false),
  metadata_insertion_chunk_size: int(0),
  skip_check_snapshotter_supported: flag(false),
  http: http.prefault({}),
  blob: blob.prefault({}),
  directory_cache: z.object({ max_lru_cache_entry: int(0), max_cache_fds: int(0), sync_add: flag(false), direct: flag(true) }).prefault({}),
  fuse: z
    .object({ attr_timeout: seconds(1), entry_timeout: seconds(1), negative_timeout: seconds(1), log_fuse_operations: flag(false) })
    .prefault({}),
  background_fetch: z
    .object({
      disable: flag(false),
      silence_period_msec: milliseconds(30_000),
      fetch_period_msec: milliseconds(500),
      max_queue_size: orDefault(300),
      drop_policy: z.enum(['newest', 'oldest']).default('newest'),
      emit_metric_period_sec: seconds(10),
    })
    .prefault({}),
  content_store: z
    .object({
      type: z
        .enum(['soci', 'containerd', ''])
        .default('soci')
        .transform((given) => (given === '' ? 'soci' : given)),
      containerd_address: text('/run/containerd/containerd.sock').transform((given) => given.replace(/^unix:\/\//, '')),
    })
    .prefault({}),
  prefetch: z.object({ enable: flag(false), max_concurrency: int(0).transform((given) => Math.max(given, 0)) }).prefault({}),
  pull_modes: z
    .object({
      soci_v1: z.object({ enable: flag(false) }).prefault({}),
      soci_v2: z.object({ enable: flag(true) }).prefault({}),
      parallel_pull_unpack: parallelPull.prefault({}),
    })
    .prefault({}),
  kubeconfig_keychain: z
    .object({ enable_keychain: flag(false), kubeconfig_path: text(''), namespaces: z.array(z.string()).default([]) })
    .prefault({}),
  cri_keychain: z.object({ enable_keychain: flag(false), image_service_path: text('/run/containerd/containerd.sock') }).prefault({}),
  resolver: z
    .object({
      auth_client_ttl_sec: orDefault(3_600),
      enable_auth_client_sharing: flag(false),
      config_path: text('/etc/containerd/certs.d'),
      trusted_realms: z.array(z.string().toLowerCase()).default([]),
      host: z.record(z.string(), z.object({ mirrors: z.array(mirror).default([]) })).optional(),
    })
    .prefault({}),
  snapshotter: z.object({ min_layer_size: int(0), allow_invalid_mounts_on_restart: flag(false) }).prefault({}),
  credentials: z.object({ isolation: z.enum(['node', 'namespace']).default('node') }).prefault({}),
  credential_plugins: z.object({ config_path: text(''), bin_dir: text('') }).prefault({}),
  admin: z.object({ address: text('/run/soci-snapshotter-grpc/admin.sock') }).prefault({}),
  registry_fetcher: z.object({ address: text('/run/soci-snapshotter-grpc/registry-fetcher.sock') }).prefault({}),
  bus: z
    .object({
      servers: z.array(z.string().regex(/^tls:\/\/[^/@?#]+$/, 'expected tls://HOST:PORT')).default([]),
      keys_dir: text('/etc/soci-snapshotter-grpc/bus'),
      request_timeout_msec: milliseconds(2_000),
    })
    .prefault({}),
});

/** A parsed config.toml, spelled as the file spells it. */
export type ConfigFile = z.output<typeof configSchema>;

/** What the reference takes and this program does not act on. A file that sets one of them is told so once. */
export const KEYS_WITHOUT_EFFECT: ReadonlyMap<string, string> = new Map([
  ['http_cache_type', 'the Go snapshotter ignores it too'],
  ['filesystem_cache_type', 'layer data is kept in one file a layer'],
  ['resolve_result_entry', 'layers are kept for as long as a snapshot uses them'],
  ['disable_verification', 'tar headers are always compared with the zTOC'],
  ['max_concurrency', 'layers are prepared as an image is pulled, their zTOCs fetched eight at a time'],
  ['fuse_metrics_emit_wait_duration_sec', 'names are served by the kernel, so there are no operation counts'],
  ['debug', 'use --log-level trace'],
  ['debug_address', 'there is no Go profiler to serve'],
  ['metadata_store', 'metadata is an EROFS image a layer'],
  ['metadata_db_no_sync', 'metadata is an EROFS image a layer'],
  ['metadata_insertion_chunk_size', 'metadata is an EROFS image a layer'],
  ['blob.valid_interval', 'a blob is asked for when it is needed'],
  ['blob.check_always', 'a blob is asked for when it is needed'],
  ['blob.force_single_range_mode', 'every request carries one range'],
  ['directory_cache.max_lru_cache_entry', 'the Go snapshotter ignores it too'],
  ['directory_cache.max_cache_fds', 'the Go snapshotter ignores it too'],
  ['directory_cache.sync_add', 'the Go snapshotter ignores it too'],
  ['directory_cache.direct', 'the Go snapshotter ignores it too'],
  ['fuse.attr_timeout', 'names are served by the kernel'],
  ['fuse.entry_timeout', 'names are served by the kernel'],
  ['fuse.negative_timeout', 'names are served by the kernel'],
  ['fuse.log_fuse_operations', 'names are served by the kernel'],
  ['background_fetch.emit_metric_period_sec', 'the queue is measured when it is asked for'],
  ['prefetch.max_concurrency', 'prefetched spans share the bounds of read-ahead'],
  ['pull_modes.parallel_pull_unpack', 'not built yet'],
  ['resolver.auth_client_ttl_sec', 'tokens live as long as their issuer says'],
  ['resolver.enable_auth_client_sharing', 'tokens are shared by the credential they were made from'],
  ['snapshotter.min_layer_size', 'no layer of an image with an index is left to the container runtime'],
  ['snapshotter.allow_invalid_mounts_on_restart', 'a snapshot that cannot be restored is always kept and tried again on use'],
]);
