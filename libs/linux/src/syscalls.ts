import type { DiskUsage } from './disk-usage.ts';
import type { MountRequest } from './libc.ts';
import type { MountInfo } from './mountinfo.ts';
import type { FilesystemStat, FileStat } from './operations.ts';
import { SyscallThread, type CallOptions } from './syscall-thread.ts';

const WALK_DEADLINE_MS = 300_000;

/** The system calls that may reach a mount of ours, for code on the main thread. Every method: `LinuxError` as `SyscallThread.run` says. */
export class Syscalls implements AsyncDisposable {
  readonly #calls = new SyscallThread();
  /** Walks of whole trees have a thread of their own: a mount does not wait for a hundred thousand files. */
  readonly #walks = new SyscallThread();

  /** Threads that sit in a call whose deadline is over: with any of them the process has to end by `exitNow`. */
  get stuckThreads(): number {
    return this.#calls.stuckThreads + this.#walks.stuckThreads;
  }

  /** mount(2). */
  async mount(request: MountRequest, options?: CallOptions): Promise<void> {
    await this.#calls.run('mount', [request], options);
  }

  /** umount2(2) with `UMOUNT_FLAGS`. `EINVAL` when nothing is mounted there. */
  async umount(target: string, flags = 0, options?: CallOptions): Promise<void> {
    await this.#calls.run('umount', [target, flags], options);
  }

  /** Shows `source` at `target` too; the filesystem under it is the same. Not recursive. */
  async bindMount(
    source: string,
    target: string,
    { readOnly = false, ...options }: CallOptions & { readonly readOnly?: boolean } = {},
  ): Promise<void> {
    await this.#calls.run('bindMount', [source, target, readOnly], options);
  }

  /** The mounts that name this path or one below it: as their mount point, their source or in their options. In the order in which they were made. */
  async mountsNaming(path: string, options?: CallOptions): Promise<MountInfo[]> {
    return await this.#calls.run('mountsNaming', [path], options);
  }

  /** Distinct inodes and their allocated bytes; mounts below `path` are not counted. */
  async diskUsage(path: string, options?: CallOptions): Promise<DiskUsage> {
    return await this.#walks.run('diskUsage', [path], { deadlineMs: WALK_DEADLINE_MS, ...options });
  }

  /** Removes a tree and never crosses a mount: `EBUSY`, and nothing removed, when there is one at `path` or below. A missing path is no error. */
  async removeTree(path: string, options?: CallOptions): Promise<void> {
    await this.#walks.run('removeTree', [path], { deadlineMs: WALK_DEADLINE_MS, ...options });
  }

  /** Whether there is a directory entry; a dangling symbolic link is one. */
  async pathExists(path: string, options?: CallOptions): Promise<boolean> {
    return await this.#calls.run('pathExists', [path], options);
  }

  /** Follows symbolic links. `undefined` when it is not there. */
  async stat(path: string, options?: CallOptions): Promise<FileStat | undefined> {
    return await this.#calls.run('stat', [path], options);
  }

  /** Does not follow symbolic links. `undefined` when it is not there. */
  async lstat(path: string, options?: CallOptions): Promise<FileStat | undefined> {
    return await this.#calls.run('lstat', [path], options);
  }

  async statfs(path: string, options?: CallOptions): Promise<FilesystemStat> {
    return await this.#calls.run('statfs', [path], options);
  }

  async lchown(path: string, uid: number, gid: number, options?: CallOptions): Promise<void> {
    await this.#calls.run('lchown', [path, uid, gid], options);
  }

  /** Makes a directory and those above it; one that is there already is no error. */
  async makeDirectory(path: string, mode = 0o755, options?: CallOptions): Promise<void> {
    await this.#calls.run('makeDirectory', [path, mode], options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#calls[Symbol.asyncDispose](), this.#walks[Symbol.asyncDispose]()]);
  }
}
