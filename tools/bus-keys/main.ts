import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Deployment, DeploymentError, expiryOf, permissionsOf } from '@soci/bus/deployment';
import { describeError } from '@soci/errors';
import { parseInvocation, USAGE, UsageError, type Invocation } from './command.ts';
import { findOwners } from './owners.ts';

async function main({ directory, command, signal, settleMs }: Invocation): Promise<void> {
  const reload = async (): Promise<void> => {
    if (signal !== undefined) process.kill(await processOf(signal), 'SIGHUP');
  };
  const settle = async (): Promise<void> => {
    await reload();
    await sleep(settleMs);
  };
  if (command.kind === 'init') {
    const { topology, nodes, hosts, listen, monitor, owners, natsPath } = command;
    const deployment = await Deployment.create({
      path: directory,
      topology,
      nodes,
      hosts,
      listen,
      monitor,
      owners: await findOwners(owners),
      ...(natsPath === undefined ? {} : { natsPath }),
    });
    say(`${deployment.path}: keys of ${deployment.nodes.join(', ') || 'no node yet'}`);
    return;
  }
  const deployment = await Deployment.open(directory);
  switch (command.kind) {
    case 'add-node':
      await deployment.addNode(command.node);
      await reload();
      say(`${deployment.path}: node ${command.node} may come in`);
      return;
    case 'remove-node':
      await deployment.removeNode(command.node);
      await reload();
      say(`${deployment.path}: node ${command.node} may not come in any more`);
      return;
    case 'rotate':
      switch (command.step) {
        case 'begin':
          await deployment.announceKeys(command.scope);
          await settle();
          await deployment.useKeys();
          break;
        case 'announce':
          await deployment.announceKeys(command.scope);
          await reload();
          break;
        case 'use':
          await deployment.useKeys();
          break;
        case 'finish':
          await deployment.finishRotation(settle);
          await reload();
          break;
      }
      say(`${deployment.path}: ${command.step === 'finish' ? 'the old keys are no good any more' : 'both old and new keys are good'}`);
      return;
    case 'certificate':
      await deployment.renewCertificate();
      await reload();
      await show(deployment);
      return;
    case 'show':
      await show(deployment);
  }
}

/** Public keys and permissions. */
async function show({ path, document }: Deployment): Promise<void> {
  const expiry = await expiryOf(`${path}/nats/server.crt`);
  say(`${path}: topology ${document.topology}, server at ${document.listen}, its certificate good until ${expiry.toISOString()}`);
  for (const { service, node, login, curve, signing } of document.members) {
    const { publish, subscribe } = permissionsOf({ service, node });
    say(`\n${service}${node === undefined ? '' : ` of ${node}`}`);
    say(`  login ${login.join(', ')}\n  curve ${curve.join(', ')}${signing.length === 0 ? '' : `\n  signing ${signing.join(', ')}`}`);
    say(`  may publish ${publish.join(', ')}\n  may subscribe to ${subscribe.join(', ')}`);
  }
}

async function processOf(signal: string): Promise<number> {
  const pid = Number(/^\d+$/.test(signal) ? signal : (await readFile(signal, 'utf8')).trim());
  if (!Number.isInteger(pid) || pid <= 1) throw new UsageError(`--signal ${signal}: no process`);
  return pid;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.umask(0o077);
  await main(parseInvocation(process.argv.slice(2)));
} catch (error) {
  const isUsage = error instanceof UsageError;
  // What openssl writes when it fails is its own business: a command line or a path at most.
  process.stderr.write(
    `bus-keys: ${isUsage || error instanceof DeploymentError ? error.message : describeError(error)}\n${isUsage ? USAGE : ''}`,
  );
  process.exitCode = isUsage ? 2 : 1;
}
