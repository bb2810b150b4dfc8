import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Owner } from '@soci/bus/deployment';
import { UsageError } from './command.ts';

const run = promisify(execFile);

/** @param users by service: a name of a user, or `UID:GID` */
export async function findOwners(users: Readonly<Record<string, string>>): Promise<Record<string, Owner>> {
  const found = Object.entries(users).map(async ([member, user]) => [member, await findOwner(user)] as const);
  return Object.fromEntries(await Promise.all(found));
}

async function findOwner(user: string): Promise<Owner> {
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(user) ?? [];
  if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  try {
    const [own, group] = await Promise.all(['-u', '-g'].map(async (which) => Number((await run('id', [which, '--', user])).stdout)));
    if (own === undefined || group === undefined) throw new Error('id said nothing');
    return { uid: own, gid: group };
  } catch (cause) {
    throw new UsageError(`no user ${user}`, { cause });
  }
}
