import type { Syscalls } from '@soci/linux';

/** The calls that may reach a mount of ours and therefore never run on the main thread or in libuv's pool. */
export type FileSystemCalls = Pick<Syscalls, 'stat' | 'diskUsage' | 'removeTree' | 'mountsNaming'>;
