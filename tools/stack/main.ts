import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeError } from '@soci/errors';
import { Containerd } from '@soci/testing';
import { Progress } from '../demo/progress.ts';
import { startCluster } from './cluster.ts';
import { ComposeStack } from './compose-stack.ts';
import type { Container, ContainerSpec } from './container.ts';
import { runDemo } from './demo.ts';
import { ImageContainer } from './image-container.ts';
import { waitForEnd } from './wait-for-end.ts';

const USAGE = `usage: npm run stack [-- [up | demo] [options]]
  up                start the services of docker-compose.yml as processes, and run until Ctrl-C (the default)
  demo              start them, push an image, pull it through cri-proxy, run it, and end
  --profile NAME    with the services of this profile too (kubernetes: see deploy/compose/README.md)
  --cluster         with something that stands in for a cluster, and the profile kubernetes
  --order A,B,...   start the services in this order
  --over-bus        demo: the registry-fetcher has no login of its own, and asks cri-proxy over the bus
  --small           demo: an image of a few megabytes
  --images DIR      run this project's services by containerd, from the archives that deploy/image/build.sh made
`;

const progress = new Progress(process.stderr);

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      profile: { type: 'string', multiple: true, default: [] },
      cluster: { type: 'boolean', default: false },
      order: { type: 'string' },
      images: { type: 'string' },
      'over-bus': { type: 'boolean', default: false },
      small: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const [directory, command = 'up'] = positionals;
  if (directory === undefined) throw new Error('no scratch folder: start the stack with `npm run stack`');
  if (values.help || !['up', 'demo'].includes(command)) {
    process.stdout.write(USAGE);
    return;
  }
  const onStep = (text: string): void => progress.step(text);
  await using resources = new AsyncDisposableStack();
  const images = values.images === undefined ? undefined : resources.use(await loadImages(values.images, directory));
  const makeContainer = images && ((spec: ContainerSpec): Container => new ImageContainer(spec, images));
  const cluster = values.cluster ? resources.use(await startCluster(directory)) : undefined;
  const stack = resources.use(
    await ComposeStack.open({
      directory,
      profiles: cluster === undefined ? values.profile : [...values.profile, 'kubernetes'],
      env: { ...process.env, ...cluster?.env },
      onStep,
      ...(makeContainer && { makeContainer }),
    }),
  );
  await stack.up(values.order?.split(','));
  progress.step('all services are healthy');
  if (command === 'demo') {
    await runDemo(stack, { directory, isSmall: values.small, isOverBus: values['over-bus'], progress });
    return;
  }
  process.stdout.write(about(stack));
  await waitForEnd();
}

/** A containerd of its own that has them. */
async function loadImages(archives: string, directory: string): Promise<Containerd> {
  const home = join(directory, 'containerd');
  await mkdir(home, { recursive: true });
  const containerd = await Containerd.start({ directory: home });
  for (const name of await readdir(archives)) {
    progress.step(`importing ${name}`);
    await containerd.ctr(['images', 'import', '--snapshotter', 'overlayfs', join(archives, name)]);
  }
  return containerd;
}

function about(stack: ComposeStack): string {
  const logs = stack.services.map((name) => `    ${name}: ${stack.logPath(name)}\n`).join('');
  return `
To look into the stack from another terminal (its network is its own):
    nsenter --target $(pgrep -f tools/stack/main.ts | tail -n 1) --mount --pid --net
  CRI's image service, through cri-proxy: ${stack.volume('cri-socket')}/cri-proxy.sock
  containerd: ${stack.volume('containerd-socket')}/containerd.sock
  registry:5000, login and certificate authority: ${stack.volume('registry-login')}/config.json, ${stack.volume('registry-ca')}/ca.crt
  logs:
${logs}Ctrl-C ends it.
`;
}

/** As the first process of its pid namespace it takes every other one with it. */
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(143));

main(process.argv.slice(2)).catch((error: unknown) => {
  progress.clear();
  process.stderr.write(`stack: ${describeError(error)}\n`);
  process.exitCode = 1;
});
