import { parseArgs } from 'node:util';
import { describeError } from '@soci/errors';
import { waitForEnd } from './wait-for-end.ts';
import { Progress } from '../demo/progress.ts';
import { runDemo } from './demo.ts';
import { ProcessStack } from './process-stack.ts';

const USAGE = `usage: npm run stack [-- [up | demo] [options]]
  up                start the services of docker-compose.yml as processes, and run until Ctrl-C (the default)
  demo              start them, push an image, pull it through cri-proxy, run it, and end
  --profile NAME    with the services of this profile too (kubernetes: set KUBECONFIG_FILE)
  --order A,B,...   start the services in this order
  --small           demo: an image of a few megabytes
`;

const progress = new Progress(process.stderr);

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      profile: { type: 'string', multiple: true, default: [] },
      order: { type: 'string' },
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
  await using stack = await ProcessStack.open({ directory, profiles: values.profile, onStep: (text) => progress.step(text) });
  await stack.up(values.order?.split(','));
  progress.step('all services are healthy');
  if (command === 'demo') { await runDemo(stack, { directory, isSmall: values.small, progress }); return; }
  process.stdout.write(about(stack));
  await waitForEnd();
}

function about(stack: ProcessStack): string {
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
